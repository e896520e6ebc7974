"""What HAProxy gets for a NOTIFY that no agent will answer: ``unanswered`` of the settings."""

# ruff: noqa: E501 - a move and its outcome read best in one line

from typing import Any

import pytest

from spoe_guard.core.conversation.agent_link import MUTE_AFTER
from spoe_guard.core.conversation.notifies import ERROR_CODES
from spoe_guard.core.terms.anomalies import Anomaly
from spoe_guard.core.terms.config import Redispatch, Unanswered
from spoe_guard.core.terms.events import NotifiesUnanswered, UnansweredReason
from spoe_guard.wire import actions, frame, typed_data, walk
from tests.core import frames
from tests.core.script import Talk, running

pytestmark = pytest.mark.usefixtures("all_speeds")

TELL: dict[str, Any] = {"unanswered": Unanswered.TELL, "give_up_s": 5.0}
SET: dict[str, Any] = {"unanswered": Unanswered.SET, "error_name": b"error", "give_up_s": 5.0}
TWO: dict[str, Any] = {"max_links": 2, "in_flight": 1}
GONE = "answer disconnect_missing, answer notify_unanswered, unanswered agent_gone 1, lost reset 1/0"


def variables(talk: Talk) -> dict[int, list[tuple[int, bytes, object]]]:
    """Return what each ACK that HAProxy got sets, by its stream-id: scope, name and value."""
    found = {}
    for each in frames.cut(talk.written["to_haproxy"]):
        if each.type == frame.ACK:
            parsed, end = actions.parse(each.raw, each.payload_at, len(each.raw))
            assert end == len(each.raw)
            found[each.stream_id] = [(action.scope, action.name, action.value) for action in parsed]
    return found


# --- tell -------------------------------------------------------------------------------------------------------------------


def test_a_lost_notify_ends_the_connection_at_once_if_nothing_is_open() -> None:
    running(**TELL).play(f"""
        haproxy NOTIFY 1.1      -> ok
        agent   rst             -> {GONE}, to_haproxy AGENT_DISCONNECT 13, close agent
        haproxy fin             -> close haproxy, end guard unanswered
    """)


def test_the_others_are_answered_first() -> None:
    running(**TELL, **TWO).play(f"""
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> held, to_agent NOTIFY 1.1, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> parallel up, redispatched unsent 1, to_agent1 NOTIFY 3.1
        agent   rst             -> {GONE}, close agent
        guard   waits 0.4       -> nothing
        agent1  ACK 3.1         -> to_agent1 HAPROXY_DISCONNECT 0, to_haproxy ACK 3.1, to_haproxy AGENT_DISCONNECT 13
        haproxy fin             -> close haproxy
        agent1  fin             -> close agent1, end guard unanswered
    """)


def test_the_others_have_disconnect_hold_and_no_longer() -> None:
    running(**TELL, **TWO).play(f"""
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> held, to_agent NOTIFY 1.1, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> parallel up, redispatched unsent 1, to_agent1 NOTIFY 3.1
        agent   rst             -> {GONE}, close agent
        guard   waits 0.4999    -> nothing
        guard   waits 0.0002    -> answer notify_unanswered, unanswered agent_gone 1, to_agent1 HAPROXY_DISCONNECT 0, to_haproxy AGENT_DISCONNECT 13
    """)


def test_a_second_loss_does_not_prolong_the_wait() -> None:
    running(**TELL, max_links=3, in_flight=1).play(f"""
        haproxy NOTIFY 1.1 + NOTIFY 3.1 + NOTIFY 5.1 -> held, to_agent NOTIFY 1.1, dial 1, dial 2
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> parallel up, redispatched unsent 1, to_agent1 NOTIFY 3.1
        agent2  up              -> to_agent2 HAPROXY_HELLO
        agent2  AGENT_HELLO     -> parallel up, redispatched unsent 1, to_agent2 NOTIFY 5.1
        agent   rst             -> {GONE}, close agent
        guard   waits 0.3       -> nothing
        agent1  rst             -> {GONE}, close agent1
        guard   waits 0.1999    -> nothing
        guard   waits 0.0002    -> answer notify_unanswered, unanswered agent_gone 1, to_agent2 HAPROXY_DISCONNECT 0, to_haproxy AGENT_DISCONNECT 13
    """)


