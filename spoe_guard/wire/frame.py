"""The SPOP frame: a 4-byte big-endian length, a type byte, 4 bytes of flags, stream-id, frame-id, payload.

Source: SPOE.txt 3.2 (frame), 3.2.2 (types); C names in include/haproxy/spoe-t.h, ``spop_frame_type``.
"""

import enum
from typing import Final

from spoe_guard.wire import varint


@enum.unique
class FrameType(enum.IntEnum):
    """Kind of frame: the byte behind the length prefix. UNSET continues a fragmented frame (SPOE.txt 3.2.1)."""

    UNSET = 0
    HAPROXY_HELLO = 1
    HAPROXY_DISCONNECT = 2
    NOTIFY = 3
    AGENT_HELLO = 101
    AGENT_DISCONNECT = 102
    ACK = 103


# Plain integers for the hot path: building an enum member costs more than parsing the header.
UNSET: Final = 0
HAPROXY_HELLO: Final = 1
HAPROXY_DISCONNECT: Final = 2
NOTIFY: Final = 3
AGENT_HELLO: Final = 101
AGENT_DISCONNECT: Final = 102
ACK: Final = 103

TYPE_NAMES: Final[dict[int, str]] = {member.value: member.name for member in FrameType}
HAPROXY_TYPES: Final = frozenset((UNSET, HAPROXY_HELLO, HAPROXY_DISCONNECT, NOTIFY))
AGENT_TYPES: Final = frozenset((AGENT_HELLO, AGENT_DISCONNECT, ACK))

FLAG_FIN: Final = 0x00000001
FLAG_ABRT: Final = 0x00000002

# Flags of a whole frame, and type and flags of a whole ACK, as they follow the length.
FIN_ALONE: Final[bytes] = FLAG_FIN.to_bytes(4, "big")
ACK_HEAD: Final = bytes((ACK,)) + FIN_ALONE

LENGTH_BYTES: Final = 4
IDS_AT: Final = 9  # offset of the stream-id in a whole frame: 4 length + 1 type + 4 flags
MIN_LENGTH: Final = 7  # type, flags and two one-byte ids; shorter makes HAProxy spin (#2490)
MIN_MAX_FRAME_SIZE: Final = 256  # SPOE.txt 3.2.4
MAX_STREAM_ID: Final = (1 << 31) - 1  # of HAProxy 3.1 and later, which counts NOTIFYs from 1 in a signed number of 32 bits
DEFAULT_MAX_FRAME_SIZE: Final = 16380  # HAProxy's tune.bufsize (16384) minus the length prefix


class Frame:
    """One whole frame, kept with its original bytes.

    ``raw`` is the frame with its length prefix; ``payload_at`` the offset of the payload in it.
    """

    __slots__ = ("flags", "frame_id", "payload_at", "raw", "stream_id", "type")

    def __init__(self, raw: bytes, type_: int, flags: int, stream_id: int, frame_id: int, payload_at: int) -> None:
        self.raw = raw
        self.type = type_
        self.flags = flags
        self.stream_id = stream_id
        self.frame_id = frame_id
        self.payload_at = payload_at

    @property
    def payload(self) -> bytes:
        """The bytes behind the frame-id."""
        return self.raw[self.payload_at :]

    @property
    def ids(self) -> bytes:
        """Stream-id and frame-id in wire format: the key of a NOTIFY and its ACK."""
        return self.raw[IDS_AT : self.payload_at]

    @property
    def fin(self) -> bool:
        """Whether this is the last, or only, fragment."""
        return bool(self.flags & FLAG_FIN)

    def __repr__(self) -> str:
        name = TYPE_NAMES.get(self.type, str(self.type))
        return f"<Frame {name} {self.stream_id}.{self.frame_id} flags={self.flags:#x} payload={len(self.raw) - self.payload_at}>"


def parse(raw: bytes) -> Frame | None:
    """Parse ``raw``, a whole frame with its length prefix, length >= 7; None if an id is a bad varint."""
    end = len(raw)
    stream_id, at = varint.decode(raw, IDS_AT, end)
    if at < 0:
        return None
    frame_id, at = varint.decode(raw, at, end)
    if at < 0:
        return None
    return Frame(raw, raw[4], int.from_bytes(raw[5:IDS_AT], "big"), stream_id, frame_id, at)


def encode(type_: int, stream_id: int = 0, frame_id: int = 0, payload: bytes = b"", flags: int = FLAG_FIN) -> bytes:
    """Return a whole frame with its length prefix. ``flags`` defaults to only FIN."""
    ids = varint.encode(stream_id) + varint.encode(frame_id)
    length = 5 + len(ids) + len(payload)
    return length.to_bytes(4, "big") + bytes((type_,)) + flags.to_bytes(4, "big") + ids + payload


def with_flags(raw: bytes, flags: int) -> bytes:
    """Return the frame ``raw`` with its flags replaced and every other byte unchanged."""
    return raw[:5] + flags.to_bytes(4, "big") + raw[IDS_AT:]


def with_payload(frame: Frame, payload: bytes) -> bytes:
    """Return ``frame`` with another payload: type, flags and ids stay byte for byte, the length is adjusted."""
    head = frame.raw[LENGTH_BYTES : frame.payload_at]
    return (len(head) + len(payload)).to_bytes(4, "big") + head + payload
