"""How a session ends without a DISCONNECT: closes, resets, silence, a guard that stops (promise H7)."""

import pytest

from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.config import Unanswered
from spoe_guard.core.terms.states import SessionState
from tests.core import frames
from tests.core.script import HANDSHAKE, UP, Talk, plant_a_bug, play, running

pytestmark = pytest.mark.usefixtures("both_speeds")

# --- the agent goes ----------------------------------------


@pytest.mark.parametrize(
    ("how", "told", "reason"),
    [
        ("fin", "to_agent HAPROXY_DISCONNECT 0, to_haproxy AGENT_DISCONNECT 13", "closed"),
        ("rst", "to_haproxy AGENT_DISCONNECT 13", "reset"),
    ],
)
def test_an_agent_that_leaves_without_a_word_is_spoken_for(how: str, told: str, reason: str) -> None:
    talk = play(
        f"""
        agent   {how} -> answer disconnect_missing, {told}, close agent
        agent   {how} -> nothing
        haproxy fin   -> close haproxy, end agent {reason}
        """
    )
    assert talk.anomalies[0].detail == f"the agent's connection was {reason}"


def test_what_it_leaves_open_makes_the_status_269() -> None:
    play(
        """
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok
        agent   rst -> answer disconnect_missing, pass notify_unanswered, unanswered agent_gone 2, \
                       to_haproxy AGENT_DISCONNECT 13, close agent
        haproxy NOTIFY 5.1 -> nothing
        """
    )


def test_what_it_leaves_open_is_answered_where_the_route_says_so() -> None:
    play(
        """
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok
        agent   rst -> answer disconnect_missing, answer notify_unanswered, unanswered agent_gone 2, \
                       to_haproxy ACK 1.1, to_haproxy ACK 3.1, to_haproxy AGENT_DISCONNECT 13, close agent
        """,
        unanswered=Unanswered.EMPTY_ACK,
    )


def test_a_route_may_pass_the_close_on() -> None:
    play(
        """
        haproxy NOTIFY 1.1 -> ok
        agent   rst -> pass disconnect_missing, pass notify_unanswered, unanswered agent_gone 1, \
                       close haproxy, close agent, end agent reset
        """,
        {Anomaly.DISCONNECT_MISSING: Action.PASS},
    )


# --- silence ----------------------------------------


def test_a_connection_with_nothing_to_say_is_ended_at_idle_timeout() -> None:
    play(
        """
        guard waits 9           -> nothing
        haproxy NOTIFY 1.1      -> ok
        guard waits 9           -> nothing
        agent ACK 1.1           -> ok
        guard waits 9.999       -> nothing
        guard waits 0.001       -> to_agent HAPROXY_DISCONNECT 2, to_haproxy AGENT_DISCONNECT 2
        guard waits 0.999       -> nothing
        guard waits 0.001       -> close haproxy, close agent, end guard idle_timeout
        """,
        idle_s=10.0,
    )


def test_an_open_notify_does_not_keep_a_silent_connection() -> None:
    play(
        """
        haproxy NOTIFY 1.1 -> ok
        guard   waits 10   -> pass notify_unanswered, unanswered agent_gone 1, \
                to_agent HAPROXY_DISCONNECT 2, to_haproxy AGENT_DISCONNECT 2
        """,
        idle_s=10.0,
    )


# --- the guard stops ----------------------------------------


def test_a_draining_session_disconnects_once_nothing_is_open_and_it_is_idle() -> None:
    play(
        """
        guard   waits 0.049        -> nothing
        guard   drains             -> nothing
        guard   waits 0.001        -> to_agent HAPROXY_DISCONNECT 0, to_haproxy AGENT_DISCONNECT 0
        guard   drains             -> nothing
        haproxy rst                -> close haproxy
        agent   AGENT_DISCONNECT 0 -> nothing
        agent   fin                -> close agent, end guard drain
        """
    )


def test_a_guard_that_stops_after_a_rest_disconnects_at_once() -> None:
    play(
        """
        guard   waits 0.05         -> nothing
        guard   drains             -> to_agent HAPROXY_DISCONNECT 0, to_haproxy AGENT_DISCONNECT 0
        """
    )


def test_a_draining_session_disconnects_in_the_write_of_its_last_answer() -> None:
    play(
        """
        guard   drains      -> nothing
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok
        agent   ACK 1.1     -> ok
        haproxy NOTIFY 5.1  -> ok
        guard   drains      -> nothing
        agent   ACK 3.1     -> ok
        guard   waits 0.1   -> nothing
        agent   ACK 5.1     -> to_agent HAPROXY_DISCONNECT 0, to_haproxy ACK 5.1, to_haproxy AGENT_DISCONNECT 0
        """
    )


