"""The model of a capture, independent of its file format."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.events import SAMPLE_BYTES

# Of one file, in all its conversations. A packet or a frame of a few bytes becomes objects of a thousand, and takes 0.1 ms.
MOST_CHUNKS: Final = 200_000
SHOWN_BYTES = SAMPLE_BYTES  # of bytes that are not a frame, in hex, as in the log


class CaptureError(Exception):
    """A file cannot be read as a capture, or not replayed. The message gives the reason in one line, for a person."""


@enum.unique
class End(enum.Enum):
    """How a direction of a connection ended."""

    FIN = "fin"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class Socket:
    """One end of a connection. A Unix socket has neither host nor port."""

    host: str = ""
    port: int = 0


@dataclass(slots=True)
class Chunk:
    """One write of one end of a connection.

    ``at``: seconds, by the capture's clock. ``side``: the peer at the other end of the connection; ``link_id``: the number of an
    agent's connection. ``inward``: the peer wrote it; False: the guard did. ``lost``: bytes of the same direction that are
    missing before it. ``size``: original size of ``data`` if it is incomplete (-1: complete). ``notes``: for people.
    """

    at: float
    side: Side
    link_id: int
    inward: bool
    data: bytes = b""
    lost: int = 0
    end: End | None = None
    notes: tuple[str, ...] = ()
    size: int = -1


@dataclass(slots=True)
class Capture:
    """Chunks in time order.

    ``sockets``: by side and link, the opener and the acceptor of the connection. ``note``: a description for people.
    ``timed``: the times are real.
    """

    chunks: list[Chunk] = field(default_factory=list)
    sockets: dict[tuple[Side, int], tuple[Socket, Socket]] = field(default_factory=dict)
    note: str = ""
    timed: bool = True

    def heard(self) -> Sequence[Chunk]:
        """Return the chunks that the two peers wrote, without the guard's."""
        return [chunk for chunk in self.chunks if chunk.inward]