def test_a_parked_notify_is_waited_for_like_an_open_one() -> None:
    running(**TELL, redispatch=Redispatch.UNSENT).play("""
        haproxy NOTIFY 1.1      -> ok
        agent   AGENT_DISCONNECT 0 -> reorder disconnect_before_ack
        haproxy NOTIFY 3.1      -> held, dial 1
        agent   rst             -> answer notify_unanswered, unanswered agent_gone 1, lost disconnect 1/0, close agent
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up, redispatched unsent 1, to_agent1 NOTIFY 3.1
        agent1  ACK 3.1         -> to_agent1 HAPROXY_DISCONNECT 0, to_haproxy ACK 3.1, to_haproxy AGENT_DISCONNECT 13
    """)


def test_a_missed_deadline_ends_the_connection_where_nothing_else_is_open() -> None:
    running(**TELL, answer_deadline_s=0.5).play("""
        haproxy NOTIFY 1.1      -> ok
        guard   waits 0.5       -> answer notify_unanswered, unanswered deadline 1, to_agent HAPROXY_DISCONNECT 2, to_haproxy AGENT_DISCONNECT 2
    """)


def test_the_neighbours_of_a_missed_deadline_pay_nothing() -> None:
    """HAProxy's own timeout tells it in the next moment."""
    running(**TELL, answer_deadline_s=0.5).play("""
        haproxy NOTIFY 1.1      -> ok
        guard   waits 0.3       -> nothing
        haproxy NOTIFY 3.1      -> ok
        guard   waits 0.2       -> answer notify_unanswered, unanswered deadline 1
        agent   ACK 3.1         -> ok
        guard   waits 1         -> nothing
        haproxy NOTIFY 5.1      -> ok
        agent   ACK 5.1         -> ok
    """)


def test_an_ack_that_cannot_be_passed_is_told() -> None:
    running(**TELL).play("""
        haproxy NOTIFY 1.1      -> ok
        agent   <odd>           -> drop ack_malformed, answer notify_unanswered, unanswered ack_dropped 1, to_agent HAPROXY_DISCONNECT 0, to_haproxy AGENT_DISCONNECT 13
    """, odd=frames.ack("1.1", payload=b"\7"))  # fmt: skip


def test_what_haproxy_no_longer_waits_for_is_not_told() -> None:
    running(answer=frames.agent_hello(capabilities=b""), **TELL).play("""
        haproxy NOTIFY 1.1      -> ok
        guard   waits 1         -> nothing
        haproxy NOTIFY 3.1      -> pass notify_unanswered, unanswered superseded 1, ok
        agent   ACK 3.1         -> ok
        guard   waits 1         -> nothing
    """)


# --- set --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "script", "config"),
    [
        ("deadline", "guard waits 0.5 -> {}, to_haproxy ACK 1.1", {"answer_deadline_s": 0.5}),
        ("agent_gone", "agent rst -> answer disconnect_missing, {}, lost reset 1/0, to_haproxy ACK 1.1, close agent", {}),
        ("ack_dropped", "agent <odd> -> drop ack_malformed, {}, to_haproxy ACK 1.1", {}),
        ("limit", "haproxy NOTIFY 3.1 -> {}, ok, to_haproxy ACK 1.1", {"open_notifies": 1}),
    ],
)
def test_an_ack_sets_the_variable_of_set_on_error(reason: str, script: str, config: dict[str, Any]) -> None:
    talk = running(**SET, **config).play("haproxy NOTIFY 1.1 -> ok")
    talk.play(script.format(f"answer notify_unanswered, unanswered {reason} 1"), odd=frames.ack("1.1", payload=b"\7"))
    assert variables(talk)[1] == [(walk.SCOPE_TXN, b"error", ERROR_CODES[UnansweredReason(reason)])]


def test_the_codes_are_those_of_haproxy() -> None:
    assert {reason.value: code for reason, code in ERROR_CODES.items()} == {
        "deadline": 1,
        "agent_gone": 257,
        "agent_away": 257,
        "ack_dropped": 260,
        "notify_dropped": 259,
        "limit": 269,
    }


