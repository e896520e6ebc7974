"""Every way to lose an agent link; what happens to the NOTIFYs its agent had, and to those that arrive meanwhile."""

# ruff: noqa: E501 - a move and its outcome read best in one line

from typing import Any

import pytest

from spoe_guard.core.conversation.notifies import SETTLED_AT_ONCE
from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.core.terms.config import Redispatch
from spoe_guard.core.terms.events import DisconnectHeld, LinkFailed, LinkLoss, LinkLost
from tests.core import frames
from tests.core.script import Talk, running

pytestmark = pytest.mark.usefixtures("all_speeds")

JUNK = b"\xff\xff\xff\xff\x67\0\0\0\1aaaa"  # no frame has that length


def talk(policy: dict[Anomaly, Action] | None = None, **config: Any) -> Talk:
    return running(policy, **{"give_up_s": 5.0, **config})


def again(policy: dict[Anomaly, Action] | None = None, **config: Any) -> Talk:
    return talk(policy, redispatch=Redispatch.UNANSWERED, **config)


def test_a_disconnect_of_an_idle_agent_does_not_reach_haproxy() -> None:
    talk().play("""
        agent   AGENT_DISCONNECT 0 -> lost disconnect 0/0, to_agent HAPROXY_DISCONNECT 0
        haproxy NOTIFY 1.1      -> held, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up, redispatched unsent 1, to_agent1 NOTIFY 1.1
        agent   fin             -> close agent
        agent1  ACK 1.1         -> ok
    """)


def test_an_agent_that_does_not_close_behind_its_disconnect_is_closed() -> None:
    talk().play("""
        agent   AGENT_DISCONNECT 0 -> lost disconnect 0/0, to_agent HAPROXY_DISCONNECT 0
        guard   waits 0.999     -> nothing
        guard   waits 0.001     -> close agent
    """)


def test_acks_after_a_disconnect_pass_while_a_new_link_takes_new_notifies() -> None:
    talk().play("""
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok
        agent   AGENT_DISCONNECT 0 -> reorder disconnect_before_ack
        haproxy NOTIFY 5.1      -> held, dial 1
        agent   ACK 3.1         -> reorder ack_after_disconnect, ok
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up, redispatched unsent 1, to_agent1 NOTIFY 5.1
        agent   ACK 1.1         -> reorder ack_after_disconnect, lost disconnect 0/0, to_agent HAPROXY_DISCONNECT 0, ok
        agent1  ACK 5.1         -> ok
    """)


def test_acks_written_with_the_disconnect_are_delivered() -> None:
    talk().play("""
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok
        agent   AGENT_DISCONNECT 0 + ACK 1.1 + ACK 3.1 -> reorder disconnect_before_ack, reorder ack_after_disconnect, reorder ack_after_disconnect, lost disconnect 0/0, to_agent HAPROXY_DISCONNECT 0, to_haproxy ACK 1.1, to_haproxy ACK 3.1
    """)


def test_an_agent_that_disconnects_is_waited_for_up_to_disconnect_hold() -> None:
    talk().play("""
        haproxy NOTIFY 1.1      -> ok
        agent   AGENT_DISCONNECT 0 -> reorder disconnect_before_ack
        guard   waits 0.499     -> nothing
        guard   waits 0.001     -> pass notify_unanswered, unanswered agent_gone 1, lost disconnect 1/0, to_agent HAPROXY_DISCONNECT 0
        agent   ACK 1.1         -> drop late_ack
    """)


def held(talked: Talk) -> list[float]:
    return [event.seconds for event in talked.events if isinstance(event, DisconnectHeld)]


def test_the_hold_of_one_disconnect_of_several_agents_is_reported_once() -> None:
    talked = talk().play("""
        haproxy NOTIFY 1.1      -> ok
        agent   AGENT_DISCONNECT 0 -> reorder disconnect_before_ack
        guard   waits 0.25      -> nothing
        agent   ACK 1.1         -> reorder ack_after_disconnect, lost disconnect 0/0, to_agent HAPROXY_DISCONNECT 0, ok
        agent   fin             -> close agent
    """)
    assert held(talked) == [0.25]


