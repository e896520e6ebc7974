"""An agent that refuses, closes or sends garbage before its HELLO: the guard delays the refusal to HAProxy (promises H2, H7)."""

import pytest

from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.core.terms.events import DisconnectSeen
from spoe_guard.core.terms.states import SessionState
from tests.core import frames
from tests.core.script import UP, Talk

pytestmark = pytest.mark.usefixtures("both_speeds")


def both_told(status: int) -> str:
    return f"to_agent HAPROXY_DISCONNECT {status}, to_haproxy AGENT_DISCONNECT {status}"


def test_a_refusal_is_held_250_ms_and_keeps_status_and_text() -> None:
    talk = Talk().play(
        UP
        + """
        agent   <refusal>            -> answer hello_refused, unreachable hello_refused
        guard   waits 0.249          -> nothing
        guard   waits 0.001          -> to_agent HAPROXY_DISCONNECT 8, to_haproxy AGENT_DISCONNECT 8
        haproxy HAPROXY_DISCONNECT 0 -> close haproxy
        agent   fin                  -> close agent, end agent refused
        """,
        refusal=frames.agent_disconnect(8, b"no such version"),
    )
    assert b"no such version" in talk.written["to_haproxy"]
    assert next(event for event in talk.events if isinstance(event, DisconnectSeen)).message == "no such version"
    assert (talk.anomalies[0].detail, talk.anomalies[0].quoted) == ("status 8", "no such version")


def test_a_refusal_with_status_0_is_passed_on_with_status_13() -> None:
    told = "to_agent HAPROXY_DISCONNECT 0, to_haproxy AGENT_DISCONNECT 13"
    Talk().play(UP + "agent AGENT_DISCONNECT 0 -> answer hello_refused, unreachable hello_refused\nguard waits 0.25 -> " + told)


def test_a_refusal_that_cannot_be_read_is_still_one() -> None:
    Talk().play(
        UP + f"agent <rubbish> -> answer hello_refused, unreachable hello_refused\nguard waits 0.25 -> {both_told(99)}",
        rubbish=frames.raw(b"\x66\0\0\0\1\0\0\x0bstatus"),
    )


def test_haproxy_hears_a_refusal_in_time_though_the_agent_closed() -> None:
    Talk().play(
        UP
        + """
        agent   AGENT_DISCONNECT 5  -> answer hello_refused, unreachable hello_refused
        agent   fin                 -> close agent
        guard   waits 0.25          -> to_haproxy AGENT_DISCONNECT 5
        haproxy fin                 -> close haproxy, end agent refused
        """
    )


@pytest.mark.parametrize(
    ("how", "detail"),
    [
        ("fin", "the agent's connection was closed before AGENT-HELLO"),
        ("rst", "the agent's connection was reset before AGENT-HELLO"),
    ],
)
def test_an_agent_that_leaves_before_its_hello_is_told_of_slowly(how: str, detail: str) -> None:
    talk = Talk().play(
        UP
        + f"""
        agent   {how}        -> answer disconnect_missing, unreachable other, close agent
        guard   waits 0.249  -> nothing
        guard   waits 0.001  -> to_haproxy AGENT_DISCONNECT 13
        haproxy fin          -> close haproxy, end agent {"closed" if how == "fin" else "reset"}
        """
    )
    assert talk.anomalies[0].detail == detail


def test_an_agent_that_leaves_inside_its_hello_is_told_of_slowly() -> None:
    Talk().play(
        UP
        + """
        agent   AGENT_HELLO[:-1] -> held
        agent   fin              -> drop truncated_frame, answer disconnect_missing, unreachable other, close agent
        guard   waits 0.25       -> to_haproxy AGENT_DISCONNECT 13
        """
    )


def test_a_hello_beyond_repair_is_told_of_slowly() -> None:
    talk = Talk().play(
        UP
        + f"""
        agent   <hello> -> close hello_version
        agent   ACK 1.1     -> nothing
        guard   waits 0.249 -> nothing
        guard   waits 0.001 -> {both_told(4)}
        """,
        hello=frames.agent_hello(version=b"1.0"),
    )
    assert talk.session.state is SessionState.CLOSING


def test_an_agent_that_speaks_http_is_told_of_slowly() -> None:
    Talk().play(
        UP + f"agent <http> -> close garbled_stream\nagent <http> -> nothing\nguard waits 0.25 -> {both_told(4)}",
        http=b"HTTP/1.1 400 Bad Request\r\n\r\n",
    )


@pytest.mark.parametrize("anomaly", [Anomaly.AGENT_UNREACHABLE, Anomaly.DISCONNECT_MISSING])
def test_a_route_may_have_a_missing_agent_passed_on_as_a_close(anomaly: Anomaly) -> None:
    policy = {anomaly: Action.PASS}
    if anomaly is Anomaly.DISCONNECT_MISSING:
        Talk(policy).play(
            UP
            + """
            agent fin -> pass disconnect_missing, unreachable other, to_agent HAPROXY_DISCONNECT 0, \
                         close haproxy, close agent, end agent closed
            """
        )
        return
    Talk(policy).play(
        """
        haproxy HAPROXY_HELLO -> held, dial
        agent   fail          -> unreachable refused, pass agent_unreachable, close haproxy, abort agent, end agent unreachable
        """
    )
    Talk(policy).play(
        UP
        + """
        guard waits 2            -> unreachable hello_timeout, pass agent_unreachable, \
                                    to_agent HAPROXY_DISCONNECT 0, close haproxy
        agent AGENT_DISCONNECT 0 -> nothing
        agent fin                -> close agent, end agent unreachable
        """
    )


def test_a_refusal_passed_on_keeps_its_bytes_where_haproxy_can_take_them() -> None:
    policy = {Anomaly.HELLO_REFUSED: Action.PASS}
    Talk(policy).play(
        UP + "agent AGENT_DISCONNECT 5 -> pass hello_refused, unreachable hello_refused, to_agent HAPROXY_DISCONNECT 0, ok"
    )
    talk = Talk(policy).play(
        UP
        + "agent <odd> -> pass hello_refused, unreachable hello_refused, to_agent HAPROXY_DISCONNECT 0, \
to_haproxy AGENT_DISCONNECT 5",
        odd=frames.agent_disconnect(5, at="7.1", flags=0),
    )
    assert talk.written["to_haproxy"] == frames.agent_disconnect(5)


@pytest.mark.parametrize(
    ("action", "outcome"), [(Action.REPAIR, ", to_haproxy AGENT_HELLO"), (Action.DROP, ""), (Action.CLOSE, "")]
)
def test_a_hello_without_fin_is_mended_dropped_or_refused(action: Action, outcome: str) -> None:
    Talk({Anomaly.MISSING_FIN: action}).play(
        UP + f"agent <hello> -> {action.value} missing_fin{outcome}", hello=frames.agent_hello(flags=0)
    )


def test_capabilities_kept_by_policy_outlive_another_repair() -> None:
    talk = Talk({Anomaly.HELLO_CAPABILITY: Action.PASS}).play(
        UP + "agent <hello> -> repair hello_size, pass hello_capability, to_haproxy AGENT_HELLO",
        hello=frames.agent_hello(max_frame_size=99999, capabilities=b"pipelining,async"),
    )
    assert talk.written["to_haproxy"] == frames.shown_hello(b"pipelining,async")
