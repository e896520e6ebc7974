"""What is kept of one step of a session that is more than a read passed on, and what all that is kept may count."""

from typing import TYPE_CHECKING, Final, NamedTuple

from spoe_guard.capture.files.model import End
from spoe_guard.core.terms.events import AnomalySeen
from spoe_guard.core.terms.output import LinkOutput

if TYPE_CHECKING:
    from mypy_extensions import i64

# What an Entry costs in memory beside the bytes it refers to: the tuple and its place, a float, the headers of bytes objects.
ENTRY_BYTES: Final = 256
LEAST_BYTES: Final = 64  # what an Entry counts towards its direction's bound at least, so that there is one on their number


class Extra(NamedTuple):
    """What is not ordinary about an entry: how things ended, who else was written to, and what was wrong (``left_out`` more)."""

    end: End | None = None
    closed: tuple[tuple[bool, int, End], ...] = ()  # by the guard: whether it was HAProxy's connection, the link, how
    more: tuple[LinkOutput, ...] = ()
    seen: tuple[AnomalySeen, ...] = ()
    left_out: int = 0


class Entry(NamedTuple):
    """One step of a session: what was read at ``now`` on ``link``, and what was written then.

    ``out_link``: where ``to_agent`` went. ``lost``: bytes cut off the front of ``data``.
    """

    now: float
    link: int
    data: bytes
    out_link: int
    to_agent: bytes = b""
    to_haproxy: bytes = b""
    lost: int = 0
    extra: Extra | None = None

    def size(self) -> int:
        """Return what it counts: each object once."""
        size = len(self.data)
        size += len(self.to_agent) if self.to_agent is not self.data else 0
        size += len(self.to_haproxy) if self.to_haproxy is not self.data else 0
        if self.extra is not None:
            size += sum(len(order.to_agent) for order in self.extra.more) + LEAST_BYTES * len(self.extra.seen)
        return max(LEAST_BYTES, size)


class Budget:
    """Bytes that all sessions may keep together; ``used`` has each Entry with ``ENTRY_BYTES``, each part with ``PART_BYTES``."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: "i64") -> None:
        self.limit = limit
        self.used: i64 = 0
