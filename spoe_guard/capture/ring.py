"""The last bytes of one direction of a session, kept by reference and within bounds."""

from collections import deque
from typing import Final, NamedTuple

from spoe_guard.capture.model import End
from spoe_guard.core.anomalies import Side
from spoe_guard.core.events import AnomalySeen
from spoe_guard.core.output import LinkOutput
from spoe_guard.wire import frame

# What an entry costs in memory beside the bytes it refers to: the tuple and its place, a float, the headers of bytes objects.
ENTRY_BYTES: Final = 256
LEAST_BYTES: Final = 64  # what an entry counts towards its direction's bound at least, so that there is one on their number
FIRST_BYTES: Final = 512  # of the first part: an idle session holds its HELLOs and no place for more
PARTS: Final = 4  # a direction is let go of in so many parts: entry by entry, every read would pay for it
# The HELLO of each connection is kept for good: without it nothing behind it can be judged. So many bytes of one, of so many.
HELLO_BYTES: Final = 1024
MOST_HELLOS: Final = 32


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


Passed = tuple[float, int, bytes, int]  # the first four of an Entry: all of ``data`` went on as it came


SEVERAL: Final = -1  # links, whose entries are in one part


class Part(NamedTuple):
    """What is let go of at once. ``size``: what it counts; ``read``: bytes read in it; ``link``: on which, or SEVERAL."""

    size: int
    read: int
    link: int
    entries: list[Entry | Passed]


