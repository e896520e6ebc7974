"""Several agent links serve one session: opened on demand, within bounds, and each may be lost."""

# ruff: noqa: E501 - a move and its outcome read best in one line

from typing import Any

import pytest

from spoe_guard.core.terms.config import Redispatch
from tests.core import frames
from tests.core.script import Talk, running

pytestmark = pytest.mark.usefixtures("all_speeds")

SYNC: dict[str, Any] = {
    "hello": frames.haproxy_hello(capabilities=b""),
    "answer": frames.agent_hello(capabilities=b""),
}


def talk(**config: Any) -> Talk:
    return running(**{"give_up_s": 5.0, "max_links": 3, "in_flight": 1, **config})


def two(**config: Any) -> Talk:
    """Return a talk with two links, each with a NOTIFY in its agent's hands: 1.1 and 3.1."""
    return talk(**config).play("""
        haproxy NOTIFY 1.1      -> ok
        haproxy NOTIFY 3.1      -> held, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> parallel up, redispatched unsent 1, to_agent1 NOTIFY 3.1
    """)


# --- opened as needed -----------------------------------------------------------------------------------------------------


def test_links_are_opened_as_needed_and_never_more_than_max() -> None:
    talk().play("""
        haproxy NOTIFY 1.1 + NOTIFY 3.1 + NOTIFY 5.1 + NOTIFY 7.1 + NOTIFY 9.1 -> held, to_agent NOTIFY 1.1, dial 1, dial 2
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent2  up              -> to_agent2 HAPROXY_HELLO
        agent2  AGENT_HELLO     -> parallel up, redispatched unsent 1, to_agent2 NOTIFY 3.1
        agent1  AGENT_HELLO     -> parallel up, redispatched unsent 1, to_agent1 NOTIFY 5.1
        agent   ACK 1.1         -> redispatched unsent 1, to_agent NOTIFY 7.1, ok
        agent2  ACK 3.1 + ACK 9.1 -> drop unmatched_ack, redispatched unsent 1, to_agent2 NOTIFY 9.1, to_haproxy ACK 3.1
        agent1  ACK 5.1         -> ok
        agent   ACK 7.1         -> ok
        agent2  ACK 9.1         -> ok
    """)


def test_a_run_of_notifies_is_dealt_out_to_all_links() -> None:
    session = two().play("""
        agent   ACK 1.1         -> ok
        agent1  ACK 3.1         -> ok
        haproxy NOTIFY 5.1 + NOTIFY 7.1 -> to_agent1 NOTIFY 7.1, to_agent NOTIFY 5.1
        agent1  ACK 5.1         -> ok
        agent   ACK 7.1         -> ok
        haproxy NOTIFY 9.1 + NOTIFY 11.1 + NOTIFY 13.1 -> held, to_agent NOTIFY 11.1, to_agent1 NOTIFY 9.1, dial 2
    """)
    assert len(session.session.snapshot().links) == 3


@pytest.mark.parametrize("in_flight", [1, 2, 3])
def test_no_agent_has_more_notifies_in_hand_than_in_flight(in_flight: int) -> None:
    session = talk(in_flight=in_flight, max_links=1)
    session._line("haproxy", " + ".join(f"NOTIFY {n}.1" for n in range(1, in_flight + 1)))
    assert len(session.session.snapshot().parked) == 0
    session._line("haproxy", "NOTIFY 99.1")
    assert session.session.open_notifies == in_flight
    assert len(session.session.snapshot().parked) == session.tally.parked_notifies == 1
    session._line("agent", "ACK 1.1")
    assert session.session.open_notifies == in_flight
    assert session.tally.parked_notifies == 0


def test_haproxy_is_told_pipelining_over_agents_that_have_none() -> None:
    serial = frames.agent_hello(capabilities=b"")
    session = Talk(give_up_s=5.0, max_links=2, in_flight=1).play("""
        haproxy HAPROXY_HELLO   -> held, dial
        agent   up              -> to_agent HAPROXY_HELLO
        agent   <serial>        -> to_haproxy AGENT_HELLO
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> held, to_agent NOTIFY 1.1, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  <serial>        -> parallel up, redispatched unsent 1, to_agent1 NOTIFY 3.1
        agent1  ACK 3.1         -> ok
        agent   ACK 1.1         -> ok
    """, serial=serial)  # fmt: skip
    assert session.got["to_haproxy"].startswith(frames.shown_hello())