def test_nobody_else_is_touched() -> None:
    running(**SET, **TWO).play("""
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> held, to_agent NOTIFY 1.1, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> parallel up, redispatched unsent 1, to_agent1 NOTIFY 3.1
        agent   rst             -> answer disconnect_missing, answer notify_unanswered, unanswered agent_gone 1, lost reset 1/0, to_haproxy ACK 1.1, close agent
        agent   ACK 1.1         -> nothing
        guard   waits 1         -> nothing
        agent1  ACK 3.1         -> ok
        haproxy NOTIFY 5.1      -> to_agent1 NOTIFY 5.1
        agent1  ACK 5.1         -> ok
    """)


def test_a_late_ack_behind_it_is_dropped() -> None:
    talk = running(**SET, answer_deadline_s=0.5).play("""
        haproxy NOTIFY 1.1      -> ok
        guard   waits 0.5       -> answer notify_unanswered, unanswered deadline 1, to_haproxy ACK 1.1
        agent   ACK 1.1         -> drop late_ack
    """)
    assert variables(talk) == {1: [(walk.SCOPE_TXN, b"error", 1)]}
    assert talk.written["to_haproxy"].endswith(b"\x05error" + typed_data.encode_value(typed_data.INT32, 1))


# --- how much went on unchecked ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "unchecked"), [({**SET, "unanswered": Unanswered.EMPTY_ACK}, 2), (SET, 0), (TELL, 0), ({"give_up_s": 5.0}, 0)]
)
def test_only_empty_acks_let_requests_go_on_unchecked(config: dict[str, Any], unchecked: int) -> None:
    talk = running(**config).play("haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok")
    talk._line("agent", "rst")
    seen = [event for event in talk.events if isinstance(event, NotifiesUnanswered)]
    assert sum(event.unchecked for event in seen) == unchecked
    assert sum(event.count for event in seen) == 2


# --- a link that says nothing any more --------------------------------------------------------------------------------------


def missed(count: int) -> str:
    return ", ".join(["answer notify_unanswered, unanswered deadline 1"] * count)


def test_a_link_that_lets_three_deadlines_pass_in_a_row_is_replaced() -> None:
    assert MUTE_AFTER == 3
    talk = running(**SET, answer_deadline_s=0.5).play("guard waits 0.1 -> nothing\nhaproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok")
    talk.play(f"""
        guard   waits 0.5       -> {missed(2)}, to_haproxy ACK 1.1, to_haproxy ACK 3.1
        haproxy NOTIFY 5.1      -> ok
        guard   waits 0.4       -> nothing
        haproxy NOTIFY 7.1      -> ok
        guard   waits 0.1       -> {missed(1)}, answer notify_unanswered, unanswered agent_gone 1, lost deadline 1/0, to_agent HAPROXY_DISCONNECT 0, to_haproxy ACK 5.1, to_haproxy ACK 7.1
        haproxy NOTIFY 9.1      -> held
        guard   waits 0.005     -> dial 1
    """)


def test_a_sign_of_the_agent_in_between_keeps_the_link() -> None:
    talk = running(**SET, answer_deadline_s=0.5).play("guard waits 0.1 -> nothing\nhaproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok")
    talk.play(f"""
        guard   waits 0.5       -> {missed(2)}, to_haproxy ACK 1.1, to_haproxy ACK 3.1
        haproxy NOTIFY 5.1      -> ok
        agent   ACK 1.1         -> drop late_ack
        guard   waits 0.5       -> {missed(1)}, to_haproxy ACK 5.1
        haproxy NOTIFY 7.1      -> ok
    """)


def test_misses_with_an_answer_between_them_are_not_in_a_row() -> None:
    talk = running(**SET, answer_deadline_s=0.5).play("guard waits 0.1 -> nothing\nhaproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok")
    talk.play(f"""
        guard   waits 0.5       -> {missed(2)}, to_haproxy ACK 1.1, to_haproxy ACK 3.1
        haproxy NOTIFY 5.1      -> ok
        agent   ACK 5.1         -> ok
        guard   waits 0.1       -> nothing
        haproxy NOTIFY 7.1      -> ok
        guard   waits 0.5       -> {missed(1)}, to_haproxy ACK 7.1
        haproxy NOTIFY 9.1      -> ok
        guard   waits 0.5       -> {missed(1)}, to_haproxy ACK 9.1
        haproxy NOTIFY 11.1     -> ok
        guard   waits 0.5       -> {missed(1)}, lost deadline 0/0, to_agent HAPROXY_DISCONNECT 0, to_haproxy ACK 11.1
    """)


