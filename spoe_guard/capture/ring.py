"""The last bytes of one direction of a session, kept by reference and within bounds."""

from collections import deque
from typing import Final, NamedTuple

from spoe_guard.capture.model import End
from spoe_guard.core.events import AnomalySeen
from spoe_guard.core.output import LinkOutput
from spoe_guard.wire import frame

# What an entry costs in memory beside the bytes it refers to: the tuple and its place, a float, the headers of the bytes objects.
ENTRY_BYTES: Final = 256
LEAST_BYTES: Final = 16  # what an entry counts towards its direction's bound at least, so that there is one on their number
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

    ``size``: what it counts. ``out_link``: where ``to_agent`` went. ``lost``: bytes cut off the front of ``data``.
    """

    size: int
    now: float
    link: int
    data: bytes
    out_link: int
    to_agent: bytes
    to_haproxy: bytes
    lost: int = 0
    extra: Extra | None = None


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
    """Entries of what one side wrote: at most ``limit`` bytes of them, read and otherwise written, and the HELLOs."""

    __slots__ = ("_budget", "_hellos", "bytes", "entries", "limit", "lost")

    def __init__(self, limit: int, budget: Budget) -> None:
        self.entries: deque[Entry | tuple[int, float, int, bytes, int, bytes, bytes]] = deque()
        self.bytes = 0
        self.limit = limit
        self.lost: dict[int, int] = {}  # bytes read that are no longer there, by link
        self._budget = budget
        self._hellos: dict[int, _Hello] = {}

    def trim(self) -> None:
        """Let go of the oldest until the bound holds."""
        entries, budget, lost, hellos = self.entries, self._budget, self.lost, self._hellos
        while self.bytes > self.limit and entries:
            old = entries.popleft()
            self.bytes -= old[0]
            link = old[2]
            hello = hellos.get(link)
            if (hello is None or hello.open) and self._keep(hello, Entry(*old)):
                continue
            budget.used -= old[0] + ENTRY_BYTES
            lost[link] = lost.get(link, 0) + len(old[3])

    def _keep(self, hello: _Hello | None, entry: Entry) -> bool:
        if hello is None:
            if not entry.data or len(self._hellos) >= MOST_HELLOS:
                return False
            hello = self._hellos[entry.link] = _Hello()
        return hello.offer(entry)

    def clear(self) -> None:
        """Let go of everything."""
        self._budget.used -= self.bytes + len(self.entries) * ENTRY_BYTES
        self._budget.used -= sum(each.size + ENTRY_BYTES for hello in self._hellos.values() for each in hello.entries)
        for old in self.entries:
            self.lost[old[2]] = self.lost.get(old[2], 0) + len(old[3])
        for link, hello in self._hellos.items():
            self.lost[link] = self.lost.get(link, 0) + len(hello.data)
            hello.open, hello.entries = False, []
        self.entries.clear()
        self.bytes = 0

    def kept(self) -> list[Entry]:
        """Return what is kept, oldest first; each link's first entry behind what was lost says so."""
        found = [entry for hello in self._hellos.values() for entry in hello.entries]
        lost = dict(self.lost)
        for entry in self.entries:
            whole = Entry(*entry)
            found.append(whole._replace(lost=whole.lost + lost.pop(whole.link, 0)) if whole.data else whole)
        return found