def test_haproxy_is_told_no_pipelining_that_it_did_not_ask_for() -> None:
    session = running(**SYNC, give_up_s=5.0, max_links=2, in_flight=1)
    assert session.got["to_haproxy"] == frames.shown_hello(b"")


@pytest.mark.parametrize("config", [{"give_up_s": 0.0}, {"observe": True}])
def test_a_session_that_ends_with_its_link_bounds_nothing(config: dict[str, Any]) -> None:
    session = Talk(in_flight=1, max_links=2, **config)
    session.session.start(session.now)
    for side, what in (("haproxy", "HAPROXY_HELLO"), ("agent", "up"), ("agent", "AGENT_HELLO")):
        session._line(side, what)
    session._line("haproxy", "NOTIFY 1.1 + NOTIFY 3.1")
    assert session.session.open_notifies == 2
    assert session._line("agent", "ACK 3.1") in ("ok", f"to_haproxy {len(frames.ack('3.1'))} bytes")
    assert not session.anomalies


def test_notifies_wait_for_room_where_no_parallel_link_comes_up() -> None:
    talk().play("""
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> held, to_agent NOTIFY 1.1, dial 1
        agent1  fail            -> unreachable refused, abort agent1
        agent   ACK 1.1         -> redispatched unsent 1, to_agent NOTIFY 3.1, ok
        guard   waits 1         -> nothing
        agent   ACK 3.1         -> ok
    """)


def test_what_waits_for_room_waits_no_longer_than_for_an_agent() -> None:
    talk(max_links=1).play("""
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> held, to_agent NOTIFY 1.1
        guard   waits 4.999     -> nothing
        guard   waits 0.001     -> pass notify_unanswered, unanswered deadline 1
        agent   ACK 1.1         -> ok
    """)


def test_what_waits_for_room_waits_no_longer_than_the_answer_deadline() -> None:
    talk(max_links=1, answer_deadline_s=0.2).play("""
        haproxy NOTIFY 1.1      -> ok
        guard   waits 0.1       -> nothing
        haproxy NOTIFY 3.1      -> held
        guard   waits 0.0999    -> nothing
        guard   waits 0.0001    -> pass notify_unanswered, unanswered deadline 1, lost deadline 0/0, to_agent HAPROXY_DISCONNECT 0
        guard   waits 0.01      -> dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent   ACK 1.1         -> drop late_ack
        agent1  AGENT_HELLO     -> replacement up, redispatched unsent 1, to_agent1 NOTIFY 3.1
        agent1  ACK 3.1         -> ok
    """)


# --- closed when idle, or blocked -----------------------------------------------------------------------------------------


def test_an_idle_parallel_link_is_closed_and_the_last_one_stays() -> None:
    two().play("""
        agent   ACK 1.1         -> ok
        agent1  ACK 3.1         -> ok
        guard   waits 9.999     -> nothing
        guard   waits 0.001     -> lost retired 0/0, to_agent HAPROXY_DISCONNECT 0
        agent   fin             -> close agent
        guard   waits 60        -> nothing
        haproxy NOTIFY 5.1      -> to_agent1 NOTIFY 5.1
        agent1  ACK 5.1         -> ok
    """)


def test_a_link_that_is_blocked_for_30_s_is_closed() -> None:
    two(give_up_s=60.0).play("""
        agent1  ACK 3.1         -> ok
        haproxy NOTIFY 5.1      -> to_agent1 NOTIFY 5.1
        agent1  ACK 5.1         -> ok
        guard   waits 29.999    -> lost retired 0/0, to_agent1 HAPROXY_DISCONNECT 0, close agent1
        guard   waits 0.001     -> pass notify_unanswered, unanswered deadline 1, lost deadline 0/0, to_agent HAPROXY_DISCONNECT 0
        agent   ACK 1.1         -> drop late_ack
    """)


def test_a_link_blocked_for_the_answer_deadline_closes_and_drops_late_acks() -> None:
    two(answer_deadline_s=0.5).play("""
        guard   waits 0.4       -> nothing
        agent1  ACK 3.1         -> ok
        guard   waits 0.0999    -> nothing
        guard   waits 0.0001    -> pass notify_unanswered, unanswered deadline 1, lost deadline 0/0, to_agent HAPROXY_DISCONNECT 0
        agent   ACK 1.1         -> drop late_ack
        agent   fin             -> close agent
    """)


