"""When a session dials a replacement link, how often, until when, and what the link negotiates."""

# ruff: noqa: E501 - a move and its outcome read best in one line

from typing import Any

import pytest

from spoe_guard.core.conversation.route_state import RouteState
from spoe_guard.core.terms.config import Redispatch
from spoe_guard.core.terms.events import LinkUp
from spoe_guard.core.terms.family import Family
from spoe_guard.wire import frame
from tests.core import frames
from tests.core.script import Talk, running

pytestmark = pytest.mark.usefixtures("all_speeds")


def fresh(spread: float = 0.0, **config: Any) -> Talk:
    """A session of a route whose agent was there before."""
    route_state = RouteState(spread=spread)
    route_state.agent.was_there()
    return Talk(**{"give_up_s": 5.0, "route_state": route_state, **config})


def talk(**config: Any) -> Talk:
    return running(**{"give_up_s": 5.0, **config})


# --- when -----------------------------------------------------------------------------------------------------------------


def test_a_useful_link_is_replaced_at_once_where_notifies_wait() -> None:
    talk(redispatch=Redispatch.UNANSWERED).play("""
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok
        agent   ACK 1.1         -> ok
        agent   rst             -> answer disconnect_missing, lost reset 1/1, dial 1, close agent
    """)


def test_a_link_that_was_of_no_use_is_replaced_in_a_moment() -> None:
    talk(redispatch=Redispatch.UNANSWERED).play("""
        haproxy NOTIFY 1.1      -> ok
        agent   rst             -> answer disconnect_missing, lost reset 1/1, close agent
        guard   waits 0.0049    -> nothing
        guard   waits 0.0001    -> dial 1
    """)


def test_tries_are_a_sixteenth_of_the_outage_apart_up_to_250_ms() -> None:
    waits = []
    session = talk(redispatch=Redispatch.UNANSWERED, give_up_s=10.0)
    session.play("""
        haproxy NOTIFY 1.1      -> ok
        agent   rst             -> answer disconnect_missing, lost reset 1/1, close agent
    """)
    lost, number = session.now, 0
    while session.now < lost + 8:
        tried = session.now
        number += 1
        assert session._guard("waits", "0.25").startswith(f"dial {number}")
        session.now = session.session.snapshot().links[number].connect_by - session.config.connect_s  # when it was dialled
        waits.append((session.now - lost, session.now - tried))
        assert session._line(f"agent{number}", "fail") == f"unreachable refused, abort agent{number}"
    for since, waited in waits:
        assert waited == pytest.approx(min(max((since - waited) / 16, 0.005), 0.25))
    assert waits[-1][1] == pytest.approx(0.25)


def test_sessions_do_not_dial_in_step() -> None:
    def first_retry(spread: float) -> float:
        session = fresh(spread).play("""
        haproxy HAPROXY_HELLO   -> held, dial
        agent   fail            -> unreachable refused, abort agent
        """)
        return session.session.deadline - session.now

    assert first_retry(0.0) == pytest.approx(0.005)
    assert first_retry(1.0) == pytest.approx(0.00375)


def test_the_first_dial_is_tried_again_while_haproxy_has_no_hello() -> None:
    fresh().play("""
        haproxy HAPROXY_HELLO   -> held, dial
        agent   fail            -> unreachable refused, abort agent
        guard   waits 0.005     -> dial 1
        agent1  fail            -> unreachable refused, abort agent1
        guard   waits 0.005     -> dial 2
        agent2  up              -> to_agent2 HAPROXY_HELLO
        agent2  AGENT_HELLO     -> to_haproxy AGENT_HELLO
        haproxy NOTIFY 1.1      -> to_agent2 NOTIFY 1.1
        agent2  ACK 1.1         -> ok
    """)


def test_an_agent_that_closes_before_its_hello_is_tried_again() -> None:
    fresh().play("""
        haproxy HAPROXY_HELLO   -> held, dial
        agent   up              -> to_agent HAPROXY_HELLO
        agent   rst             -> answer disconnect_missing, unreachable other, close agent
        guard   waits 0.005     -> dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> to_haproxy AGENT_HELLO
        haproxy HAPROXY_DISCONNECT 0 -> to_agent1 HAPROXY_DISCONNECT 0, to_haproxy AGENT_DISCONNECT 0, close haproxy
        agent1  fin             -> close agent1, end haproxy disconnect
    """)


def test_an_agent_that_says_no_hello_is_tried_again() -> None:
    fresh().play("""
        haproxy HAPROXY_HELLO   -> held, dial
        agent   up              -> to_agent HAPROXY_HELLO
        guard   waits 2         -> unreachable hello_timeout, answer agent_unreachable, to_agent HAPROXY_DISCONNECT 0
        guard   waits 0.13      -> dial 1
        agent   <junk>          -> close garbled_stream, close agent
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> to_haproxy AGENT_HELLO
    """, junk=b"\xff\xff\xff\xff\x67\0\0\0\1aaaa")  # fmt: skip


