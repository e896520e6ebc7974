"""Observe mode: every byte stays as it is, and the reports name what enforce mode would have done (promise O2)."""

import pytest

from spoe_guard.core.conversation.route_state import RouteState
from spoe_guard.core.observed import ObservedSession, open_session
from spoe_guard.core.session import Session
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.events import DialFailure, SessionEnded
from spoe_guard.core.terms.output import Close
from spoe_guard.core.terms.states import SessionState
from spoe_guard.core.terms.tally import Tally
from tests.core import frames
from tests.core.observed import RUNNING, UP, everything_passed, observe
from tests.core.script import Talk

pytestmark = pytest.mark.usefixtures("both_speeds")


def test_the_mode_decides_which_session_it_is() -> None:
    assert type(open_session(SessionConfig(), Tally(), 0.0, RouteState())) is Session
    assert type(open_session(SessionConfig(observe=True), Tally(), 0.0, RouteState())) is ObservedSession


def test_a_healthy_pair_is_passed_and_nothing_is_said_of_it() -> None:
    talk = observe(
        RUNNING
        + """
        haproxy NOTIFY 1.1 + NOTIFY 3.1[:9] -> ok
        haproxy NOTIFY 3.1[9:]              -> ok
        agent   ACK 3.1 + ACK 1.1           -> ok
        agent   AGENT_DISCONNECT 0          -> ok
        agent   fin                         -> half haproxy
        haproxy fin                         -> close haproxy, close agent, end agent closed
        """
    )
    assert everything_passed(talk)
    assert not talk.anomalies
    assert talk.tally.ack_count == 2
    assert talk.session.state is SessionState.CLOSED


def test_what_enforce_would_have_done_is_reported_and_not_done() -> None:
    talk = observe(
        RUNNING
        + """
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok
        agent   ACK 9.1                 -> drop unmatched_ack, ok
        agent   <runt>                  -> drop runt_frame, ok
        agent   AGENT_DISCONNECT 0      -> reorder disconnect_before_ack, ok
        agent   ACK 1.1                 -> reorder ack_after_disconnect, ok
        agent   rst                     -> pass notify_unanswered, unanswered agent_gone 1, repair disconnect_status, \
                abort haproxy, abort agent, end agent reset
        """,
        runt=frames.raw(b""),
    )
    assert everything_passed(talk)
    assert talk.session.open_notifies == 0


def test_what_haproxy_really_offered_is_no_anomaly_when_the_agent_takes_it() -> None:
    """In enforce mode the guard would not have offered async, nor fragmentation, nor a size beyond max_frame_size."""
    everything = b"fragmentation,pipelining,async"
    config = {"observe": True, "max_frame_size": 1000, "held_bytes": 65536, "capabilities": frozenset(("pipelining",))}
    talk = Talk(**config).play(
        UP
        + """
        haproxy <hello>   -> ok
        agent   <answer>  -> ok
        haproxy <first>   -> ok
        haproxy UNSET 1.1 -> ok
        haproxy <long>    -> ok
        agent   ACK 1.1   -> ok
        """,
        hello=frames.haproxy_hello(capabilities=everything, max_frame_size=60000),
        answer=frames.agent_hello(capabilities=everything, max_frame_size=60000),
        first=frames.notify(flags=0),
        long=frames.sized(3, 60000, "3.1"),
    )
    assert not talk.anomalies
    assert everything_passed(talk)


def test_an_agent_that_speaks_first_is_heard_when_its_turn_comes() -> None:
    talk = observe(
        UP
        + """
        agent   AGENT_HELLO     -> ok
        haproxy HAPROXY_HELLO   -> ok
        haproxy NOTIFY 1.1      -> ok
        agent   ACK 1.1         -> ok
        """
    )
    assert not talk.anomalies
    assert talk.session.state is SessionState.RUNNING
    assert talk.tally.ack_count == 1


def test_what_an_agent_sends_too_early_is_kept_up_to_held_bytes() -> None:
    talk = Talk(observe=True, held_bytes=64)
    talk.play(UP + "agent <much> -> ok\nagent <much> -> ok", much=b"x" * 50)
    assert talk.tally.held_bytes == 64
    assert everything_passed(talk)
    talk.play("agent rst -> abort haproxy, abort agent, end agent reset")
    assert talk.tally.held_bytes == 0


def test_the_agent_is_dialled_at_once_and_gets_what_came_meanwhile() -> None:
    talk = observe(
        f"""
        guard   starts           -> dial
        haproxy HAPROXY_HELLO    -> held
        agent   up               -> to_agent {len(frames.haproxy_hello())} bytes
        agent   AGENT_HELLO      -> ok
        """
    )
    assert everything_passed(talk)
    assert talk.session.state is SessionState.RUNNING


def test_http_passes_too_and_is_reported_once() -> None:
    talk = observe(
        UP + "haproxy <http> -> close not_spop, ok\nhaproxy <http> -> ok\nagent <http> -> ok", http=b"GET / HTTP/1.1\r\n\r\n"
    )
    assert everything_passed(talk)


def test_a_dial_that_fails_behind_the_end_ends_nothing_twice() -> None:
    session = open_session(SessionConfig(observe=True), Tally(), 0.0, RouteState())
    session.start(0.0)
    ended = [event for event in session.closed(Side.HAPROXY, 1.0, reset=True).events if isinstance(event, SessionEnded)]
    assert len(ended) == 1
    late = session.agent_failed(DialFailure.REFUSED, "too late", 2.0)
    assert not [event for event in late.events if isinstance(event, SessionEnded)]
    assert (late.close_haproxy, late.close_agent) == (Close.KEEP, Close.KEEP)
