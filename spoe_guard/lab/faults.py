"""Agents' faults, one for each anomaly of the catalogue that an agent can cause, under the anomaly's name.

``spoe-guard lab agent --fault`` takes the names. What the guard makes of each is seen in ``tests/lab/test_faults.py``.
"""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from spoe_guard.lab import frames
from spoe_guard.lab.misbehaviour import EMPTY_FRAME, MISBEHAVIOURS, STRAY_OFFSET, End
from spoe_guard.wire import actions, frame, kv, typed_data, walk


@enum.unique
class On(enum.Enum):
    """The frame of HAProxy's on which an agent goes wrong, and the one of its own that is due then."""

    NOTIFY = "notify"  # ACK
    HELLO = "hello"  # AGENT-HELLO
    CHECK = "check"  # AGENT-HELLO, in a health check


@dataclass(frozen=True, slots=True)
class Later:
    """These bytes are written after the script's ``late_s``; the connection goes on meanwhile."""

    raw: bytes


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """These bytes are written on another connection of the same engine."""

    raw: bytes


@dataclass(frozen=True, slots=True)
class Due:
    """What the agent owes: ``frame``, and how long a frame may be on this connection (bytes behind the length)."""

    frame: frame.Frame
    max_frame_size: int


Step: TypeAlias = bytes | End | Later | Elsewhere
Play: TypeAlias = Callable[[Due], Sequence[Step]]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing an agent gets wrong.

    ``play`` returns what the agent does instead of writing the frame that is due: bytes, one write each, and how the connection
    ends, if it does. ``needs``: what the guard or HAProxy must be set to, or the guard sees nothing wrong; empty if nothing.
    ``asynchronous``: the agent announces the capability async where it is offered.
    """

    name: str
    sentence: str
    play: Play
    on: On = On.NOTIFY
    needs: str = ""
    asynchronous: bool = False

    def told(self) -> str:
        """Return what it does and needs, for a person."""
        return f"{self.sentence}; needs {self.needs}" if self.needs else self.sentence


def _before(odd: bytes) -> Play:
    """Write ``odd``, then what is due."""
    return lambda due: [odd + due.frame.raw]


def _behind(odd: bytes, *end: End) -> Play:
    """Write what is due, then ``odd``."""
    return lambda due: [due.frame.raw + odd, *end]


def _instead(*steps: Step) -> Play:
    return lambda _: steps


def _changed(payload: Callable[[bytes], bytes]) -> Play:
    """Write what is due with another payload."""
    return lambda due: [frame.with_payload(due.frame, payload(due.frame.payload))]


def _as(misbehaviour: str) -> Play:
    return lambda due: MISBEHAVIOURS[misbehaviour].play([due.frame])


def _stray_ack(offset: int) -> Play:
    """Write an ACK for a stream-id that is so much higher, then what is due."""
    return lambda due: [frame.encode(frame.ACK, due.frame.stream_id + offset, 1, due.frame.payload) + due.frame.raw]


def _oversize(due: Due) -> Sequence[Step]:
    header = len(due.frame.raw) - len(due.frame.payload) - frame.LENGTH_BYTES
    return [frame.with_payload(due.frame, bytes(due.max_frame_size - header + 1))]


def _in_fragments(due: Due) -> Sequence[Step]:
    payload, half = due.frame.payload, len(due.frame.payload) // 2
    first = frame.with_flags(frame.with_payload(due.frame, payload[:half]), 0)
    return [first + frame.encode(frame.UNSET, due.frame.stream_id, due.frame.frame_id, payload[half:])]


def _hello(capabilities: bytes = b"", version: bytes = b"2.0", more: int = 0) -> Play:
    """Write another AGENT-HELLO than is due, that says ``more`` than max-frame-size may be."""
    return lambda due: [frames.agent_hello(due.max_frame_size + more, capabilities, version)]


def _without_capabilities(due: Due) -> Sequence[Step]:
    pairs, _ = kv.parse(due.frame.raw, due.frame.payload_at, len(due.frame.raw))
    return [frame.with_payload(due.frame, kv.encode([pair for pair in pairs if pair.name != b"capabilities"]))]


def _disconnect(status: int = frames.STATUS_NORMAL, message: bytes = b"normal", stream_id: int = 0) -> bytes:
    plain = frame.parse(frames.disconnect(frame.AGENT_DISCONNECT, status, message))
    assert plain is not None  # noqa: S101  encoded just above
    return frame.encode(frame.AGENT_DISCONNECT, stream_id, stream_id, plain.payload)


def _unset(name: bytes, scope: int = walk.SCOPE_TXN) -> bytes:
    return actions.unset_var(scope, name)


# More anomalies than `limits.glitches` allows by default, in the shortest frames there are.
GLITCHES: Final = 1001
_RUNT: Final = EMPTY_FRAME
_NAME: Final = b"spoe_guard_lab"  # of variables that nobody uses
_LONG_NAME: Final = b"n" * 58  # with its scope and a prefix more than HAProxy has room for
_LONG_MESSAGE: Final = b"x" * 201
_NULL: Final = actions.set_var(walk.SCOPE_TXN, _NAME, typed_data.NULL, None)
_BAD_BOOL: Final = _NULL[:-1] + bytes((typed_data.FLAG_TRUE,))
_ENDLESS_NAME: Final = (
    bytes((walk.UNSET_VAR, 2, walk.SCOPE_TXN, 0xF0)) + b"\x80" * 12
)  # its length is an integer that does not end
_NO_ACTION: Final = b"\x07"
_BYE: Final = _disconnect()
_STATUS_REFUSED: Final = 99  # "unknown": an agent has no status for a reason of its own
_STATUS_NONE: Final = 100

_TABLE: Final = (
    # framing
    Fault("runt_frame", "writes a frame of length 0, then its ACK", _before(_RUNT)),
    Fault("oversize_frame", "answers with an ACK that is one byte longer than a frame may be", _oversize),
    Fault("garbled_stream", "writes four bytes that are the length of no frame, then its ACK", _before(b"\xff" * 4)),
    Fault("interleaved_frames", "writes its ACK into the middle of its DISCONNECT, and closes", _as("acks_inside_disconnect")),
    Fault("truncated_frame", "closes in the middle of its ACK", _as("ack_cut_in_half")),
    Fault("bad_varint", "answers with an ACK in which an integer does not end", _changed(lambda old: old + _ENDLESS_NAME)),
    Fault("missing_fin", "leaves the FIN flag out of its ACK", _as("ack_without_fin")),
    Fault(
        "reserved_flags",
        "sets the flag ABRT in its ACK",
        lambda due: [frame.with_flags(due.frame.raw, frame.FLAG_FIN | frame.FLAG_ABRT)],
    ),
    Fault("fragmented_ack", "answers with an ACK in two fragments", _in_fragments),
    Fault("unknown_frame_type", "writes a frame of a type that does not exist, then its ACK", _as("unknown_type")),
    Fault("wrong_side_frame", "writes a NOTIFY, then its ACK", _as("notify_from_agent")),
    Fault("impossible_stream_id", "writes an ACK for a stream-id that HAProxy cannot have, then its own", _stray_ack(2**31)),
    Fault(
        "glitch_flood",
        f"writes its ACK, then {GLITCHES} frames of length 0",
        _behind(_RUNT * GLITCHES),
        needs="`limits.glitches` of 1000/m, the default, or less",
    ),
    # handshake
    Fault("frame_before_hello", "writes an ACK before AGENT-HELLO", _before(frame.encode(frame.ACK, 1, 1)), On.HELLO),
    Fault("hello_malformed", "leaves the key capabilities out of AGENT-HELLO", _without_capabilities, On.HELLO),
    Fault("hello_version", "says version 2.1 in AGENT-HELLO", _hello(version=b"2.1"), On.HELLO),
    Fault("hello_size", "says a max-frame-size in AGENT-HELLO that is larger than was offered", _hello(more=1024), On.HELLO),
    Fault("hello_capability", "says a capability in AGENT-HELLO that was not offered", _hello(b"lab"), On.HELLO),
    Fault("hello_repeated", "writes AGENT-HELLO again before its ACK", _as("second_hello")),
    Fault(
        "hello_trailing",
        "writes DISCONNECT behind AGENT-HELLO in a health check",
        _behind(_BYE),
        On.CHECK,
        needs="health checks: `option spop-check`, or `spoe-guard lab haproxy --check`",
    ),
    Fault(
        "hello_refused",
        "writes DISCONNECT in place of AGENT-HELLO, and closes",
        _instead(_disconnect(_STATUS_REFUSED, b"refused"), End.CLOSE),
        On.HELLO,
    ),
    Fault("agent_unreachable", "resets the connection in place of AGENT-HELLO", _instead(End.RESET), On.HELLO),
    # ACK
    Fault("unmatched_ack", "writes an ACK for a NOTIFY that nobody sent, then its own", _stray_ack(STRAY_OFFSET)),
    Fault("duplicate_ack", "writes its ACK twice", _as("ack_twice")),
    Fault(
        "late_ack",
        "writes its ACK later than it could, by --late",
        lambda due: [Later(due.frame.raw)],
        needs="`answer_deadline` below --late, and `unanswered` other than tell; `haproxy` sets both",
    ),
    Fault(
        "foreign_ack",
        "writes its ACK on another connection of the same engine, or in its place while there is none",
        lambda due: [Elsewhere(due.frame.raw)],
        needs="`hello.capabilities: [pipelining, async]`, and HAProxy up to 3.0 with more than one connection",
        asynchronous=True,
    ),
    Fault("empty_ack", "writes an ACK without an action", _changed(lambda _: b"")),
    Fault(
        "ack_stray_null", "writes a zero byte behind an UNSET-VAR in its ACK", _changed(lambda old: _unset(_NAME) + b"\0" + old)
    ),
    Fault("ack_null_value", "sets a variable to NULL in its ACK", _changed(lambda old: old + _NULL)),
    Fault("ack_bad_bool", "sets a variable in its ACK to a boolean without a type", _changed(lambda old: old + _BAD_BOOL)),
    Fault("ack_malformed", "writes an action that does not exist into its ACK", _changed(lambda old: old + _NO_ACTION)),
    Fault("ack_long_name", "unsets a variable with too long a name in its ACK", _changed(lambda old: old + _unset(_LONG_NAME))),
    Fault(
        "ack_proc_scope",
        "unsets a process-wide variable in its ACK",
        _changed(lambda old: old + _unset(_NAME, walk.SCOPE_PROC)),
    ),
    # NOTIFY
    Fault("notify_unanswered", "writes no ACK", _as("mute"), needs="`answer_deadline`, which `haproxy.timeout_processing` sets"),
    # DISCONNECT
    Fault("disconnect_before_ack", "writes DISCONNECT in place of its ACK, and closes", _instead(_BYE, End.CLOSE)),
    Fault("ack_after_disconnect", "writes DISCONNECT, then its ACK, and closes", _as("disconnect_then_acks")),
    Fault(
        "frame_after_disconnect",
        "writes its ACK, DISCONNECT and AGENT-HELLO, and closes",
        _behind(_BYE + frames.agent_hello(), End.CLOSE),
    ),
    Fault(
        "disconnect_bad_ids",
        "writes its ACK, then DISCONNECT with ids that are not 0, and closes",
        _behind(_disconnect(stream_id=1), End.CLOSE),
    ),
    Fault(
        "disconnect_malformed",
        "writes its ACK, then DISCONNECT with too long a message, and closes",
        _behind(_disconnect(message=_LONG_MESSAGE), End.CLOSE),
    ),
    Fault(
        "disconnect_status",
        f"writes its ACK, then DISCONNECT with the status-code {_STATUS_NONE}, and closes",
        _behind(_disconnect(_STATUS_NONE), End.CLOSE),
        needs="`links.give_up: 0`, or HAProxy keeps its connection and is told of no DISCONNECT",
    ),
    Fault(
        "disconnect_repeated",
        "writes DISCONNECT twice, then its ACK, and closes",
        lambda due: [_BYE * 2 + due.frame.raw, End.CLOSE],
    ),
    Fault("disconnect_missing", "writes its ACK, and closes without DISCONNECT", _behind(b"", End.CLOSE)),
)
FAULTS: Final[dict[str, Fault]] = {fault.name: fault for fault in _TABLE}