def test_an_agent_that_still_works_on_what_another_answered_gets_nothing_more() -> None:
    talk(max_links=1, redispatch=Redispatch.UNANSWERED).play("""
        haproxy NOTIFY 1.1      -> ok
        agent   AGENT_DISCONNECT 0 -> reorder disconnect_before_ack
        guard   waits 0.51      -> lost disconnect 1/1, to_agent HAPROXY_DISCONNECT 0, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up, redispatched unanswered 1, to_agent1 NOTIFY 1.1
        agent   ACK 1.1         -> ok
        haproxy NOTIFY 3.1      -> held
        agent1  ACK 1.1         -> drop duplicate_ack, redispatched unsent 1, to_agent1 NOTIFY 3.1
        agent1  ACK 3.1         -> ok
    """)


def test_what_an_agent_still_works_on_counts_in_a_run_too() -> None:
    talk(max_links=1, in_flight=2, redispatch=Redispatch.UNANSWERED).play("""
        haproxy NOTIFY 1.1      -> ok
        agent   AGENT_DISCONNECT 0 -> reorder disconnect_before_ack
        guard   waits 0.51      -> lost disconnect 1/1, to_agent HAPROXY_DISCONNECT 0, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up, redispatched unanswered 1, to_agent1 NOTIFY 1.1
        agent   ACK 1.1         -> ok
        haproxy NOTIFY 3.1 + NOTIFY 5.1 -> held, to_agent1 NOTIFY 3.1
        agent1  ACK 1.1         -> drop duplicate_ack, redispatched unsent 1, to_agent1 NOTIFY 5.1
    """)


def test_a_notify_that_does_not_block_the_link_goes_to_another_one() -> None:
    talk(max_links=1, in_flight=2, redispatch=Redispatch.UNANSWERED, answer_deadline_s=2.0).play("""
        haproxy NOTIFY 1.1      -> ok
        agent   AGENT_DISCONNECT 0 -> reorder disconnect_before_ack
        guard   waits 0.51      -> lost disconnect 1/1, to_agent HAPROXY_DISCONNECT 0, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up, redispatched unanswered 1, to_agent1 NOTIFY 1.1
        agent   ACK 1.1         -> ok
        haproxy NOTIFY 3.1      -> to_agent1 NOTIFY 3.1
        guard   waits 1.489     -> close agent
        guard   waits 0.001     -> lost deadline 1/1, to_agent1 HAPROXY_DISCONNECT 0
        guard   waits 0.1       -> dial 2
        agent2  up              -> to_agent2 HAPROXY_HELLO
        agent2  AGENT_HELLO     -> replacement up, redispatched unanswered 1, to_agent2 NOTIFY 3.1
        agent2  ACK 3.1         -> ok
    """)


def test_a_link_that_owes_an_unneeded_answer_is_closed_in_time() -> None:
    talk(max_links=1, redispatch=Redispatch.UNANSWERED, answer_deadline_s=2.0).play("""
        haproxy NOTIFY 1.1      -> ok
        agent   AGENT_DISCONNECT 0 -> reorder disconnect_before_ack
        guard   waits 0.51      -> lost disconnect 1/1, to_agent HAPROXY_DISCONNECT 0, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up, redispatched unanswered 1, to_agent1 NOTIFY 1.1
        agent   ACK 1.1         -> ok
        guard   waits 1.489     -> close agent
        guard   waits 0.001     -> lost deadline 0/0, to_agent1 HAPROXY_DISCONNECT 0
        haproxy NOTIFY 3.1      -> held
    """)


def slow(**config: Any) -> Talk:
    """Return a talk with two links whose agents are slow: one dies after 6 s, its NOTIFY waits, and the other has no room."""
    config = {"max_links": 2, "connect_s": 60.0, "redispatch": Redispatch.UNANSWERED, **config}
    return two(**config).play("""
        guard   waits 6         -> nothing
        agent   fin             -> answer disconnect_missing, lost closed 1/1, to_agent HAPROXY_DISCONNECT 0, close agent
        guard   waits 0.1       -> dial 2
    """)


def test_what_a_lost_link_had_for_long_still_waits_for_another() -> None:
    slow().play("""
        agent2  up              -> to_agent2 HAPROXY_HELLO
        agent2  AGENT_HELLO     -> parallel up, redispatched unanswered 1, to_agent2 NOTIFY 1.1
        agent2  ACK 1.1         -> ok
    """)


