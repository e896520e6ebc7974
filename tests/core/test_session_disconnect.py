"""The agent's DISCONNECT: delayed until open NOTIFYs are answered, repaired, and sent as the last frame (promises H4, H5)."""

import pytest

from spoe_guard.core.payloads.disconnect import MOST_KEYS
from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.core.terms.config import Unanswered
from spoe_guard.core.terms.events import AuthoredReason, Direction, DisconnectHeld, DisconnectSeen, FrameAuthored
from spoe_guard.wire import frame, kv, typed_data
from spoe_guard.wire.frame import FrameType
from tests.core import frames
from tests.core.frames import ack, agent_disconnect, pairs
from tests.core.script import play, running

pytestmark = pytest.mark.usefixtures("both_speeds")


def test_a_disconnect_with_nothing_open_passes_at_once_and_unchanged() -> None:
    talk = play(
        """
        haproxy NOTIFY 1.1          -> ok
        agent   ACK 1.1             -> ok
        agent   AGENT_DISCONNECT 0  -> to_agent HAPROXY_DISCONNECT 0, ok
        haproxy fin                 -> close haproxy
        agent   fin                 -> close agent, end agent disconnect
        """
    )
    assert not talk.anomalies
    assert [event.status_code for event in talk.events if isinstance(event, DisconnectSeen)] == [0]


def test_acks_behind_the_disconnect_come_out_before_it() -> None:
    """negasus/haproxy-spoe-go 1.0.7 says DISCONNECT, then ACK."""
    talk = running()
    handshake = len(talk.written["to_haproxy"])
    talk.play(
        """
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok
        agent   AGENT_DISCONNECT 0      -> held, reorder disconnect_before_ack
        guard   waits 0.25              -> nothing
        agent   ACK 1.1                 -> reorder ack_after_disconnect, ok
        agent   ACK 3.1                 -> reorder ack_after_disconnect, \
                to_agent HAPROXY_DISCONNECT 0, to_haproxy ACK 3.1, to_haproxy AGENT_DISCONNECT 0
        """
    )
    assert talk.written["to_haproxy"][handshake:] == ack("1.1") + ack("3.1") + agent_disconnect(0)
    assert [event.seconds for event in talk.events if isinstance(event, DisconnectHeld)] == [0.25]


def test_the_same_in_one_read() -> None:
    play(
        """
        haproxy NOTIFY 1.1               -> ok
        agent AGENT_DISCONNECT 5 + ACK 1.1 -> reorder disconnect_before_ack, reorder ack_after_disconnect, \
              to_agent HAPROXY_DISCONNECT 0, to_haproxy ACK 1.1, to_haproxy AGENT_DISCONNECT 5
        """
    )


def test_an_ack_behind_the_disconnect_is_mended_like_any_other() -> None:
    running().play(
        """
        haproxy NOTIFY 1.1              -> ok
        agent   AGENT_DISCONNECT 0      -> held, reorder disconnect_before_ack
        agent   <odd>                   -> held
        guard   waits 0.01              -> reorder ack_after_disconnect, repair missing_fin, \
                to_agent HAPROXY_DISCONNECT 0, to_haproxy ACK 1.1, to_haproxy AGENT_DISCONNECT 0
        """,
        odd=ack(flags=0),
    )


def test_a_disconnect_waits_no_longer_than_disconnect_hold() -> None:
    play(
        """
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok
        agent   AGENT_DISCONNECT 0      -> held, reorder disconnect_before_ack
        agent   ACK 1.1                 -> reorder ack_after_disconnect, ok
        guard   waits 2.999             -> nothing
        guard   waits 0.001             -> pass notify_unanswered, unanswered agent_gone 1, repair disconnect_status, \
                to_agent HAPROXY_DISCONNECT 0, to_haproxy AGENT_DISCONNECT 13
        agent   ACK 3.1                 -> drop late_ack
        """,
        disconnect_hold_s=3.0,
    )


