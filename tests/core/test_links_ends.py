"""How a session whose agent links come and go ends: HAProxy leaves, the guard stops, or a limit is reached."""

# ruff: noqa: E501 - a move and its outcome read best in one line

from typing import Any

import pytest

from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.config import Redispatch, Unanswered
from spoe_guard.core.terms.states import SessionState
from tests.core import frames
from tests.core.script import Talk, running

pytestmark = pytest.mark.usefixtures("all_speeds")

ONE = len(frames.notify("1.1"))  # bytes


def talk(**config: Any) -> Talk:
    return running(**{"give_up_s": 5.0, **config})


def waiting(**config: Any) -> Talk:
    """Return a talk with a NOTIFY that waits, and a link that is dialled."""
    return talk(**config).play("""
        agent   fin             -> answer disconnect_missing, lost closed 0/0, to_agent HAPROXY_DISCONNECT 0, close agent
        guard   waits 1         -> nothing
        haproxy NOTIFY 1.1      -> held, dial 1
    """)


def two(**config: Any) -> Talk:
    """Return a talk with two links, a NOTIFY in the hands of each agent, and one that waits."""
    return talk(**{"in_flight": 1, "max_links": 2, **config}).play("""
        haproxy NOTIFY 1.1 + NOTIFY 3.1 + NOTIFY 5.1 -> held, to_agent NOTIFY 1.1, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> parallel up, redispatched unsent 1, to_agent1 NOTIFY 3.1
    """)


# --- HAProxy leaves -------------------------------------------------------------------------------------------------------


def test_haproxy_disconnects_while_its_notify_waits_for_a_dial() -> None:
    waiting().play("""
        haproxy HAPROXY_DISCONNECT 0 -> unanswered haproxy_gone 1, to_haproxy AGENT_DISCONNECT 0, close haproxy, abort agent1, end haproxy disconnect
    """)


def test_haproxy_disconnects_while_its_notify_waits_for_a_hello() -> None:
    waiting().play("""
        agent1  up              -> to_agent1 HAPROXY_HELLO
        haproxy HAPROXY_DISCONNECT 0 -> unanswered haproxy_gone 1, to_agent1 HAPROXY_DISCONNECT 0, to_haproxy AGENT_DISCONNECT 0, close haproxy
        agent1  fin             -> close agent1, end haproxy disconnect
    """)


@pytest.mark.parametrize("way", ["fin", "rst"])
def test_haproxy_closes_while_its_notify_waits(way: str) -> None:
    waiting().play(f"""
        haproxy {way}             -> unanswered haproxy_gone 1, close haproxy, abort agent1, end haproxy {"reset" if way == "rst" else "closed"}
    """)


def test_a_disconnect_of_haproxy_goes_to_every_agent() -> None:
    two().play("""
        haproxy HAPROXY_DISCONNECT 0 -> unanswered haproxy_gone 1, unanswered haproxy_gone 2, ok, to_agent1 HAPROXY_DISCONNECT 0, to_haproxy AGENT_DISCONNECT 0, close haproxy
        agent   fin             -> close agent
        agent1  fin             -> close agent1, end haproxy disconnect
    """)


@pytest.mark.parametrize("way", ["fin", "rst"])
def test_every_agent_gets_a_disconnect_when_haproxy_closes(way: str) -> None:
    two().play(f"""
        haproxy {way}             -> unanswered haproxy_gone 1, unanswered haproxy_gone 2, to_agent HAPROXY_DISCONNECT 0, to_agent1 HAPROXY_DISCONNECT 0, close haproxy
        agent   ACK 1.1         -> drop late_ack
        agent   fin             -> close agent
        guard   waits 1         -> close agent1, end haproxy {"reset" if way == "rst" else "closed"}
    """)


def test_an_agent_gets_only_one_disconnect() -> None:
    two().play("""
        agent   AGENT_DISCONNECT 0 -> reorder disconnect_before_ack, dial 2
        agent   ACK 1.1         -> reorder ack_after_disconnect, lost disconnect 0/0, to_agent HAPROXY_DISCONNECT 0, ok
        haproxy HAPROXY_DISCONNECT 0 -> unanswered haproxy_gone 1, unanswered haproxy_gone 1, to_agent1 HAPROXY_DISCONNECT 0, to_haproxy AGENT_DISCONNECT 0, close haproxy, abort agent2
        agent   fin             -> close agent
        agent1  fin             -> close agent1, end haproxy disconnect
    """)