def test_what_a_lost_link_had_waits_for_room_from_then_on() -> None:
    slow().play("""
        guard   waits 4.899     -> nothing
        guard   waits 0.001     -> pass notify_unanswered, unanswered deadline 1
    """)


def test_what_a_lost_link_had_waits_no_longer_than_haproxy_does() -> None:
    slow(park_s=8.0).play("""
        guard   waits 1.899     -> nothing
        guard   waits 0.001     -> pass notify_unanswered, unanswered deadline 1
    """)


# --- HAProxy that sends one at a time -------------------------------------------------------------------------------------


def test_haproxy_in_sync_mode_gives_up_what_another_link_has() -> None:
    running(**SYNC, give_up_s=5.0, max_links=2, in_flight=1).play("""
        haproxy NOTIFY 1.1      -> ok
        guard   waits 0.01      -> nothing
        haproxy NOTIFY 3.1      -> held, pass notify_unanswered, unanswered superseded 1, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  <serial>        -> parallel up, redispatched unsent 1, to_agent1 NOTIFY 3.1
        agent1  ACK 3.1         -> ok
        agent   ACK 1.1         -> drop late_ack
        guard   waits 0.01      -> nothing
        haproxy NOTIFY 5.1      -> ok
    """, serial=SYNC["answer"])  # fmt: skip


def test_a_haproxy_that_sends_one_at_a_time_gives_up_what_waits() -> None:
    running(**SYNC, give_up_s=5.0).play("""
        agent   fin             -> answer disconnect_missing, lost closed 0/0, to_agent HAPROXY_DISCONNECT 0, close agent
        guard   waits 1         -> nothing
        haproxy NOTIFY 1.1      -> held, dial 1
        guard   waits 0.0099    -> nothing
        haproxy NOTIFY 3.1      -> held
        guard   waits 0.0001    -> nothing
        haproxy NOTIFY 5.1      -> pass notify_unanswered, unanswered superseded 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  <serial>        -> replacement up, redispatched unsent 2, to_agent1 NOTIFY 3.1, to_agent1 NOTIFY 5.1
        agent1  ACK 3.1 + ACK 5.1 -> ok
    """, serial=SYNC["answer"])  # fmt: skip


def test_haproxy_in_sync_mode_gives_up_what_a_leaving_agent_has() -> None:
    running(**SYNC, give_up_s=5.0).play("""
        haproxy NOTIFY 1.1      -> ok
        agent   AGENT_DISCONNECT 0 -> reorder disconnect_before_ack
        guard   waits 0.01      -> nothing
        haproxy NOTIFY 3.1      -> held, pass notify_unanswered, unanswered superseded 1, lost disconnect 0/0, to_agent HAPROXY_DISCONNECT 0, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  <serial>        -> replacement up, redispatched unsent 1, to_agent1 NOTIFY 3.1
        guard   waits 0.01      -> nothing
        haproxy NOTIFY 5.1      -> pass notify_unanswered, unanswered superseded 1, to_agent1 NOTIFY 5.1
    """, serial=SYNC["answer"])  # fmt: skip


def test_sync_mode_gives_up_a_leaving_agents_notify_beside_a_free_link() -> None:
    running(**SYNC, give_up_s=5.0).play("""
        haproxy NOTIFY 1.1      -> ok
        agent   AGENT_DISCONNECT 0 -> reorder disconnect_before_ack
        haproxy NOTIFY 3.1      -> held, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  <serial>        -> replacement up, redispatched unsent 1, to_agent1 NOTIFY 3.1
        agent1  ACK 3.1         -> ok
        haproxy NOTIFY 5.1      -> to_agent1 NOTIFY 5.1
        agent1  ACK 5.1         -> ok
        guard   waits 0.01      -> nothing
        haproxy NOTIFY 7.1      -> pass notify_unanswered, unanswered superseded 1, lost disconnect 0/0, to_agent1 NOTIFY 7.1, to_agent HAPROXY_DISCONNECT 0
        agent1  ACK 7.1         -> ok
    """, serial=SYNC["answer"])  # fmt: skip


# --- lost -----------------------------------------------------------------------------------------------------------------


