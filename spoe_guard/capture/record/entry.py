"""The record of a step that did more than forward a read, and the memory budget of all records."""

from typing import TYPE_CHECKING, Final, NamedTuple

from spoe_guard.capture.files.model import End
from spoe_guard.core.terms.events import AnomalySeen
from spoe_guard.core.terms.output import LinkOutput

if TYPE_CHECKING:
    from mypy_extensions import i64

# Memory of an Entry besides the bytes it refers to: the tuple and its slot, a float, the headers of bytes objects.
ENTRY_BYTES: Final = 256
LEAST_BYTES: Final = 64  # the least that an Entry counts towards its direction's bound, so that their number is bounded, too


class Extra(NamedTuple):
    """The unusual parts of an entry: ends of connections, writes to other links, and anomalies (``left_out`` more)."""

    end: End | None = None
    closed: tuple[tuple[bool, int, End], ...] = ()  # by the guard: whether it is HAProxy's connection, the link, how
    more: tuple[LinkOutput, ...] = ()
    seen: tuple[AnomalySeen, ...] = ()
    left_out: int = 0


class Entry(NamedTuple):
    """One step of a session: the bytes read at ``now`` on ``link_id``, and those written for it.

    ``out_link``: the link ``to_agent`` was written to. ``lost``: bytes cut off the front of ``data``.
    """

    now: float
    link_id: int
    data: bytes
    out_link: int
    to_agent: bytes = b""
    to_haproxy: bytes = b""
    lost: int = 0
    extra: Extra | None = None

    def size(self) -> int:
        """Return the bytes it counts for; each object counts once."""
        size = len(self.data)
        size += len(self.to_agent) if self.to_agent is not self.data else 0
        size += len(self.to_haproxy) if self.to_haproxy is not self.data else 0
        if self.extra is not None:
            size += sum(len(order.to_agent) for order in self.extra.more) + LEAST_BYTES * len(self.extra.seen)
        return max(LEAST_BYTES, size)


class Budget:
    """Bytes that all sessions may keep together; ``used`` includes ``ENTRY_BYTES`` per Entry and ``PART_BYTES`` per part."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: "i64") -> None:
        self.limit = limit
        self.used: i64 = 0