# --- the guard stops ------------------------------------------------------------------------------------------------------


def test_a_drain_lets_every_agent_answer_and_what_waits_be_sent() -> None:
    two().play("""
        guard   drains          -> nothing
        agent   ACK 1.1         -> redispatched unsent 1, to_agent NOTIFY 5.1, ok
        agent1  ACK 3.1         -> ok
        haproxy NOTIFY 7.1      -> to_agent1 NOTIFY 7.1
        agent   ACK 5.1         -> ok
        agent1  ACK 7.1         -> to_agent1 HAPROXY_DISCONNECT 0, to_agent HAPROXY_DISCONNECT 0, to_haproxy ACK 7.1, to_haproxy AGENT_DISCONNECT 0
        haproxy fin             -> close haproxy
        agent   fin             -> close agent
        agent1  fin             -> close agent1, end guard drain
    """)


def test_a_drain_waits_no_longer_for_a_lost_agent_than_otherwise() -> None:
    waiting().play("""
        guard   drains          -> nothing
        guard   waits 0.499     -> nothing
        guard   waits 0.001     -> pass notify_unanswered, unanswered agent_gone 1, to_haproxy AGENT_DISCONNECT 13, abort agent1
        haproxy fin             -> close haproxy, end guard drain
    """)


def test_a_drain_lets_a_new_agent_answer_what_waits() -> None:
    waiting().play("""
        guard   drains          -> nothing
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up, redispatched unsent 1, to_agent1 NOTIFY 1.1
        agent1  ACK 1.1         -> to_agent1 HAPROXY_DISCONNECT 0, to_haproxy ACK 1.1, to_haproxy AGENT_DISCONNECT 0
    """)


def test_a_drain_of_a_session_without_a_link_ends_it() -> None:
    talk().play("""
        agent   fin             -> answer disconnect_missing, lost closed 0/0, to_agent HAPROXY_DISCONNECT 0, close agent
        guard   drains          -> nothing
        guard   waits 0.05      -> to_haproxy AGENT_DISCONNECT 0
        haproxy fin             -> close haproxy, end guard drain
    """)


# --- bounds ---------------------------------------------------------------------------------------------------------------


def test_no_more_notifies_wait_than_may_be_open() -> None:
    session = waiting(open_notifies=2).play("""
        haproxy NOTIFY 3.1      -> held
        haproxy NOTIFY 5.1      -> pass notify_unanswered, unanswered limit 1
    """)
    assert session.tally.parked_notifies == 2


def test_what_is_open_and_what_waits_is_one_bound() -> None:
    two(open_notifies=3).play("""
        haproxy NOTIFY 7.1      -> pass notify_unanswered, unanswered limit 1
        agent   ACK 1.1         -> redispatched unsent 1, to_agent NOTIFY 5.1, ok
        haproxy NOTIFY 9.1      -> held
    """)


def test_beyond_the_limit_the_oldest_notify_of_all_links_gives_way() -> None:
    talk(in_flight=2, max_links=2, open_notifies=3).play("""
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok
        guard   waits 0.1       -> nothing
        haproxy NOTIFY 5.1      -> held, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> parallel up, redispatched unsent 1, to_agent1 NOTIFY 5.1
        haproxy NOTIFY 7.1      -> pass notify_unanswered, unanswered limit 1, to_agent1 NOTIFY 7.1
        agent   ACK 1.1         -> drop late_ack
    """)


def test_no_more_bytes_wait_than_may_be_held() -> None:
    session = talk(held_bytes=1000, answer=frames.agent_hello(max_frame_size=996))
    session._line("agent", "rst")
    fits = 1000 // ONE
    for n in range(fits):
        assert "held" in session._line("haproxy", f"NOTIFY {n}.1")
    assert session.session.held == fits * ONE
    assert session._line("haproxy", "NOTIFY 99.1") == "pass notify_unanswered, unanswered limit 1"
    session._check_books()
    assert session.session.held == fits * ONE