def test_a_disconnect_cut_short_by_the_sessions_end_reports_its_hold() -> None:
    talked = talk().play("""
        haproxy NOTIFY 1.1      -> ok
        agent   AGENT_DISCONNECT 0 -> reorder disconnect_before_ack
        guard   waits 0.25      -> nothing
        haproxy fin             -> unanswered haproxy_gone 1, to_agent HAPROXY_DISCONNECT 0, close haproxy
    """)
    assert held(talked) == [0.25]


def test_a_disconnect_of_an_idle_agent_is_not_held() -> None:
    assert held(talk().play("agent AGENT_DISCONNECT 0 -> lost disconnect 0/0, to_agent HAPROXY_DISCONNECT 0")) == []


def test_an_agent_that_disconnects_and_closes_is_waited_for_no_more() -> None:
    talk().play("""
        haproxy NOTIFY 1.1      -> ok
        agent   AGENT_DISCONNECT 0 -> reorder disconnect_before_ack
        agent   fin             -> pass notify_unanswered, unanswered agent_gone 1, lost disconnect 1/0, to_agent HAPROXY_DISCONNECT 0, close agent
    """)


def test_an_invalid_disconnect_costs_the_link_and_spares_haproxy() -> None:
    named = {"odd": frames.agent_disconnect(300, at="7.7"), "unreadable": frames.agent_disconnect()[:-9] + b"\xff" * 9}
    talk().play(
        """
        agent   <odd>           -> repair disconnect_bad_ids, lost disconnect 0/0, to_agent HAPROXY_DISCONNECT 0
    """,
        **named,
    )
    again().play("""
        haproxy NOTIFY 1.1      -> ok
        agent   <unreadable> + ACK 1.1 -> repair disconnect_malformed, repair interleaved_frames, lost disconnect 0/0, to_agent HAPROXY_DISCONNECT 0, to_haproxy ACK 1.1
    """, **named)  # fmt: skip


def test_of_two_agents_with_a_notify_only_the_first_answer_passes() -> None:
    again().play("""
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok
        agent   AGENT_DISCONNECT 0 -> reorder disconnect_before_ack
        guard   waits 0.5       -> lost disconnect 2/2, to_agent HAPROXY_DISCONNECT 0
        agent   ACK 1.1         -> ok
        agent   ACK 1.1         -> drop duplicate_ack
        guard   waits 0.01      -> dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up, redispatched unanswered 1, to_agent1 NOTIFY 3.1
        agent   ACK 3.1         -> ok
        agent1  ACK 3.1         -> drop duplicate_ack
        agent   ACK 3.1         -> drop duplicate_ack
    """)


def test_what_two_agents_were_given_is_answered_once_by_the_new_one() -> None:
    again().play("""
        haproxy NOTIFY 1.1      -> ok
        agent   AGENT_DISCONNECT 0 -> reorder disconnect_before_ack
        guard   waits 0.51      -> lost disconnect 1/1, to_agent HAPROXY_DISCONNECT 0, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up, redispatched unanswered 1, to_agent1 NOTIFY 1.1
        agent1  ACK 1.1         -> ok
        agent   ACK 1.1         -> drop duplicate_ack
        guard   waits 2         -> close agent
    """)


def test_half_an_answer_of_a_lost_agent_is_none() -> None:
    part, rest = frames.ack("1.1", flags=0), frames.unset("1.1", payload=frames.UNSET_VAR)
    again().play("""
        haproxy NOTIFY 1.1      -> ok
        agent   AGENT_DISCONNECT 0 -> reorder disconnect_before_ack
        guard   waits 0.51      -> lost disconnect 1/1, to_agent HAPROXY_DISCONNECT 0, dial 1
        agent   <part>          -> drop missing_fin
        agent   <rest>          -> drop frame_after_disconnect
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up, redispatched unanswered 1, to_agent1 NOTIFY 1.1
        agent   <part>          -> drop missing_fin
        agent1  ACK 1.1         -> ok
    """, part=part, rest=rest)  # fmt: skip