def test_a_dial_that_takes_too_long_is_tried_again() -> None:
    fresh(give_up_s=1.5).play("""
        haproxy HAPROXY_HELLO   -> held, dial
        guard   waits 1         -> unreachable timeout, abort agent
        agent   up              -> nothing
        guard   waits 0.25      -> dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> to_haproxy AGENT_HELLO
    """)


def test_a_session_waits_for_an_agent_only_while_notifies_do() -> None:
    talk(answer_deadline_s=0.05).play("""
        agent   fin             -> answer disconnect_missing, lost closed 0/0, to_agent HAPROXY_DISCONNECT 0, close agent
        guard   waits 1         -> nothing
        haproxy NOTIFY 1.1      -> held, dial 1
        agent1  fail            -> unreachable refused, abort agent1
        guard   waits 0.049     -> dial 2
        guard   waits 0.001     -> pass notify_unanswered, unanswered deadline 1
        guard   waits 60        -> unreachable timeout, abort agent2
        haproxy HAPROXY_DISCONNECT 0 -> to_haproxy AGENT_DISCONNECT 0, close haproxy, end haproxy disconnect
    """)


def test_a_refusal_of_hello_is_the_agents_own_word_the_first_time() -> None:
    fresh().play("""
        haproxy HAPROXY_HELLO   -> held, dial
        agent   up              -> to_agent HAPROXY_HELLO
        agent   AGENT_DISCONNECT 8 -> answer hello_refused, unreachable hello_refused
    """)


def test_a_replacement_that_refuses_hello_is_tried_again() -> None:
    talk().play("""
        agent   fin             -> answer disconnect_missing, lost closed 0/0, to_agent HAPROXY_DISCONNECT 0, close agent
        guard   waits 1         -> nothing
        haproxy NOTIFY 1.1      -> held, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_DISCONNECT 8 -> drop hello_refused, unreachable hello_refused, to_agent1 HAPROXY_DISCONNECT 0
        guard   waits 0.005     -> dial 2
        agent2  up              -> to_agent2 HAPROXY_HELLO
        agent2  AGENT_HELLO     -> replacement up, redispatched unsent 1, to_agent2 NOTIFY 1.1
        agent1  fin             -> close agent1
    """)


def test_a_replacement_whose_hello_cannot_be_used_is_tried_again() -> None:
    talk().play("""
        agent   fin             -> answer disconnect_missing, lost closed 0/0, to_agent HAPROXY_DISCONNECT 0, close agent
        guard   waits 1         -> nothing
        haproxy NOTIFY 1.1      -> held, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  <old>           -> close hello_version, unreachable other, to_agent1 HAPROXY_DISCONNECT 0
        guard   waits 0.005     -> dial 2
        agent2  up              -> to_agent2 HAPROXY_HELLO
        agent2  ACK 1.1         -> drop frame_before_hello
        agent2  AGENT_HELLO     -> replacement up, redispatched unsent 1, to_agent2 NOTIFY 1.1
    """, old=frames.agent_hello(version=b"1.0"))  # fmt: skip


def test_a_health_check_is_answered_from_one_link_and_never_retried() -> None:
    fresh().play("""
        haproxy HAPROXY_HELLO check -> held, dial
        agent   fail            -> unreachable refused, answer agent_unreachable
    """)
    fresh(in_flight=1).play("""
        haproxy HAPROXY_HELLO check -> held, dial
        agent   up              -> to_agent HAPROXY_HELLO
        agent   AGENT_HELLO check -> to_haproxy AGENT_HELLO
        agent   fin             -> to_agent HAPROXY_DISCONNECT 0, close agent
        guard   waits 1         -> close haproxy, end agent closed
        haproxy fin             -> nothing
    """)


def test_how_long_the_agent_was_away_is_told() -> None:
    session = talk()
    session.play("""
        agent   fin             -> answer disconnect_missing, lost closed 0/0, to_agent HAPROXY_DISCONNECT 0, close agent
        guard   waits 60        -> nothing
        haproxy NOTIFY 1.1      -> held, dial 1
        guard   waits 0.25      -> nothing
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up, redispatched unsent 1, to_agent1 NOTIFY 1.1
    """)
    ups = [event for event in session.events if isinstance(event, LinkUp)]
    assert [(event.reason.value, event.away_s) for event in ups] == [("first", 0.0), ("replacement", 0.25)]


# --- what it negotiates ---------------------------------------------------------------------------------------------------


def test_hello_is_replayed_as_it_was_negotiated() -> None:
    session = running(answer=frames.agent_hello(max_frame_size=1024), give_up_s=5.0, max_frame_size=4096)
    session.play("""
        agent   fin             -> answer disconnect_missing, lost closed 0/0, to_agent HAPROXY_DISCONNECT 0, close agent
        guard   waits 1         -> nothing
        haproxy NOTIFY 1.1      -> held, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
    """)
    first, again = next(frames.cut(session.got["to_agent"])), next(frames.cut(session.got["to_agent1"]))
    assert first.raw == frames.haproxy_hello(max_frame_size=4096)
    assert again.raw == frames.haproxy_hello(max_frame_size=1024)