class Budget:
    """Bytes that all sessions may keep together; ``used`` counts every entry with ``ENTRY_BYTES``."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0


class _Hello:
    """The first entries of a link, up to the end of its first frame."""

    __slots__ = ("data", "entries", "open")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.data = b""
        self.open = True

    def forget(self) -> int:
        """Let go of it, and of what would belong to it; return what it counted towards the budget."""
        size = sum(entry.size() + ENTRY_BYTES for entry in self.entries)
        self.open, self.entries = False, []
        return size

    def offer(self, entry: Entry) -> bool:
        """Return whether ``entry`` is kept for good."""
        if len(self.data) + len(entry.data) > HELLO_BYTES or entry.lost:
            self.open = False
            return False
        self.entries.append(entry)
        self.data += entry.data
        if len(self.data) >= frame.LENGTH_BYTES:
            self.open = len(self.data) < frame.LENGTH_BYTES + frame.length_at(self.data, 0)
        return True


class Ring:
    """Entries of what ``side`` wrote: at most ``limit`` bytes, read or otherwise written, and the HELLOs.

    ``entries`` is the newest part, with room for ``left`` bytes; ``add`` to it, and ``roll`` where that is said.
    """

    __slots__ = (
        "_budget", "_capacity", "_closed", "_hellos", "_link", "_older", "_read", "_side", "entries", "left", "limit", "lost",
    )  # fmt: skip

    def __init__(self, side: Side, limit: int, budget: Budget) -> None:
        self.limit = limit
        self.entries: list[Entry | Passed] = []
        self.lost: dict[int, int] = {}  # bytes read that are no longer there, by link
        self._side = side
        self._budget = budget
        self._older = 0  # bytes of the parts that are closed
        self._closed: deque[Part] = deque()
        self._read = 0
        self._link = 0
        self._hellos: dict[int, _Hello] = {}
        self._capacity = self.left = min(FIRST_BYTES, limit // PARTS)
        budget.used += self._reserved()

    def add(self, entry: Entry | Passed, link: int, read: int, size: int) -> bool:
        """Append it, ``read`` on ``link`` and counting ``size``; return whether that is one too many."""
        if link != self._link:
            self._link = SEVERAL if self.entries else link
        self.entries.append(entry)
        self._read += read
        self.left -= size
        return self.left < 0

    def roll(self) -> None:
        """Begin a new part, with the entry that was one too many, and let go of the oldest until the bound holds."""
        last = self.entries.pop()
        size = _size(last)
        read = len(last[2])
        self.left += size
        self._read -= read
        self._close(max(size, self.limit // PARTS))
        self.add(last, last[1], read, size)
        if self._older + self._capacity > self.limit:
            self.shrink()

    def is_full(self) -> bool:
        """Whether to roll, now that there is an entry too many, is to let go of something."""
        last = _size(self.entries[-1])
        return self._older + self._capacity - self.left - last + max(last, self.limit // PARTS) > self.limit

    def shrink(self) -> None:
        """Let go of the oldest parts until the bound holds."""
        while self._closed and self._older + self._capacity > self.limit:
            part = self._closed.popleft()
            self._older -= part.size
            self._budget.used -= part.size + len(part.entries) * ENTRY_BYTES
            hello = self._hellos.get(part.link)
            if hello is not None and not hello.open:  # as a rule; and much the quicker way
                self.lost[part.link] = self.lost.get(part.link, 0) + part.read
            else:
                self._lose(part.entries)

    def _lose(self, entries: list[Entry | Passed]) -> None:
        """Keep the HELLOs of what is let go, and count the rest."""
        for entry in entries:
            hello = self._hellos.get(entry[1])
            if (hello is not None and not hello.open) or not self._keep(hello, self._whole(entry)):
                self.lost[entry[1]] = self.lost.get(entry[1], 0) + len(entry[2])

    def clear(self) -> None:
        """Let go of everything; what comes next is kept again."""
        self._close(min(FIRST_BYTES, self.limit // PARTS))
        for entry in self.kept():
            self.lost[entry.link] = self.lost.get(entry.link, 0) + len(entry.data)
        self._budget.used -= sum(part.size + len(part.entries) * ENTRY_BYTES for part in self._closed)
        self._closed.clear()
        self._older = 0
        for hello in self._hellos.values():
            self._budget.used -= hello.forget()

    def end(self) -> None:
        """Let go of everything for good."""
        self.clear()
        self._budget.used -= self._reserved()

    def kept(self) -> list[Entry]:
        """Return what is kept, oldest first; each link's first entry behind what was lost says how much that was."""
        found = [entry for hello in self._hellos.values() for entry in hello.entries]
        lost = dict(self.lost)
        for entries in (*(part.entries for part in self._closed), self.entries):
            for entry in map(self._whole, entries):
                missing = lost.pop(entry.link, 0) if entry.data else 0
                found.append(entry._replace(lost=entry.lost + missing))
        return found

    def _whole(self, entry: Entry | Passed) -> Entry:
        if isinstance(entry, Entry):
            return entry
        now, link, data, out_link = entry
        to_agent, to_haproxy = (b"", data) if self._side is Side.AGENT else (data, b"")
        return Entry(now, link, data, out_link, to_agent, to_haproxy)

    def _reserved(self) -> int:
        """Return what the newest part may come to."""
        return _with_entries(self._capacity)

    def _close(self, capacity: int) -> None:
        """Put the newest part to the others, and begin one for ``capacity`` bytes."""
        size = self._capacity - self.left
        self._budget.used += size + len(self.entries) * ENTRY_BYTES - self._reserved()
        if self.entries:
            self._closed.append(Part(size, self._read, self._link, self.entries))
            self._older += size
        self.entries = []
        self._read = 0
        self._capacity = self.left = capacity
        self._budget.used += self._reserved()

    def _keep(self, hello: _Hello | None, entry: Entry) -> bool:
        if hello is None:
            if not entry.data or len(self._hellos) >= MOST_HELLOS:
                return False
            hello = self._hellos[entry.link] = _Hello()
        if hello.offer(entry):
            self._budget.used += entry.size() + ENTRY_BYTES
            return True
        return False


def _size(entry: Entry | Passed) -> int:
    return entry.size() if isinstance(entry, Entry) else max(LEAST_BYTES, len(entry[2]))


def _with_entries(capacity: int) -> int:
    return capacity + capacity // LEAST_BYTES * ENTRY_BYTES


def least_held(limit: int) -> int:
    """Return what a ring of that ``limit`` counts towards the budget before anything is in it."""
    return _with_entries(min(FIRST_BYTES, limit // PARTS))
