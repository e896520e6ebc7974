"""The handshake: when the guard dials which agent, and how it handles a refusal (promises H2, A1)."""

import pytest

from spoe_guard.core.terms.events import AgentReady, AgentUnreachable, AuthoredReason, Direction, FrameAuthored
from spoe_guard.core.terms.states import SessionState
from spoe_guard.wire.frame import FrameType
from tests.core import frames
from tests.core.script import HANDSHAKE, UP, Talk, running

pytestmark = pytest.mark.usefixtures("both_speeds")


def both_told(status: int) -> str:
    return f"to_agent HAPROXY_DISCONNECT {status}, to_haproxy AGENT_DISCONNECT {status}"


def test_a_healthy_pair_is_passed_through_byte_for_byte() -> None:
    talk = running(answer=frames.shown_hello()).play(
        """
        haproxy NOTIFY 7.1                -> ok
        haproxy NOTIFY 9.1 + NOTIFY 11.1  -> ok
        agent   ACK 9.1                   -> ok
        agent   ACK 11.1 + ACK 7.1        -> ok
        agent   AGENT_DISCONNECT 0        -> to_agent HAPROXY_DISCONNECT 0, ok
        haproxy fin                       -> close haproxy
        agent   fin                       -> close agent, end agent disconnect
        """
    )
    assert talk.written["to_haproxy"] == talk.said_by_agent
    assert not talk.anomalies


def test_the_agent_is_dialled_for_a_whole_hello_and_for_nothing_less() -> None:
    Talk().play(
        """
        guard   starts              -> nothing
        haproxy HAPROXY_HELLO[:1]   -> held
        haproxy HAPROXY_HELLO[1:-1] -> held
        haproxy HAPROXY_HELLO[-1:]  -> held, dial
        """
    )


def test_agent_hello_reaches_haproxy_in_one_piece() -> None:
    Talk().play(
        UP
        + """
        agent AGENT_HELLO[:11]  -> held
        agent AGENT_HELLO[11:]  -> to_haproxy AGENT_HELLO
        """
    )


def test_ready_tells_what_was_negotiated() -> None:
    talk = running(answer=frames.agent_hello(max_frame_size=1000))
    assert [event for event in talk.events if isinstance(event, AgentReady)] == [
        AgentReady(1000, "pipelining", healthcheck=False)
    ]


def test_a_health_check_is_told_slowly_that_the_agent_cannot_be_dialled() -> None:
    talk = Talk().play(
        """
        haproxy HAPROXY_HELLO check -> held, dial
        agent   fail          -> unreachable refused, answer agent_unreachable
        guard   waits 0.249   -> nothing
        guard   waits 0.001   -> to_haproxy AGENT_DISCONNECT 13
        haproxy rst           -> close haproxy, end agent unreachable
        """
    )
    assert b"the agent is unreachable" in talk.written["to_haproxy"]
    assert FrameAuthored(Direction.TO_HAPROXY, FrameType.AGENT_DISCONNECT, AuthoredReason.DISCONNECT) in talk.events


def test_a_dial_takes_no_longer_than_connect_timeout() -> None:
    talk = Talk(connect_s=3.0).play(
        """
        haproxy HAPROXY_HELLO -> held, dial
        guard   waits 2.999   -> nothing
        guard   waits 0.001   -> unreachable timeout, answer agent_unreachable, to_haproxy AGENT_HELLO, abort agent
        agent   up            -> nothing
        agent   fail          -> nothing
        haproxy NOTIFY 1.1    -> answer agent_unreachable, pass notify_unanswered, unanswered agent_away 1, \
                                 to_haproxy AGENT_DISCONNECT 13
        haproxy fin           -> close haproxy, end agent unreachable
        """
    )
    assert [event.detail for event in talk.events if isinstance(event, AgentUnreachable)] == ["no connection within 3 s"]


def test_an_agent_without_a_word_is_given_up_at_hello_timeout() -> None:
    Talk(hello_s=5.0).play(
        UP
        + """
        guard   waits 4.999   -> nothing
        guard   waits 0.001   -> unreachable hello_timeout, answer agent_unreachable, to_agent HAPROXY_DISCONNECT 0, \
                                 to_haproxy AGENT_HELLO
        agent   AGENT_HELLO   -> nothing
        haproxy fin           -> close haproxy
        agent   fin           -> close agent, end haproxy closed
        """
    )


@pytest.mark.parametrize("bytes_there", ["[:1]", "[:4]", "[:-1]"])
def test_haproxy_without_a_whole_hello_is_closed_silently_at_hello_timeout(bytes_there: str) -> None:
    Talk(hello_s=1.5).play(
        f"""
        haproxy HAPROXY_HELLO{bytes_there} -> held
        guard   waits 1.499        -> nothing
        guard   waits 0.001        -> close haproxy, end haproxy hello_timeout
        """
    )


def test_a_peer_that_only_connects_is_closed_at_hello_timeout() -> None:
    Talk(hello_s=1.5).play(
        """
        guard starts       -> nothing
        guard waits 1.499  -> nothing
        guard waits 0.001  -> close haproxy, end haproxy hello_timeout
        """
    )