def test_a_notify_waits_no_longer_than_give_up() -> None:
    session = two(give_up_s=0.3).play("""
        guard   waits 0.2999    -> nothing
        guard   waits 0.0001    -> pass notify_unanswered, unanswered deadline 1
    """)
    assert session.tally.parked_notifies == 0


def test_what_is_redispatched_is_bounded_too() -> None:
    session = talk(redispatch=Redispatch.UNANSWERED, held_bytes=1000, answer=frames.agent_hello(max_frame_size=996))
    fits = 1000 // ONE
    session._line("haproxy", " + ".join(f"NOTIFY {n}.1" for n in range(fits + 1)))
    assert session._line("agent", "rst") == (
        f"answer disconnect_missing, pass notify_unanswered, unanswered agent_gone 1, lost reset {fits + 1}/{fits}, close agent"
    )
    assert session.session.held == 0  # HAProxy's own bytes went out


def test_what_waits_is_answered_where_the_route_says_so() -> None:
    waiting(unanswered=Unanswered.EMPTY_ACK, answer_deadline_s=0.2).play("""
        guard   waits 0.2       -> answer notify_unanswered, unanswered deadline 1, to_haproxy ACK 1.1
    """)


# --- release --------------------------------------------------------------------------------------------------------------


def test_release_returns_what_waits_and_what_the_one_link_left_began() -> None:
    session = two(unanswered=Unanswered.EMPTY_ACK)
    session._line("agent1", "ACK 3.1[:6]")
    session._line("agent", "fin")
    assert session.session.release() == (frames.notify("5.1"), frames.ack("3.1")[:6])
    assert session.tally.parked_notifies == session.tally.held_bytes == session.tally.open_notifies == 0
    assert session.session.state is SessionState.CLOSED


def test_release_returns_no_copy_of_what_an_agent_had() -> None:
    session = talk(redispatch=Redispatch.UNANSWERED)
    session._line("haproxy", "NOTIFY 1.1")
    session._line("agent", "rst")
    session._line("haproxy", "NOTIFY 3.1")
    session._line("guard", "waits 0.01")
    assert session.session.release() == (frames.notify("3.1"), b"")
    assert session.tally.parked_notifies == 0


def test_release_behind_the_last_link_has_nothing_of_an_agent() -> None:
    session = talk()
    session._line("agent", "rst")
    session._line("guard", "waits 700")
    session._line("haproxy", "NOTIFY 1.1[:5]")
    assert session.session.release()[1] == b""


# --- bytes and ACKs of links that are gone --------------------------------------------------------------------------------


def test_bytes_of_a_link_that_is_gone_are_booked_as_dropped() -> None:
    session = waiting().play("""
        agent   ACK 1.1         -> nothing
        agent   fin             -> nothing
        agent   up              -> nothing
        agent   fail            -> nothing
    """)
    assert session.session.held == ONE


def test_an_ack_handed_over_to_a_session_without_a_link_is_dropped() -> None:
    session = talk().play("""
        agent   rst             -> answer disconnect_missing, lost reset 0/0, close agent
        haproxy NOTIFY 1.1[:5]  -> held
    """)
    assert session.take(frames.ack("9.1")) == "nothing"
    session.play("""
        haproxy NOTIFY 1.1[5:]  -> held
        guard   waits 0.005     -> dial 1
    """)
    assert session.take(frames.ack("9.1")) == "drop unmatched_ack"


def test_an_ack_handed_over_frees_the_link_that_owes_it() -> None:
    session = two()
    assert session.take(frames.ack("3.1")) == "redispatched unsent 1, to_agent1 NOTIFY 5.1, ok"
    assert session.take(frames.ack("1.1")) == "ok"


def test_nothing_is_observed_differently() -> None:
    session = Talk(observe=True, in_flight=1, max_links=3, redispatch=Redispatch.UNANSWERED)
    session.session.start(session.now)
    for side, what in (
        ("haproxy", "HAPROXY_HELLO"),
        ("agent", "up"),
        ("agent", "AGENT_HELLO"),
        ("haproxy", "NOTIFY 1.1 + NOTIFY 3.1"),
    ):
        session._line(side, what)
    assert session.session.open_notifies == 2
    assert session.tally.parked_notifies == 0
    assert session.session.closed(Side.AGENT, session.now, reset=True).to_haproxy == b""
