"""What a capture is made of, however it was written and whatever it is read from."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field

from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.events import SAMPLE_BYTES

SHOWN_BYTES = SAMPLE_BYTES  # of what is no frame, in hex, as in the log


class CaptureError(Exception):
    """A file that cannot be read as a capture, or not played: why, in one line for a person."""


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
    """What one end of a connection wrote at one time.

    ``at``: seconds, by whatever clock the capture has. ``side``: the peer whose connection it is; ``link_id``: the number of an
    agent's. ``inward``: the peer wrote it; False: the guard did. ``lost``: bytes of the same direction that came before it and
    were not kept. ``size``: of ``data`` as it was, where not all of it is there (-1: it is). ``notes``: for people.
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

    ``sockets``: by side and link, who opened the connection and who accepted it. ``note``: what it is, for people.
    ``timed``: the times are real.
    """

    chunks: list[Chunk] = field(default_factory=list)
    sockets: dict[tuple[Side, int], tuple[Socket, Socket]] = field(default_factory=dict)
    note: str = ""
    timed: bool = True

    def heard(self) -> Sequence[Chunk]:
        """Return what the two peers wrote, without what the guard did."""
        return [chunk for chunk in self.chunks if chunk.inward]