def test_a_session_that_ends_with_its_link_ends_when_that_is_mute() -> None:
    talk = running(**{**SET, "give_up_s": 0.0}, answer_deadline_s=0.5).play("guard waits 0.1 -> nothing")
    talk.play(f"""
        haproxy NOTIFY 1.1 + NOTIFY 3.1 + NOTIFY 5.1 -> ok
        guard   waits 0.5       -> {missed(3)}, to_agent HAPROXY_DISCONNECT 2, to_haproxy ACK 1.1, to_haproxy ACK 3.1, to_haproxy ACK 5.1, to_haproxy AGENT_DISCONNECT 2
    """)


def test_a_link_that_went_mute_is_dialled_again_though_nobody_asks() -> None:
    talk = running(**SET, answer_deadline_s=0.5).play(
        "guard waits 0.1 -> nothing\nhaproxy NOTIFY 1.1 + NOTIFY 3.1 + NOTIFY 5.1 -> ok"
    )
    talk.play(f"""
        guard   waits 0.5       -> {missed(3)}, lost deadline 0/0, to_agent HAPROXY_DISCONNECT 0, to_haproxy ACK 1.1, to_haproxy ACK 3.1, to_haproxy ACK 5.1
        guard   waits 0.0051    -> dial 1
        agent1  fail            -> unreachable refused, abort agent1
        guard   waits 10        -> close agent
    """)


# --- what is reported of it -------------------------------------------------------------------------------------------------

WAITS: dict[str, Any] = {"unanswered": Unanswered.LEAVE, "answer_deadline_s": 1.0, "give_up_s": 5.0}


def reported(talk: Talk) -> list[tuple[int | None, int | None, int | None, bytes]]:
    """Return type, ids and bytes of each report of NOTIFYs without an answer."""
    told = [seen for seen in talk.anomalies if seen.anomaly is Anomaly.NOTIFY_UNANSWERED]
    return [(seen.type, seen.stream_id, seen.frame_id, seen.sample) for seen in told]


@pytest.mark.parametrize("copies", [False, True])
def test_a_report_has_the_ids_and_the_bytes_of_a_copy(copies: bool) -> None:
    kept = {"redispatch": Redispatch.UNANSWERED} if copies else {}
    talk = running(**WAITS, **kept)
    talk.play("""
        haproxy NOTIFY 300.2    -> ok
        guard   waits 1         -> pass notify_unanswered, unanswered deadline 1
    """)
    raw = frames.notify("300.2")
    assert reported(talk) == [(frame.NOTIFY, 300, 2, raw if copies else b"")]


@pytest.mark.parametrize("copies", [False, True])
def test_a_report_of_several_has_those_of_the_oldest(copies: bool) -> None:
    kept = {"redispatch": Redispatch.UNANSWERED} if copies else {}
    talk = running(**WAITS, **kept)
    talk.play("""
        haproxy NOTIFY 7.1 + NOTIFY 9.1 -> ok
        guard   yields          -> pass notify_unanswered, unanswered limit 2, to_agent HAPROXY_DISCONNECT 0, to_haproxy AGENT_DISCONNECT 13
    """)
    assert reported(talk)[0] == (frame.NOTIFY, 7, 1, frames.notify("7.1") if copies else b"")


def test_a_report_of_one_that_was_parked_has_its_bytes() -> None:
    talk = running(**SET, **TWO)
    talk.play("""
        haproxy NOTIFY 3.1 + NOTIFY 1.1 -> held, to_agent NOTIFY 3.1, dial 1
        agent1  fail            -> unreachable refused, abort agent1
        guard   yields          -> answer notify_unanswered, unanswered limit 1, answer notify_unanswered, unanswered limit 1, to_agent HAPROXY_DISCONNECT 0, to_haproxy ACK 1.1, to_haproxy ACK 3.1, to_haproxy AGENT_DISCONNECT 13
    """)
    assert (frame.NOTIFY, 1, 1, frames.notify("1.1")) in reported(talk)
