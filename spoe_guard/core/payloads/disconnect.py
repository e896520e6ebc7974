"""DISCONNECT frames: finds faults in one, and writes one that every HAProxy and agent accepts.

Source: SPOE.txt 3.2.8, 3.2.9, 3.5 (status codes); HAProxy ``spoe_handle_agentdiscon_frame``, ``spop_conn_handle_disconnect``.
"""

from typing import Final

from spoe_guard.wire import frame as frames
from spoe_guard.wire import kv, typed_data

STATUS_NORMAL: Final = 0
STATUS_TIMEOUT: Final = 2
STATUS_TOO_BIG: Final = 3
STATUS_INVALID: Final = 4
STATUS_BAD_VERSION: Final = 8
STATUS_NO_FRAGMENTS: Final = 10
STATUS_RESOURCES: Final = 13  # the status for HAProxy when the agent is gone: st=269
STATUS_UNKNOWN: Final = 99
MAX_STATUS: Final = 99  # HAProxy uses it as an index into a table of 100 texts (bbef74fb2)

# HAProxy <= 3.0 rejects the frame if the text is longer than 255 bytes; 200 leaves room.
MAX_MESSAGE: Final = 200
# So many keys are read. HAProxy and the agents write two, and whoever writes more than these is not read to the end.
MOST_KEYS: Final = 64

MEANINGS: Final[dict[int, str]] = {
    STATUS_NORMAL: "normal",
    STATUS_TIMEOUT: "a timeout occurred",
    STATUS_TOO_BIG: "frame is too big",
    STATUS_INVALID: "invalid frame received",
    STATUS_BAD_VERSION: "unsupported version",
    STATUS_RESOURCES: "the agent is gone",
}


class Disconnect:
    """A DISCONNECT as it was sent. ``status`` is None if it could not be read.

    ``readable``: the payload, as far as it is read, is a well-formed list (otherwise it may be several interleaved frames; the
    head of an ACK can look like a list of keys without a name). ``longer``: it has more than ``MOST_KEYS`` keys. ``fit``: the
    payload can be passed unchanged. ``plain``: it has only the two keys of SPOE.txt; other keys end processes built on
    negasus/haproxy-spoe-go, and on dropmorepackets/haproxy-go 0.0.5.
    """

    __slots__ = ("fit", "frame", "longer", "message", "plain", "readable", "status")

    def __init__(self, frame: frames.Frame) -> None:
        self.frame = frame
        self.status: int | None = None
        self.message = ""
        end = len(frame.raw)
        pairs, stop = kv.parse(frame.raw, frame.payload_at, end, MOST_KEYS)
        self.longer = len(pairs) == MOST_KEYS and stop < end
        self.readable = (stop == end or self.longer) and all(pair.name for pair in pairs)
        text: bytes | None = None
        for pair in pairs:
            if pair.name == b"status-code" and isinstance(pair.value, int) and pair.type in typed_data.INTEGER_TYPES:
                self.status = pair.value
            elif pair.name == b"message" and pair.type == typed_data.STR and isinstance(pair.value, bytes):
                text = pair.value
        self.message = (text or b"")[:MAX_MESSAGE].decode("utf-8", "replace")
        known = [pair.name for pair in pairs]
        self.plain = {b"status-code", b"message"}.issuperset(known)
        self.fit = (
            self.readable
            and not self.longer
            and self.status is not None
            and text is not None
            and len(text) <= MAX_MESSAGE
            and known.count(b"status-code") == known.count(b"message") == 1
            and not any(_confusable(name) for name in known)
        )

    @property
    def oddity(self) -> str:
        """What is odd about its keys, for the log; empty if they are the two of SPOE.txt."""
        if self.longer:
            return f"it has more than {MOST_KEYS} keys"
        return "" if self.plain else "it has keys that SPOE.txt 3.2.8 does not"

    @property
    def passable(self) -> bool:
        """Whether the frame can be passed unchanged: its payload, its flags and its ids."""
        return self.fit and self.frame.flags == frames.FLAG_FIN and not self.frame.stream_id and not self.frame.frame_id


def _confusable(name: bytes) -> bool:
    """Whether HAProxy, which compares by prefix, may mistake ``name`` for one of the two keys it looks for."""
    return name not in (b"status-code", b"message") and name.startswith((b"status-code", b"message"))


def clamp(status: int | None) -> int:
    """Return ``status`` if HAProxy can handle it, otherwise 99 (unknown)."""
    return status if status is not None and 0 <= status <= MAX_STATUS else STATUS_UNKNOWN


def clamp_for_check(status: int | None) -> int:
    """Return ``status`` if HAProxy can handle it in answer to a health check, otherwise 99 (unknown).

    HAProxy up to 3.0 has no text for 14 to 98, and crashes looking for it (``spoe_handle_healthcheck_response``; SIGSEGV on
    2.2.9, 2.6.12 and 3.0.11).
    """
    return status if status is not None and 0 <= status <= STATUS_RESOURCES else STATUS_UNKNOWN


def encode(type_: int, status: int, message: str = "") -> bytes:
    """Return a DISCONNECT of ``type_`` (HAPROXY_DISCONNECT or AGENT_DISCONNECT). No message means the status's own meaning."""
    text = (message or MEANINGS.get(status, "unknown error")).encode()[:MAX_MESSAGE]
    pairs = [kv.Pair(b"status-code", typed_data.UINT32, status), kv.Pair(b"message", typed_data.STR, text)]
    return frames.encode(type_, payload=kv.encode(pairs))
