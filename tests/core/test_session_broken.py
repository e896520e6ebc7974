"""Streams that are not SPOP frames: certain ACKs are delivered, and the session ends cleanly (promises H1, H5, H7)."""

import pytest

from spoe_guard.core.terms.anomalies import Action, Anomaly
from tests.core.frames import ack, raw
from tests.core.script import running
from tests.cost.shapes import nearly

pytestmark = pytest.mark.usefixtures("both_speeds")


BOTH_TOLD = "to_agent HAPROXY_DISCONNECT {0}, to_haproxy AGENT_DISCONNECT {0}"
GONE_BYE = BOTH_TOLD.format(0).replace("AGENT_DISCONNECT 0", "AGENT_DISCONNECT 13")

GARBAGE = {
    "a length out of this world": b"\x7f\xff\xff\xff" + bytes(40),
    "a long frame of no type": (20000).to_bytes(4, "big") + b"\x42\0\0\0\1" + bytes(40),
    "a long frame with odd flags": (20000).to_bytes(4, "big") + b"\x67\1\0\0\1" + bytes(40),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_a_stream_that_cannot_be_cut_ends_with_disconnect(garbage: bytes) -> None:
    running().play(
        f"""
        agent <garbage> -> repair garbled_stream, {BOTH_TOLD.format(4)}
        agent <garbage> -> nothing
        """,
        garbage=garbage,
    )


def test_behind_a_break_haproxy_is_not_heard_any_more_either() -> None:
    running().play(
        f"""
        haproxy <garbage> + NOTIFY 1.1 -> close garbled_stream, {BOTH_TOLD.format(4)}
        haproxy <garbage>              -> nothing
        haproxy ACK 1.1                -> nothing
        """,
        garbage=GARBAGE["a length out of this world"],
    )


def test_whole_acks_behind_the_break_are_delivered_first() -> None:
    running().play(
        """
        haproxy NOTIFY 1.1 + NOTIFY 3.1 + NOTIFY 5.1 -> ok
        agent   ACK 1.1 + <garbage> + ACK 3.1        -> repair garbled_stream, repair interleaved_frames, \
                to_haproxy ACK 1.1, to_haproxy ACK 3.1
        agent   ACK 3.1 + ACK 9.1                    -> held
        agent   ACK 5.1[:9]                          -> held
        agent   ACK 5.1[9:]                          -> repair interleaved_frames, to_agent HAPROXY_DISCONNECT 4, \
                to_haproxy ACK 5.1, to_haproxy AGENT_DISCONNECT 4
        agent   ACK 5.1                              -> nothing
        """,
        garbage=GARBAGE["a length out of this world"],
    )


@pytest.mark.parametrize("end", ["agent fin", "guard waits 0.5"])
def test_the_search_ends_with_the_hold_or_the_connection(end: str) -> None:
    running().play(
        f"""
        haproxy NOTIFY 1.1                  -> ok
        agent   <garbage> + ACK 1.1[:14]    -> held, repair garbled_stream
        {end} -> pass notify_unanswered, unanswered agent_gone 1, {BOTH_TOLD.format(4)}{", close agent" if "fin" in end else ""}
        """,
        garbage=GARBAGE["a length out of this world"],
    )


def test_a_break_behind_the_agents_disconnect_leaves_that_disconnect_its_words() -> None:
    running().play(
        """
        haproxy NOTIFY 1.1                  -> ok
        agent   AGENT_DISCONNECT 7 + <garbage> + ACK 1.1 -> reorder disconnect_before_ack, repair garbled_stream, \
                repair interleaved_frames, to_agent HAPROXY_DISCONNECT 0, to_haproxy ACK 1.1, to_haproxy AGENT_DISCONNECT 7
        """,
        garbage=GARBAGE["a length out of this world"],
    )


def test_an_ack_written_into_a_disconnect_is_found() -> None:
    """criteo/haproxy-spoe-go writes ACK and DISCONNECT through one unlocked buffer."""
    running().play(
        """
        haproxy NOTIFY 1.1 -> ok
        agent   <nested>   -> repair disconnect_malformed, repair interleaved_frames, to_agent HAPROXY_DISCONNECT 7, \
                to_haproxy ACK 1.1, to_haproxy AGENT_DISCONNECT 7
        agent   ACK 1.1    -> nothing
        """,
        nested=raw(b"\x66\0\0\0\1\0\0\x0bstatus-code\x03\x07" + ack() + b"\x07mess"),
    )


def test_an_ack_nested_in_a_disconnect_may_end_in_a_later_read() -> None:
    """The first nine bytes of an ACK happen to be a list: of keys without a name."""
    running().play(
        f"""
        haproxy NOTIFY 1.1         -> ok
        agent   <opening>          -> held, repair interleaved_frames
        agent   ACK 1.1[9:]        -> to_haproxy ACK 1.1
        agent   fin                -> drop truncated_frame, answer disconnect_missing, {GONE_BYE}, close agent
        """,
        opening=raw(b"\x66\0\0\0\1\0\0" + ack()[:9]),
    )


def test_closing_over_an_interleaved_ack_delivers_none() -> None:
    running({Anomaly.INTERLEAVED_FRAMES: Action.CLOSE}).play(
        f"""
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok
        agent   <garbage> + ACK 1.1     -> repair garbled_stream, close interleaved_frames, \
                pass notify_unanswered, unanswered agent_gone 2, {BOTH_TOLD.format(4)}
        """,
        garbage=GARBAGE["a length out of this world"],
    )


def test_one_malformed_ack_is_no_shuffle_and_holds_nothing_up() -> None:
    """Its payload begins with a zero, as the length of another frame would."""
    running().play(
        """
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok
        agent   <odd>                   -> drop ack_malformed, pass notify_unanswered, unanswered ack_dropped 1
        agent   ACK 3.1                 -> ok
        guard   waits 100               -> nothing
        """,
        odd=ack("1.1", payload=b"\0"),
    )


def test_acks_that_begin_within_one_another_end_the_link_at_once() -> None:
    talk = running().play(
        f"""
        haproxy NOTIFY 1.1 -> ok
        agent   <many>     -> repair garbled_stream, close garbled_stream, pass notify_unanswered, unanswered agent_gone 1, \
                {BOTH_TOLD.format(4)}
        agent   ACK 1.1    -> nothing
        """,
        many=nearly(16300),
    )
    assert talk.session.held == 0