def test_a_lost_agents_unusable_answer_leaves_the_notify_to_the_new_one() -> None:
    again().play("""
        haproxy NOTIFY 1.1      -> ok
        agent   AGENT_DISCONNECT 0 -> reorder disconnect_before_ack
        guard   waits 0.51      -> lost disconnect 1/1, to_agent HAPROXY_DISCONNECT 0, dial 1
        agent   <bad>           -> drop ack_malformed
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up, redispatched unanswered 1, to_agent1 NOTIFY 1.1
        agent   <bad>           -> drop ack_malformed
        agent1  ACK 1.1         -> ok
    """, bad=frames.ack("1.1", payload=b"\x01"))  # fmt: skip


def test_a_fragmented_answer_that_is_cut_off_by_the_loss_is_dropped() -> None:
    again().play("""
        haproxy NOTIFY 1.1      -> ok
        agent   <part>          -> held
        agent   AGENT_DISCONNECT 0 -> reorder disconnect_before_ack
        guard   waits 0.51      -> lost disconnect 1/1, to_agent HAPROXY_DISCONNECT 0, dial 1
        guard   waits 1         -> close agent, unreachable timeout, drop fragmented_ack, abort agent1
    """, part=frames.ack("1.1", payload=frames.SET_VAR[:5], flags=0))  # fmt: skip


def test_a_broken_stream_is_searched_for_acks_and_then_replaced() -> None:
    again().play("""
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok
        agent   <junk> + ACK 1.1 -> repair garbled_stream, repair interleaved_frames, to_haproxy ACK 1.1
        guard   waits 0.5       -> lost anomaly 1/1, to_agent HAPROXY_DISCONNECT 0, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up, redispatched unanswered 1, to_agent1 NOTIFY 3.1
        guard   waits 1         -> close agent
        agent1  ACK 3.1         -> ok
    """, junk=JUNK)  # fmt: skip


def test_a_broken_stream_with_nothing_open_is_replaced_with_the_next_notify() -> None:
    talk().play("""
        agent   <junk>          -> held, repair garbled_stream, lost anomaly 0/0, to_agent HAPROXY_DISCONNECT 0
        haproxy NOTIFY 1.1      -> held
    """, junk=JUNK)  # fmt: skip


def test_a_lost_agent_that_goes_on_with_rubbish_is_closed() -> None:
    talk().play("""
        agent   AGENT_DISCONNECT 0 -> lost disconnect 0/0, to_agent HAPROXY_DISCONNECT 0
        agent   <junk>          -> close garbled_stream, close agent
        guard   waits 2         -> nothing
    """, junk=JUNK)  # fmt: skip


def test_frames_in_pieces_go_with_the_link() -> None:
    first, second = frames.ack("1.1", frames.SET_VAR * 3), frames.ack("3.1", frames.SET_VAR * 3)
    pieces = first[:25] + second[:25] + first[25:40]
    again().play("""
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok
        agent   <pieces>        -> held, repair ack_null_value, pass ack_proc_scope, drop ack_malformed, pass notify_unanswered, unanswered ack_dropped 1, repair garbled_stream
        agent   rst             -> lost anomaly 1/1, close agent
        guard   waits 0.01      -> dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up, redispatched unanswered 1, to_agent1 NOTIFY 3.1
        agent1  ACK 1.1 + ACK 3.1 -> drop late_ack, to_haproxy ACK 3.1
    """, pieces=pieces)  # fmt: skip


def test_a_frame_that_stands_still_costs_the_link() -> None:
    again().play("""
        haproxy NOTIFY 1.1      -> ok
        agent   ACK 1.1[:6]     -> held
        guard   waits 1.999     -> nothing
        guard   waits 0.001     -> drop truncated_frame, lost frame_timeout 1/1, to_agent HAPROXY_DISCONNECT 0
        guard   waits 0.005     -> dial 1
        agent   ACK 1.1[6:]     -> nothing
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up, redispatched unanswered 1, to_agent1 NOTIFY 1.1
        agent1  ACK 1.1         -> ok
        guard   waits 2         -> close agent
    """)


def test_an_anomaly_with_action_close_costs_the_link_not_the_session() -> None:
    again({Anomaly.UNMATCHED_ACK: Action.CLOSE}).play("""
        haproxy NOTIFY 1.1      -> ok
        agent   ACK 9.1         -> close unmatched_ack, lost anomaly 1/1, to_agent HAPROXY_DISCONNECT 0
        guard   waits 0.005     -> dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up, redispatched unanswered 1, to_agent1 NOTIFY 1.1
        agent   ACK 9.1         -> drop unmatched_ack
        agent1  ACK 1.1         -> ok
    """)


