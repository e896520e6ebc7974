"""Observe mode: closes, resets, an unreachable agent, a guard that stops (promise O2)."""

import math

import pytest

from spoe_guard.core.terms.anomalies import Anomaly, Side
from spoe_guard.core.terms.states import SessionState
from tests.core import frames
from tests.core.observed import RUNNING, UP, everything_passed, observe
from tests.core.script import Talk

pytestmark = pytest.mark.usefixtures("both_speeds")


def test_a_fin_is_passed_on_as_one_whoever_sends_it() -> None:
    observe(
        RUNNING
        + """
        haproxy NOTIFY 1.1    -> ok
        haproxy fin           -> unanswered haproxy_gone 1, half agent
        haproxy fin           -> nothing
        agent   ACK 1.1       -> drop late_ack, ok
        agent   fin           -> close haproxy, close agent, end haproxy closed
        agent   rst           -> nothing
        """
    )
    observe(
        RUNNING
        + """
        agent   fin           -> answer disconnect_missing, half haproxy
        haproxy NOTIFY 1.1    -> ok
        haproxy fin           -> close haproxy, close agent, end agent closed
        """
    )


@pytest.mark.parametrize("side", ["haproxy", "agent"])
def test_a_reset_is_passed_on_as_one(side: str) -> None:
    reported = "answer disconnect_missing, " if side == "agent" else ""
    observe(RUNNING + f"{side} rst -> {reported}abort haproxy, abort agent, end {side} reset")


def test_haproxys_early_fin_waits_for_the_agent_only_behind_some_bytes() -> None:
    talk = observe(
        f"""
        guard   starts          -> dial
        haproxy HAPROXY_HELLO   -> held
        haproxy fin             -> unreachable haproxy_gave_up
        agent   up              -> to_agent {len(frames.haproxy_hello())} bytes, half agent
        agent   AGENT_HELLO     -> ok
        agent   fin             -> close haproxy, close agent, end haproxy closed
        """
    )
    assert everything_passed(talk)
    observe("guard starts -> dial\nhaproxy fin -> close haproxy, abort agent, end haproxy closed")
    observe(
        """
        guard   starts          -> dial
        haproxy HAPROXY_HELLO   -> held
        haproxy rst             -> unreachable haproxy_gave_up, abort haproxy, abort agent, end haproxy reset
        """
    )


def test_a_side_closed_before_the_dial_leaves_the_shadow_awaiting_its_hello() -> None:
    observe(
        UP
        + """
        agent   fin             -> half haproxy
        haproxy HAPROXY_HELLO   -> ok
        guard   waits 2         -> unreachable hello_timeout, answer agent_unreachable
        haproxy fin             -> close haproxy, close agent, end agent closed
        """
    )


# --- an agent that is not there ----------------------------------------


def test_an_agent_that_cannot_be_dialled_closes_haproxy_like_a_plain_proxy() -> None:
    gone = "close haproxy, abort agent, end agent unreachable"
    observe(f"guard starts -> dial\nagent fail -> unreachable refused, {gone}")
    observe(
        f"""
        guard   starts        -> dial
        haproxy HAPROXY_HELLO -> held
        agent   fail          -> unreachable refused, answer agent_unreachable, {gone}
        """
    )


@pytest.mark.parametrize("sent", ["", "haproxy HAPROXY_HELLO -> held"])
def test_a_dial_takes_no_longer_than_connect_timeout(sent: str) -> None:
    reported = "unreachable timeout, " + ("answer agent_unreachable, " if sent else "")
    observe(
        f"""
        guard starts       -> dial
        {sent}
        guard waits 0.999  -> nothing
        guard waits 0.001  -> {reported}close haproxy, abort agent, end agent unreachable
        guard waits 100    -> nothing
        """
    )


# --- a guard that stops ----------------------------------------


def test_a_guard_that_stops_waits_for_what_is_open_and_then_closes() -> None:
    talk = observe(
        RUNNING
        + """
        haproxy NOTIFY 1.1   -> ok
        guard   drains       -> nothing
        agent   ACK 1.1      -> ok, close haproxy, close agent, end guard drain
        """
    )
    assert everything_passed(talk)


def test_a_guard_that_stops_waits_no_longer_than_disconnect_hold() -> None:
    observe(
        RUNNING
        + """
        haproxy NOTIFY 1.1   -> ok
        guard   drains       -> nothing
        guard   waits 0.499  -> nothing
        guard   waits 0.001  -> pass notify_unanswered, unanswered agent_gone 1, close haproxy, close agent, end guard drain
        """
    )


def test_a_guard_that_stops_with_nothing_open_closes_at_once() -> None:
    observe(RUNNING + "guard drains -> close haproxy, close agent, end guard drain\nguard drains -> nothing")
    observe("guard starts -> dial\nguard drains -> close haproxy, abort agent, end guard drain")


def test_a_side_that_goes_while_the_guard_stops_ends_it() -> None:
    observe(
        RUNNING
        + """
        haproxy NOTIFY 1.1   -> ok
        guard   drains       -> nothing
        haproxy rst          -> unanswered haproxy_gone 1, close haproxy, close agent, end haproxy reset
        """
    )


def test_the_timer_is_armed_for_what_may_come_first() -> None:
    talk = Talk(observe=True, connect_s=1.0, hello_s=5.0, idle_s=10.0)
    talk.play("guard starts -> dial")
    assert talk.session.deadline == talk.now + 1.0
    talk.play("agent up -> nothing")
    assert talk.session.deadline == talk.now + 5.0
    talk.play("haproxy HAPROXY_HELLO -> ok\nagent AGENT_HELLO -> ok\nhaproxy NOTIFY 1.1 -> ok\nguard drains -> nothing")
    assert talk.session.deadline == talk.now + 0.5
    talk.play("agent ACK 1.1 -> ok, close haproxy, close agent, end guard drain")
    assert talk.session.deadline == math.inf


def test_what_the_guard_would_end_goes_on_and_the_gauges_stay_right() -> None:
    talk = observe(
        RUNNING
        + """
        haproxy NOTIFY 1.1  -> ok
        agent   <garbage>   -> repair garbled_stream, ok
        guard   waits 10    -> pass notify_unanswered, unanswered agent_gone 1
        agent   ACK 1.1     -> ok
        haproxy NOTIFY 3.1  -> ok
        """,
        garbage=b"\xff\xff\xff\xff",
    )
    assert everything_passed(talk)
    assert talk.session.state is SessionState.CLOSED
    assert (talk.tally.open_notifies, talk.tally.held_bytes) == (0, 0)


def test_release_hands_back_what_came_while_the_agent_was_dialled() -> None:
    talk = observe("guard starts -> dial\nhaproxy HAPROXY_HELLO -> held")
    assert talk.session.release() == (frames.haproxy_hello(), b"")
    assert talk.tally.held_bytes == 0
    assert talk.session.deadline == math.inf


def test_every_anomaly_says_that_nothing_was_done_about_it() -> None:
    talk = observe(RUNNING + "agent ACK 9.1 -> drop unmatched_ack, ok")
    seen = talk.anomalies[0]
    assert (seen.anomaly, seen.side, seen.applied) == (Anomaly.UNMATCHED_ACK, Side.AGENT, False)
