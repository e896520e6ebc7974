"""Agents' mistakes, one row each: what the agent does instead of writing the ACKs that are due.

Real agents do each of them, or can do it; ``spoe_guard.lab`` accepts the names on its command line.
"""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from spoe_guard.lab import frames
from spoe_guard.wire import frame, varint, walk


@enum.unique
class End(enum.Enum):
    """How the agent ends a connection."""

    CLOSE = "close"  # FIN, after the written bytes
    RESET = "reset"  # RST
    LINGER = "linger"  # not at all: stops reading, and stays open when HAProxy closes


Step = bytes | End
Play = Callable[[Sequence[frame.Frame]], Sequence[Step]]

EMPTY_FRAME: Final = bytes(4)
ONE_BYTE_FRAME: Final = bytes((0, 0, 0, 1, frame.ACK))
WRAPPING_LENGTH: Final = 2**64 - 2**30  # added to a pointer it leads backwards (haproxy bd03f0500)
STRAY_OFFSET: Final = 1_000_000  # added to a stream-id, it names a stream that HAProxy has not opened


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """One thing an agent gets wrong.

    ``play`` gets the ACKs that are due (one or more, oldest first) and returns what to do instead: bytes, one write each,
    and how the connection ends, if it does. The last ``unanswered`` of the ACKs due are missing from its output or
    incomplete.
    """

    name: str
    sentence: str
    play: Play
    unanswered: int = 0


def _raw(acks: Sequence[frame.Frame]) -> bytes:
    return b"".join(each.raw for each in acks)


def _break_off(tail: bytes, end: End = End.CLOSE) -> Play:
    """Write all answers but the last, then ``tail``, then end."""
    return lambda acks: [_raw(acks[:-1]) + tail, end]


def _first(misplaced: bytes) -> Play:
    """Write an unexpected frame before the answers."""
    return lambda acks: [misplaced + _raw(acks)]


def _cut_in_half(acks: Sequence[frame.Frame]) -> Sequence[Step]:
    last = acks[-1].raw
    return [_raw(acks[:-1]) + last[: len(last) // 2], End.CLOSE]


def _inside_goodbye(acks: Sequence[frame.Frame]) -> Sequence[Step]:
    cut = frames.CRITEO_HEADER_BYTES
    return [frames.CRITEO_DISCONNECT[:cut] + _raw(acks) + frames.CRITEO_DISCONNECT[cut:], End.CLOSE]


def _stray_first(acks: Sequence[frame.Frame]) -> Sequence[Step]:
    stray = frame.encode(frame.ACK, acks[0].stream_id + STRAY_OFFSET, 1, acks[0].payload)
    return [stray + _raw(acks)]


def _wrapping_length(acks: Sequence[frame.Frame]) -> Sequence[Step]:
    last = acks[-1]
    name = varint.encode(WRAPPING_LENGTH) + b"verdict"
    return [_raw(acks[:-1]), frame.with_payload(last, bytes((walk.SET_VAR, 3, walk.SCOPE_TXN)) + name)]


_DISCONNECT: Final = frames.disconnect(frame.AGENT_DISCONNECT)

MISBEHAVIOURS: Final[dict[str, Misbehaviour]] = {
    row.name: row
    for row in (
        Misbehaviour("zero_length_frame", "sends a frame of length 0 and closes", _break_off(EMPTY_FRAME), 1),
        Misbehaviour("one_byte_frame", "sends a frame of length 1 and closes", _break_off(ONE_BYTE_FRAME), 1),
        Misbehaviour(
            "disconnect_then_acks",
            "sends DISCONNECT, then answers, then closes",
            lambda acks: [_DISCONNECT, _raw(acks), End.CLOSE],
        ),
        Misbehaviour("acks_inside_disconnect", "writes its ACKs into the middle of its DISCONNECT", _inside_goodbye),
        Misbehaviour("ack_cut_in_half", "closes in the middle of an ACK", _cut_in_half, 1),
        Misbehaviour("stray_ack", "answers a stream that nobody opened, then the ones that are", _stray_first),
        Misbehaviour(
            "ack_without_fin",
            "leaves the FIN flag out",
            lambda acks: [b"".join(frame.with_flags(each.raw, 0) for each in acks)],
        ),
        Misbehaviour("close_without_a_word", "closes while a NOTIFY is open", _break_off(b""), 1),
        Misbehaviour("reset_without_a_word", "resets the connection while a NOTIFY is open", _break_off(b"", End.RESET), 1),
        Misbehaviour("ack_twice", "answers everything twice", lambda acks: [_raw([copy for ack in acks for copy in (ack, ack)])]),
        Misbehaviour(
            "disconnect_left_open",
            "sends DISCONNECT (normal) while a NOTIFY is open, and does not close, nor when HAProxy does",
            _break_off(_DISCONNECT, End.LINGER),
            1,
        ),
        Misbehaviour("notify_from_agent", "sends a NOTIFY itself", _first(frames.notify(1, 1, b"/agent"))),
        Misbehaviour("unknown_type", "sends a frame of a type that does not exist", _first(frame.encode(42, 1, 1))),
        Misbehaviour("second_hello", "sends HELLO again", _first(frames.agent_hello())),
        Misbehaviour("mute", "leaves a NOTIFY without an answer", lambda acks: [_raw(acks[:-1])], 1),
        Misbehaviour("hang", "stops in the middle of its work, connection open", _break_off(b"", End.LINGER), 1),
        Misbehaviour("wrapping_length", "answers with a name whose length wraps a 64-bit pointer", _wrapping_length, 1),
    )
}