def test_a_close_passed_on_by_the_policy_ends_the_session() -> None:
    talk({Anomaly.DISCONNECT_MISSING: Action.PASS}).play("""
        haproxy NOTIFY 1.1      -> ok
        agent   fin             -> pass disconnect_missing, pass notify_unanswered, unanswered agent_gone 1, to_agent HAPROXY_DISCONNECT 0, close haproxy, close agent, end agent closed
    """)


def test_an_idle_link_is_retired_before_the_agent_says_so() -> None:
    talk(retire_s=25.0).play("""
        haproxy NOTIFY 1.1      -> ok
        guard   waits 1         -> nothing
        agent   ACK 1.1         -> ok
        guard   waits 24.999    -> nothing
        guard   waits 0.001     -> lost retired 0/0, to_agent HAPROXY_DISCONNECT 0
        haproxy NOTIFY 3.1      -> held, dial 1
        agent   AGENT_DISCONNECT 0 + ACK 1.1 -> drop duplicate_ack
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up, redispatched unsent 1, to_agent1 NOTIFY 3.1
        agent1  ACK 3.1         -> ok
        guard   waits 25        -> close agent, lost retired 0/0, to_agent1 HAPROXY_DISCONNECT 0
    """)


def test_a_link_with_an_open_notify_is_not_idle() -> None:
    talk(retire_s=25.0).play("""
        haproxy NOTIFY 1.1      -> ok
        guard   waits 60        -> nothing
        agent   ACK 1.1         -> ok
    """)


def test_with_off_nothing_from_a_lost_link_goes_to_the_next_one() -> None:
    talk(redispatch=Redispatch.OFF, in_flight=1).play("""
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> held, to_agent NOTIFY 1.1
        agent   rst             -> answer disconnect_missing, pass notify_unanswered, unanswered agent_gone 1, lost reset 1/0, pass notify_unanswered, unanswered agent_gone 1, close agent
        haproxy NOTIFY 5.1      -> held
        guard   waits 0.005     -> dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up, redispatched unsent 1, to_agent1 NOTIFY 5.1
        agent1  ACK 5.1         -> ok
    """)


def test_with_off_what_waits_for_room_goes_to_another_live_link() -> None:
    talk(redispatch=Redispatch.OFF, in_flight=1, max_links=2).play("""
        haproxy NOTIFY 1.1 + NOTIFY 3.1 + NOTIFY 5.1 -> held, to_agent NOTIFY 1.1, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> parallel up, redispatched unsent 1, to_agent1 NOTIFY 3.1
        agent   rst             -> answer disconnect_missing, pass notify_unanswered, unanswered agent_gone 1, lost reset 1/0, close agent
        agent1  ACK 3.1         -> redispatched unsent 1, to_agent1 NOTIFY 5.1, ok
    """)


def test_a_notify_older_than_the_answer_deadline_is_not_redispatched() -> None:
    again(answer_deadline_s=1.0).play("""
        haproxy NOTIFY 1.1      -> ok
        guard   waits 0.75      -> nothing
        agent   rst             -> answer disconnect_missing, lost reset 1/1, close agent
        guard   waits 0.1       -> dial 1
        agent1  fail            -> unreachable refused, abort agent1
        guard   waits 0.2       -> dial 2, pass notify_unanswered, unanswered deadline 1
        guard   waits 5         -> unreachable timeout, abort agent2
    """)


def test_without_a_deadline_a_notify_haproxy_gave_up_is_not_redispatched() -> None:
    again(idle_s=100.0).play("""
        haproxy NOTIFY 1.1      -> ok
        guard   waits 29        -> nothing
        haproxy NOTIFY 3.1      -> ok
        guard   waits 1         -> nothing
        agent   rst             -> answer disconnect_missing, pass notify_unanswered, unanswered agent_gone 1, lost reset 2/1, close agent
    """)