def test_hello_timeouts_of_both_sides_are_counted_apart() -> None:
    Talk(hello_s=2.0, connect_s=2.0).play(
        """
        guard   waits 1.9     -> nothing
        haproxy HAPROXY_HELLO -> held, dial
        guard   waits 1.9     -> nothing
        agent   up            -> to_agent HAPROXY_HELLO
        guard   waits 1.9     -> nothing
        agent   AGENT_HELLO   -> to_haproxy AGENT_HELLO
        """
    )


# --- out of order ----------------------------------------


def test_frames_before_agent_hello_are_dropped_and_the_hello_behind_them_counts() -> None:
    Talk().play(
        UP
        + """
        agent ACK 1.1               -> drop frame_before_hello
        agent ACK 1.1 + AGENT_HELLO -> drop frame_before_hello, to_haproxy AGENT_HELLO
        """
    )


def test_a_second_hello_is_dropped_from_either_side() -> None:
    Talk().play(
        """
        haproxy HAPROXY_HELLO -> held, dial
        haproxy HAPROXY_HELLO -> drop hello_repeated
        agent   up            -> to_agent HAPROXY_HELLO
        haproxy HAPROXY_HELLO -> drop hello_repeated
        agent   AGENT_HELLO   -> to_haproxy AGENT_HELLO
        haproxy HAPROXY_HELLO -> drop hello_repeated
        agent   AGENT_HELLO   -> drop hello_repeated
        haproxy NOTIFY 1.1    -> ok
        """
    )


def test_a_notify_right_behind_haproxys_hello_never_reaches_the_agent() -> None:
    Talk().play(
        "haproxy HAPROXY_HELLO + NOTIFY 1.1 -> close frame_before_hello, to_haproxy AGENT_DISCONNECT 4, dial, abort agent"
    )


def test_a_notify_before_agent_hello_ends_it_and_the_agent_is_told() -> None:
    Talk().play(UP + f"haproxy NOTIFY 1.1 -> close frame_before_hello, {both_told(4)}")


@pytest.mark.parametrize(
    ("before", "outcome"),
    [
        (
            "",
            "unreachable haproxy_gave_up, to_haproxy AGENT_DISCONNECT 0, close haproxy, abort agent, end haproxy disconnect",
        ),
        ("agent up -> to_agent HAPROXY_HELLO", "unreachable haproxy_gave_up, ok, to_haproxy AGENT_DISCONNECT 0, close haproxy"),
        (
            "agent fail -> unreachable refused, answer agent_unreachable, to_haproxy AGENT_HELLO, abort agent",
            "to_haproxy AGENT_DISCONNECT 0, close haproxy, end haproxy disconnect",
        ),
    ],
    ids=["dialling", "waiting", "without an agent"],
)
def test_haproxy_may_leave_at_any_point_of_the_handshake(before: str, outcome: str) -> None:
    Talk().play(f"haproxy HAPROXY_HELLO -> held, dial\n{before}\nhaproxy HAPROXY_DISCONNECT 0 -> {outcome}")


def test_an_agent_hello_that_crosses_haproxys_disconnect_is_no_anomaly() -> None:
    talk = Talk().play(
        UP
        + """
        haproxy rst                            -> unreachable haproxy_gave_up, to_agent HAPROXY_DISCONNECT 0, close haproxy
        agent   AGENT_HELLO                    -> nothing
        agent   AGENT_DISCONNECT 0             -> nothing
        agent   fin                            -> close agent, end haproxy reset
        """
    )
    assert not talk.anomalies


def test_the_handshake_of_the_helpers_is_an_ordinary_one() -> None:
    assert Talk().play(HANDSHAKE).session.state is SessionState.RUNNING


def test_a_mistyped_key_is_repaired_where_the_agent_needs_exact_keys() -> None:
    """It would end a process built on negasus/haproxy-spoe-go."""
    mistyped = frames.haproxy_hello(healthcheck=1, weather=b"fine")
    talk = Talk(exact_keys=True).play(
        """
        haproxy <odd> -> held, repair hello_malformed, dial
        agent   up    -> to_agent HAPROXY_HELLO
        """,
        odd=mistyped,
    )
    assert talk.written["to_agent"] == frames.haproxy_hello(healthcheck=True)
    Talk().play("haproxy <odd> -> close hello_malformed, to_haproxy AGENT_DISCONNECT 4", odd=mistyped)


def test_haproxy_is_not_told_of_pipelining_that_only_the_agent_was_offered() -> None:
    talk = Talk(always_offer=frozenset(("pipelining",))).play(
        """
        haproxy <offer>     -> held, dial
        agent   up          -> to_agent HAPROXY_HELLO
        agent   AGENT_HELLO -> to_haproxy AGENT_HELLO
        """,
        offer=frames.haproxy_hello(capabilities=b""),
    )
    assert talk.written["to_agent"] == frames.haproxy_hello(capabilities=b"pipelining", max_frame_size=frames.SHOWN)
    assert talk.written["to_haproxy"] == frames.shown_hello(b"")
    assert not talk.anomalies