def test_what_a_lost_link_had_goes_to_others_without_new_ones() -> None:
    talk(in_flight=2, max_links=2, redispatch=Redispatch.UNANSWERED).play("""
        haproxy NOTIFY 1.1 + NOTIFY 3.1 + NOTIFY 5.1 -> held, to_agent NOTIFY 1.1, to_agent NOTIFY 3.1, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> parallel up, redispatched unsent 1, to_agent1 NOTIFY 5.1
        agent   rst             -> answer disconnect_missing, lost reset 2/2, close agent
        guard   waits 0.005     -> dial 2
        guard   waits 0.995     -> redispatched unanswered 1, to_agent1 NOTIFY 1.1
        agent1  ACK 5.1         -> redispatched unanswered 1, to_agent1 NOTIFY 3.1, ok
    """)


def test_a_link_that_joins_others_is_not_called_a_replacement() -> None:
    two().play("""
        agent1  rst             -> answer disconnect_missing, pass notify_unanswered, unanswered agent_gone 1, lost reset 1/0, close agent1
        haproxy NOTIFY 5.1      -> held
        guard   waits 0.005     -> dial 2
        agent2  up              -> to_agent2 HAPROXY_HELLO
        agent2  AGENT_HELLO     -> parallel up, redispatched unsent 1, to_agent2 NOTIFY 5.1
        agent   rst             -> answer disconnect_missing, pass notify_unanswered, unanswered agent_gone 1, lost reset 1/0, close agent
        agent2  ACK 5.1         -> ok
    """)


def test_links_that_linger_are_bounded() -> None:
    session = talk(max_links=1, in_flight=0, close_s=60.0)
    for n in range(17):
        name = f"agent{n or ''}"
        session._line(name, "AGENT_DISCONNECT 0")
        assert session._line("haproxy", f"NOTIFY {n}.1") == (f"held, dial {n + 1}" if n < 16 else "held")
        if n < 16:
            session._line(f"agent{n + 1}", "up")
            session._line(f"agent{n + 1}", "AGENT_HELLO")
            session._line(f"agent{n + 1}", f"ACK {n}.1")
    assert len(session.session.snapshot().links) == 17
    assert session._line("agent", "fin") == "dial 17, close agent"


# --- ACKs ----------------------------------------------------------------------------------------------------------------


def test_an_ack_is_used_whichever_link_brings_it() -> None:
    two().play("""
        agent   ACK 3.1 + ACK 1.1 -> ok
        agent1  ACK 3.1         -> drop duplicate_ack
        haproxy NOTIFY 5.1 + NOTIFY 7.1 -> to_agent1 NOTIFY 7.1, to_agent NOTIFY 5.1
    """)


def test_an_ack_for_nothing_that_is_open_is_dropped_on_each_link() -> None:
    two().play("""
        agent1  ACK 9.1         -> drop unmatched_ack
        agent   ACK 9.1 + ACK 1.1 -> drop unmatched_ack, to_haproxy ACK 1.1
        agent1  ACK 1.1 + ACK 3.1 -> drop duplicate_ack, to_haproxy ACK 3.1
    """)


def test_a_notify_open_on_another_link_goes_to_no_third() -> None:
    two().play("""
        haproxy NOTIFY 1.1      -> pass notify_duplicate, ok
        haproxy NOTIFY 5.1 + NOTIFY 5.1 -> held, pass notify_duplicate, dial 2
        agent2  up              -> to_agent2 HAPROXY_HELLO
        agent2  AGENT_HELLO     -> parallel up, redispatched unsent 1, to_agent2 NOTIFY 5.1
    """)


def test_an_ack_that_is_dropped_costs_no_notify_of_another_agent() -> None:
    two().play(
        """
        agent1  <bad>           -> drop bad_varint
        agent   ACK 1.1         -> ok
        """,
        bad=frames.ack("1.1", b"\x01\x03\x02\x07v"),
    )


def test_a_repeated_notify_goes_only_to_the_agent_that_has_it() -> None:
    two().play("""
        agent   ACK 1.1         -> ok
        haproxy NOTIFY 3.1      -> pass notify_duplicate, to_agent1 NOTIFY 3.1
        agent1  ACK 3.1         -> ok
    """)


def test_a_repeated_notify_that_needs_a_repair_goes_to_its_agent() -> None:
    two().play(
        """
        haproxy <again>         -> pass notify_duplicate, repair reserved_flags, to_agent NOTIFY 1.1
        agent   ACK 1.1         -> ok
        """,
        again=frames.notify("1.1", flags=5),
    )