def test_a_new_agent_that_takes_smaller_frames_gets_those_that_fit() -> None:
    session = talk().play("""
        agent   fin             -> answer disconnect_missing, lost closed 0/0, to_agent HAPROXY_DISCONNECT 0, close agent
        guard   waits 1         -> nothing
        haproxy <long> + NOTIFY 3.1 -> held, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  <less>          -> replacement up, drop notify_oversize, pass notify_unanswered, unanswered notify_dropped 1, redispatched unsent 1, to_agent1 NOTIFY 3.1
        haproxy <fits>          -> to_agent1 NOTIFY 5.1
        haproxy <longer>        -> drop notify_oversize, pass notify_unanswered, unanswered notify_dropped 1
    """, long=frames.sized(frame.NOTIFY, 1025, "1.1"), less=frames.agent_hello(max_frame_size=1024),
        fits=frames.sized(frame.NOTIFY, 1024, "5.1"), longer=frames.sized(frame.NOTIFY, 1025, "7.1"))  # fmt: skip
    session.play("""
        agent1  ACK 3.1         -> ok
        agent1  rst             -> answer disconnect_missing, pass notify_unanswered, unanswered agent_gone 1, lost reset 1/0, close agent1
        haproxy <longer>        -> held, dial 2
        agent2  up              -> to_agent2 HAPROXY_HELLO
        agent2  AGENT_HELLO     -> replacement up, redispatched unsent 1, to_agent2 NOTIFY 7.1
    """)


def test_a_larger_new_agent_is_held_to_the_size_haproxy_knows() -> None:
    session = running(answer=frames.agent_hello(max_frame_size=1024), give_up_s=5.0)
    session.play("""
        agent   fin             -> answer disconnect_missing, lost closed 0/0, to_agent HAPROXY_DISCONNECT 0, close agent
        guard   waits 1         -> nothing
        haproxy NOTIFY 1.1      -> held, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> repair hello_size, replacement up, redispatched unsent 1, to_agent1 NOTIFY 1.1
        agent1  <long>          -> drop oversize_frame, pass notify_unanswered, unanswered ack_dropped 1
        haproxy <long_notify>   -> drop notify_oversize, pass notify_unanswered, unanswered notify_dropped 1
    """, long=frames.sized(frame.ACK, 1025, "1.1"), long_notify=frames.sized(frame.NOTIFY, 1025, "3.1"))  # fmt: skip


def test_a_new_agent_without_pipelining_gets_one_notify_at_a_time() -> None:
    talk().play("""
        agent   fin             -> answer disconnect_missing, lost closed 0/0, to_agent HAPROXY_DISCONNECT 0, close agent
        guard   waits 1         -> nothing
        haproxy NOTIFY 1.1 + NOTIFY 3.1 + NOTIFY 5.1 -> held, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  <serial>        -> replacement up, redispatched unsent 1, to_agent1 NOTIFY 1.1
        agent1  ACK 1.1         -> redispatched unsent 1, to_agent1 NOTIFY 3.1, ok
        haproxy NOTIFY 7.1      -> held
        agent1  ACK 3.1         -> redispatched unsent 1, to_agent1 NOTIFY 5.1, ok
        agent1  ACK 5.1         -> redispatched unsent 1, to_agent1 NOTIFY 7.1, ok
        agent1  ACK 7.1         -> ok
    """, serial=frames.agent_hello(capabilities=b""))  # fmt: skip


def test_a_new_agent_with_pipelining_changes_nothing_for_a_haproxy_without() -> None:
    session = running(answer=frames.agent_hello(capabilities=b""), give_up_s=5.0)
    session.play("""
        agent   fin             -> answer disconnect_missing, lost closed 0/0, to_agent HAPROXY_DISCONNECT 0, close agent
        guard   waits 1         -> nothing
        haproxy NOTIFY 1.1      -> held, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up, redispatched unsent 1, to_agent1 NOTIFY 1.1
        guard   waits 0.01      -> nothing
        haproxy NOTIFY 3.1      -> pass notify_unanswered, unanswered superseded 1, to_agent1 NOTIFY 3.1
        agent1  ACK 1.1         -> drop late_ack
        agent1  ACK 3.1         -> ok
    """)


def test_a_haproxy_up_to_3_0_is_written_to_at_any_speed() -> None:
    session = running(hello=frames.haproxy_hello(capabilities=b"pipelining,async"), answer=frames.agent_hello(), give_up_s=5.0)
    session.play("""
        agent   fin             -> answer disconnect_missing, lost closed 0/0, to_agent HAPROXY_DISCONNECT 0, close agent
        guard   waits 1         -> nothing
        haproxy NOTIFY 1.1      -> held, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up, redispatched unsent 1, to_agent1 NOTIFY 1.1
    """)
    assert session.session.snapshot().family is Family.APPLET