def test_redispatched_notifies_keep_the_order_in_which_haproxy_sent_them() -> None:
    again(in_flight=1, max_links=2).play("""
        haproxy NOTIFY 1.1      -> ok
        guard   waits 0.001     -> nothing
        haproxy NOTIFY 3.1      -> held, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> parallel up, redispatched unsent 1, to_agent1 NOTIFY 3.1
        guard   waits 0.001     -> nothing
        haproxy NOTIFY 5.1      -> held
        agent1  rst             -> answer disconnect_missing, lost reset 1/1, close agent1
        agent   rst             -> answer disconnect_missing, lost reset 1/1, close agent
        guard   waits 0.01      -> dial 2, dial 3
        agent2  up              -> to_agent2 HAPROXY_HELLO
        agent2  AGENT_HELLO     -> replacement up, redispatched unanswered 1, to_agent2 NOTIFY 1.1
        agent2  ACK 1.1         -> redispatched unanswered 1, to_agent2 NOTIFY 3.1, ok
        agent2  ACK 3.1         -> redispatched unsent 1, to_agent2 NOTIFY 5.1, ok
        agent2  ACK 5.1         -> ok
    """)


def test_no_notify_overtakes_those_that_wait_for_a_link_they_trust() -> None:
    again(max_links=2).play("""
        haproxy NOTIFY 1.1      -> ok
        agent   ACK 1.1         -> ok
        agent   fin             -> answer disconnect_missing, lost closed 0/0, to_agent HAPROXY_DISCONNECT 0, close agent
        haproxy NOTIFY 3.1 + NOTIFY 5.1 -> held, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  <serial>        -> replacement up, redispatched unsent 1, to_agent1 NOTIFY 3.1, dial 2
        agent1  fin             -> answer disconnect_missing, lost closed 1/1, to_agent1 HAPROXY_DISCONNECT 0, close agent1
        agent2  up              -> to_agent2 HAPROXY_HELLO
        agent2  AGENT_HELLO     -> replacement up
        haproxy NOTIFY 7.1      -> held
        guard   waits 0.005     -> dial 3
        guard   waits 0.994     -> nothing
        guard   waits 0.001     -> redispatched unsent 2, redispatched unanswered 1, to_agent2 NOTIFY 3.1, to_agent2 NOTIFY 5.1, to_agent2 NOTIFY 7.1
    """, serial=frames.agent_hello(capabilities=b""))  # fmt: skip


def failed(talk: Talk) -> list[LinkFailed]:
    return [event for event in talk.events if isinstance(event, LinkFailed)]


@pytest.mark.parametrize("redispatch", Redispatch)
@pytest.mark.parametrize(("how", "loss"), [("fin", LinkLoss.CLOSED), ("rst", LinkLoss.RESET)])
def test_a_link_that_ends_with_notifies_open_failed(redispatch: Redispatch, how: str, loss: LinkLoss) -> None:
    """The shell chooses where that one goes, and knows the address by the number of the link."""
    made = talk(redispatch=redispatch)
    made.play("haproxy NOTIFY 1.1 -> ok")
    made._line("agent", how)
    assert failed(made) == [LinkFailed(loss, 0)]


def test_a_link_that_ends_without_a_notify_did_not_fail() -> None:
    made = talk().play("""
        haproxy NOTIFY 1.1      -> ok
        agent   ACK 1.1         -> ok
        agent   AGENT_DISCONNECT 0 -> lost disconnect 0/0, to_agent HAPROXY_DISCONNECT 0
    """)
    assert failed(made) == []


def test_a_silent_link_failed_though_its_notifies_were_given_up() -> None:
    made = talk(answer_deadline_s=1.0)
    made.play("guard waits 1 -> nothing\nhaproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok")
    made._line("guard", "waits 1")
    assert failed(made) == []
    made.play("haproxy NOTIFY 5.1 -> ok")
    made._line("guard", "waits 1")
    assert failed(made) == [LinkFailed(LinkLoss.DEADLINE, 0)]


def test_that_a_link_with_many_notifies_failed_is_known_at_once() -> None:
    made = again(open_notifies=2 * SETTLED_AT_ONCE)
    made.play("\n".join(f"haproxy NOTIFY {number}.1 -> ok" for number in range(1, SETTLED_AT_ONCE + 2)))
    made._line("agent", "fin")
    assert failed(made) == [LinkFailed(LinkLoss.CLOSED, 0)]
    assert not [event for event in made.events if isinstance(event, LinkLost)]