def test_a_guard_that_stops_lets_a_handshake_come_to_its_end() -> None:
    Talk().play(
        """
        haproxy HAPROXY_HELLO -> held, dial
        guard   drains        -> nothing
        agent   up            -> to_agent HAPROXY_HELLO
        guard   waits 0.2     -> nothing
        agent   AGENT_HELLO   -> to_haproxy AGENT_HELLO
        haproxy NOTIFY 1.1    -> ok
        agent   ACK 1.1       -> to_agent HAPROXY_DISCONNECT 0, to_haproxy ACK 1.1, to_haproxy AGENT_DISCONNECT 0
        """
    )


def test_a_guard_that_stops_waits_no_longer_than_disconnect_hold() -> None:
    play(
        """
        haproxy NOTIFY 1.1   -> ok
        guard   drains       -> nothing
        guard   waits 2.999  -> nothing
        guard   waits 0.001  -> pass notify_unanswered, unanswered agent_gone 1, \
                to_agent HAPROXY_DISCONNECT 0, to_haproxy AGENT_DISCONNECT 13
        guard   waits 1      -> close haproxy, close agent, end guard drain
        """,
        disconnect_hold_s=3.0,
    )


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        ("", "close haproxy, end guard drain"),
        ("haproxy HAPROXY_HELLO[:9] -> held", "close haproxy, end guard drain"),
        ("haproxy HAPROXY_HELLO -> held, dial", "nothing\nguard waits 0.5 -> to_haproxy AGENT_DISCONNECT 13, abort agent"),
        (UP, "nothing\nguard waits 0.5 -> to_agent HAPROXY_DISCONNECT 0, to_haproxy AGENT_DISCONNECT 13"),
        (
            "haproxy HAPROXY_HELLO check -> held, dial\nagent fail -> unreachable refused, answer agent_unreachable",
            "nothing",
        ),
        (HANDSHAKE + "agent AGENT_DISCONNECT 0 -> to_agent HAPROXY_DISCONNECT 0, ok", "nothing"),
    ],
    ids=["before hello", "inside hello", "dialling", "waiting", "refusing", "closing"],
)
def test_a_guard_that_stops_ends_a_session_wherever_it_stands(script: str, outcome: str) -> None:
    talk = Talk().play(script + f"\nguard drains -> {outcome}")
    talk.now += 0.25
    talk.session.tick(talk.now)
    talk.session.tick(talk.now + talk.config.close_s)
    assert talk.session.state is SessionState.CLOSED
    assert talk.tally.held_bytes == 0


def test_the_agents_own_disconnect_may_cross_the_drain() -> None:
    play(
        """
        haproxy NOTIFY 1.1         -> ok
        guard   drains             -> nothing
        agent   AGENT_DISCONNECT 7 -> held, reorder disconnect_before_ack
        guard   drains             -> nothing
        agent   ACK 1.1            -> reorder ack_after_disconnect, to_agent HAPROXY_DISCONNECT 0, \
                to_haproxy ACK 1.1, to_haproxy AGENT_DISCONNECT 7
        """
    )


# --- a shell that goes on without the session ----------------------------------------


def test_release_hands_back_what_was_held_and_leaves_the_gauges() -> None:
    talk = Talk().play("haproxy HAPROXY_HELLO -> held, dial")
    assert talk.session.release() == (frames.haproxy_hello(), b"")
    assert talk.tally.held_bytes == 0

    talk = running().play(
        """
        haproxy NOTIFY 1.1                      -> ok
        haproxy NOTIFY 3.1[:9]                  -> held
        agent   AGENT_DISCONNECT 0 + ACK 1.1[:9] -> held, reorder disconnect_before_ack
        """
    )
    assert talk.session.release() == (frames.notify("3.1")[:9], frames.agent_disconnect(0) + frames.ack("1.1")[:9])
    assert (talk.tally.held_bytes, talk.tally.open_notifies) == (0, 0)
    assert talk.session.deadline == float("inf")


def test_a_bug_of_ours_loses_no_byte() -> None:
    talk = running()
    plant_a_bug(talk.session)
    talk.session.receive(Side.HAPROXY, frames.notify("1.1") + frames.notify("3.1"), talk.now)
    with pytest.raises(KeyError):
        talk.session.receive(Side.AGENT, frames.ack("1.1") + frames.ack("9.1") + frames.ack("3.1"), talk.now)
    to_agent, to_haproxy = talk.session.release()
    assert to_agent == b""
    assert to_haproxy.endswith(frames.ack("9.1") + frames.ack("3.1"))
    assert (talk.tally.held_bytes, talk.tally.open_notifies) == (0, 0)