def test_status_zero_stands_where_every_notify_was_answered_by_the_guard() -> None:
    play(
        """
        haproxy NOTIFY 1.1          -> ok
        agent   AGENT_DISCONNECT 0  -> held, reorder disconnect_before_ack
        guard   waits 0.5           -> answer notify_unanswered, unanswered agent_gone 1, \
                to_agent HAPROXY_DISCONNECT 0, to_haproxy ACK 1.1, to_haproxy AGENT_DISCONNECT 0
        """,
        unanswered=Unanswered.EMPTY_ACK,
    )


def test_an_agent_that_closes_behind_its_disconnect_has_nothing_more_to_say() -> None:
    play(
        """
        haproxy NOTIFY 1.1          -> ok
        agent   AGENT_DISCONNECT 7  -> held, reorder disconnect_before_ack
        agent   fin                 -> pass notify_unanswered, unanswered agent_gone 1, \
                to_agent HAPROXY_DISCONNECT 0, to_haproxy AGENT_DISCONNECT 7, close agent
        """
    )


def test_a_notify_behind_the_agents_disconnect_is_not_for_that_agent() -> None:
    play(
        """
        haproxy NOTIFY 1.1          -> ok
        agent   AGENT_DISCONNECT 0  -> held, reorder disconnect_before_ack
        haproxy NOTIFY 3.1          -> pass notify_unanswered, unanswered agent_gone 1
        agent   ACK 1.1             -> reorder ack_after_disconnect, repair disconnect_status, \
                to_agent HAPROXY_DISCONNECT 0, to_haproxy ACK 1.1, to_haproxy AGENT_DISCONNECT 13
        haproxy NOTIFY 5.1          -> nothing
        """
    )


def test_a_fragment_behind_the_agents_disconnect_is_no_fault_of_haproxys() -> None:
    talk = running(answer=frames.agent_hello(capabilities=b"fragmentation"))
    talk.play(
        """
        haproxy NOTIFY 1.1          -> ok
        agent   AGENT_DISCONNECT 0  -> held, reorder disconnect_before_ack
        haproxy <first>             -> nothing
        haproxy UNSET 3.1           -> pass notify_unanswered, unanswered agent_gone 1
        """,
        first=frames.notify("3.1", flags=0),
    )


def test_haproxy_may_leave_while_the_disconnect_is_held() -> None:
    play(
        """
        haproxy NOTIFY 1.1           -> ok
        agent   AGENT_DISCONNECT 7   -> held, reorder disconnect_before_ack
        haproxy HAPROXY_DISCONNECT 0 -> unanswered haproxy_gone 1, ok, to_haproxy AGENT_DISCONNECT 7, close haproxy
        agent   fin                  -> close agent, end haproxy disconnect
        """
    )
    play(
        """
        haproxy NOTIFY 1.1           -> ok
        agent   AGENT_DISCONNECT 7   -> held, reorder disconnect_before_ack
        haproxy rst                  -> unanswered haproxy_gone 1, to_agent HAPROXY_DISCONNECT 0, close haproxy
        agent   fin                  -> close agent, end haproxy reset
        """
    )


def test_passing_a_disconnect_on_in_front_of_open_acks_loses_them() -> None:
    script = """
        haproxy NOTIFY 1.1 -> ok
        agent   AGENT_DISCONNECT 0 + ACK 1.1 -> pass disconnect_before_ack, pass notify_unanswered, unanswered agent_gone 1, \
                {status} disconnect_status, drop late_ack, to_agent HAPROXY_DISCONNECT 0, to_haproxy AGENT_DISCONNECT {told}
        """
    play(script.format(status="repair", told=13), {Anomaly.DISCONNECT_BEFORE_ACK: Action.PASS})
    both = {Anomaly.DISCONNECT_BEFORE_ACK: Action.PASS, Anomaly.DISCONNECT_STATUS: Action.PASS}
    play(script.format(status="pass", told=0), both)


NEGATIVE = kv.encode([kv.Pair(b"status-code", typed_data.INT64, -1), kv.Pair(b"message", typed_data.STR, b"m")])

MANY_KEYS = pairs(status_code=1, message=b"m") + pairs(n=1) * (MOST_KEYS - 2)

