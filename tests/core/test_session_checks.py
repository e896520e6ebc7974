"""Health checks: one HELLO from each side and no frame after it, whatever the agent adds."""

import pytest

from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.core.terms.events import AuthoredReason, FrameAuthored
from spoe_guard.wire import frame
from tests.core import frames
from tests.core.script import Talk

pytestmark = pytest.mark.usefixtures("both_speeds")


CHECK = """
    haproxy HAPROXY_HELLO check -> held, dial
    agent   up                  -> to_agent HAPROXY_HELLO
"""
ANSWER = frames.agent_hello(capabilities=b"", max_frame_size=256)  # what every HAProxy takes, however small its buffer is


def test_a_check_is_answered_with_a_size_that_fits_any_buffer() -> None:
    """HAProxy 3.2 with tune.bufsize 8192 offers 16380 in a check, and then calls an agent that takes them DOWN."""
    talk = Talk().play(CHECK + "agent AGENT_HELLO check -> to_haproxy AGENT_HELLO")
    assert talk.written["to_haproxy"] == ANSWER
    assert not talk.anomalies
    assert [event.reason for event in talk.events if isinstance(event, FrameAuthored)] == [AuthoredReason.HELLO_NORMALISED]
    Talk().play(CHECK + "agent <answer> -> ok", answer=ANSWER)


def test_behind_a_check_no_ack_is_longer_than_haproxy_was_told() -> None:
    """No HAProxy sends a NOTIFY there; whoever does gets no more than the negotiated size either."""
    Talk().play(
        CHECK
        + """
        agent   AGENT_HELLO check -> to_haproxy AGENT_HELLO
        haproxy NOTIFY 1.1        -> ok
        agent   <long>            -> drop oversize_frame, pass notify_unanswered, unanswered ack_dropped 1
        """,
        long=frames.sized(frame.ACK, 257),
    )


def test_a_check_offers_pipelining_and_engine_id_like_any_hello() -> None:
    """criteo/haproxy-spoe-go up to 1.0.7."""
    talk = Talk(always_offer=frozenset(("pipelining",)), engine_id="guard").play(
        """
        haproxy <check>     -> held, dial
        agent   up          -> to_agent HAPROXY_HELLO
        agent   AGENT_HELLO -> to_haproxy AGENT_HELLO
        """,
        check=frames.bare_check(),
    )
    assert talk.written["to_agent"] == frames.bare_check(b"pipelining", frames.pairs(engine_id=b"guard"))
    assert talk.written["to_haproxy"] == ANSWER
    assert not talk.anomalies


def test_an_agent_that_disconnects_after_its_hello_to_a_check_is_up() -> None:
    """criteo/haproxy-spoe-go answers a check so; HAProxy 3.1 and later calls the agent DOWN for it."""
    talk = Talk().play(
        CHECK
        + """
        agent   AGENT_HELLO check + AGENT_DISCONNECT 0 -> drop hello_trailing, to_haproxy AGENT_HELLO
        agent   fin                                    -> to_agent HAPROXY_DISCONNECT 0, close agent
        haproxy rst                                    -> close haproxy, end agent closed
        """
    )
    assert talk.written["to_haproxy"] == ANSWER


def test_a_check_that_haproxy_ends_with_a_reset_is_ordinary() -> None:
    talk = Talk().play(
        CHECK
        + """
        agent   AGENT_HELLO check  -> to_haproxy AGENT_HELLO
        haproxy rst                -> to_agent HAPROXY_DISCONNECT 0, close haproxy
        agent   AGENT_DISCONNECT 0 -> nothing
        agent   fin                -> close agent, end haproxy reset
        """
    )
    assert not talk.anomalies


def test_a_close_behind_the_hello_to_a_check_is_no_anomaly() -> None:
    talk = Talk().play(
        CHECK
        + """
        agent   AGENT_HELLO check -> to_haproxy AGENT_HELLO
        agent   rst               -> close agent
        guard   waits 0.999       -> nothing
        guard   waits 0.001       -> close haproxy, end agent reset
        """
    )
    assert not talk.anomalies


@pytest.mark.parametrize("behind", [frames.ack(), frames.agent_hello(), frame.encode(104, 1, 1), frames.agent_disconnect()])
def test_anything_behind_the_hello_of_a_check_is_kept_from_haproxy(behind: bytes) -> None:
    Talk().play(CHECK + "agent AGENT_HELLO check -> to_haproxy AGENT_HELLO\nagent <behind> -> drop hello_trailing", behind=behind)
    passing = Talk({Anomaly.HELLO_TRAILING: Action.PASS})
    passing.play(
        CHECK + "agent AGENT_HELLO check -> to_haproxy AGENT_HELLO\nagent <behind> -> pass hello_trailing, ok", behind=behind
    )


def test_a_check_of_an_agent_that_is_not_there_fails() -> None:
    Talk().play(
        """
        haproxy HAPROXY_HELLO check -> held, dial
        agent   fail                -> unreachable refused, answer agent_unreachable
        guard   waits 0.25          -> to_haproxy AGENT_DISCONNECT 13
        """
    )


@pytest.mark.parametrize(("status", "told"), [(5, 5), (12, 12), (14, 99), (50, 99), (98, 99), (99, 99), (100, 99)])
def test_an_agents_own_status_in_a_refused_check_does_not_kill_haproxy(status: int, told: int) -> None:
    """HAProxy up to 3.0 has no text for 14 to 98, and dies looking for it (SIGSEGV on 2.2.9, 2.6.12 and 3.0.11)."""
    Talk().play(
        CHECK
        + f"""
        agent   AGENT_DISCONNECT {status} -> answer hello_refused
        guard   waits 0.25                -> to_agent HAPROXY_DISCONNECT {told}, to_haproxy AGENT_DISCONNECT {told}
        """
    )