ALL_OF_IT = ", ".join(
    f"repair {name}"
    for name in ("disconnect_malformed", "disconnect_bad_ids", "missing_fin", "reserved_flags", "disconnect_status")
)

MENDED = [
    # name                   as it came                                          reported                        told
    ("status 99",            agent_disconnect(99),                               "",                             99),
    ("status 100",           agent_disconnect(100),                              "repair disconnect_status",     99),
    ("status below zero",    frame.encode(102, payload=NEGATIVE),                "repair disconnect_status",     99),
    ("no status",            agent_disconnect(None),                             "repair disconnect_malformed",  99),
    ("no payload",           frame.encode(102),                                  "repair disconnect_malformed",  99),
    ("message of 200 bytes", agent_disconnect(1, b"x" * 200),                    "",                             1),
    ("message of 201 bytes", agent_disconnect(1, b"x" * 201),                    "repair disconnect_malformed",  1),
    ("a doubtful key",       frame.encode(102, payload=pairs(status_code=1, message=b"m", message_id=1)),
                                                                                 "repair disconnect_malformed",  1),
    ("as many keys as read", frame.encode(102, payload=MANY_KEYS),               "",                             1),
    ("one key more",         frame.encode(102, payload=MANY_KEYS + pairs(n=1)),  "repair disconnect_malformed",  1),
    ("a stream-id",          agent_disconnect(1, at="7.0"),                      "repair disconnect_bad_ids",    1),
    ("a frame-id",           agent_disconnect(1, at="0.1"),                      "repair disconnect_bad_ids",    1),
    ("without FIN",          agent_disconnect(1, flags=0),                       "repair missing_fin",           1),
    ("aborted",              agent_disconnect(1, flags=3),                       "repair reserved_flags",        1),
    ("everything at once",   agent_disconnect(100, b"x" * 201, "7.1", 2),
                                                                                 ALL_OF_IT,                      99),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "reported", "told"), [c[1:] for c in MENDED], ids=[c[0] for c in MENDED])
def test_a_disconnect_haproxy_would_not_take_is_mended(raw: bytes, reported: str, told: int) -> None:
    talk = running()
    passed = f"{reported}, to_agent HAPROXY_DISCONNECT 0, to_haproxy AGENT_DISCONNECT {told}"
    talk.play(f"agent <odd> -> {passed if reported else 'to_agent HAPROXY_DISCONNECT 0, ok'}", odd=raw)
    repaired = FrameAuthored(Direction.TO_HAPROXY, FrameType.AGENT_DISCONNECT, AuthoredReason.REPAIRED)
    assert (repaired in talk.events) == bool(reported)
    last = list(frames.cut(talk.written["to_haproxy"]))[-1]
    assert (last.stream_id, last.frame_id, last.flags) == (0, 0, frames.FIN)


def test_the_agents_words_outlive_the_mending() -> None:
    talk = running().play(
        "agent <odd> -> repair disconnect_bad_ids, to_agent HAPROXY_DISCONNECT 0, to_haproxy AGENT_DISCONNECT 42",
        odd=agent_disconnect(42, b"out of soup", "7.1"),
    )
    assert talk.written["to_haproxy"].endswith(agent_disconnect(42, b"out of soup"))


def test_after_a_dropped_disconnect_haproxy_hears_of_the_close() -> None:
    running({Anomaly.MISSING_FIN: Action.DROP}).play(
        """
        agent   <odd> -> drop missing_fin
        agent   fin   -> answer disconnect_missing, to_agent HAPROXY_DISCONNECT 0, to_haproxy AGENT_DISCONNECT 13, close agent
        """,
        odd=agent_disconnect(0, flags=0),
    )


def test_a_policy_may_pass_flags_that_mean_nothing() -> None:
    running({Anomaly.RESERVED_FLAGS: Action.PASS}).play(
        "agent <odd> -> pass reserved_flags, to_agent HAPROXY_DISCONNECT 0, ok", odd=agent_disconnect(0, flags=3)
    )
