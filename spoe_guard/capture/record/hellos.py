"""The HELLOs of the links of one direction, kept longer than the rest: no later frame can be judged without its HELLO."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, TypeVar

from spoe_guard.capture.record.entry import ENTRY_BYTES, Budget, Entry
from spoe_guard.wire import frame, walk
from spoe_guard.wire.frame import FrameType

if TYPE_CHECKING:
    from mypy_extensions import i64

HELLO_BYTES: Final = 1024  # the longest that is kept
MOST_HELLOS: Final = 32  # per session; if it has more links, those of the newest stay
_HELLOS: Final = (FrameType.HAPROXY_HELLO, FrameType.AGENT_HELLO)

_K = TypeVar("_K")
_V = TypeVar("_V")


class _Hello:
    """The first entries of a link, up to the end of its first frame, which must be a HELLO."""

    __slots__ = ("data", "entries", "open")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.data = b""
        self.open = True

    def forget(self) -> int:
        """Drop its entries and take no more; return the bytes it counted towards the budget."""
        size = sum(entry.size() + ENTRY_BYTES for entry in self.entries)
        self.open, self.entries = False, []
        return size

    def offer(self, entry: Entry) -> int:
        """Keep ``entry`` if it is part of the HELLO; return by how many bytes the budget changes (negative: all was dropped)."""
        data = self.data + entry.data
        has_type = len(data) > frame.LENGTH_BYTES
        if entry.lost or len(data) > HELLO_BYTES or (has_type and data[frame.LENGTH_BYTES] not in _HELLOS):
            return -self.forget()
        self.entries.append(entry)
        self.data = data
        if has_type:
            self.open = len(data) < frame.LENGTH_BYTES + walk.length_at(data, 0)
        return entry.size() + ENTRY_BYTES


class Hellos:
    """The HELLO of each link; they count towards ``budget``."""

    __slots__ = ("_budget", "_of")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._of: dict[int, _Hello] = {}

    def lacks(self, link_id: "i64") -> bool:
        """Return whether part of the HELLO of ``link_id`` may still be missing; usually it is complete."""
        hello = self._of.get(link_id)
        return hello is None or hello.open

    def keep(self, entries: Iterable[Entry]) -> None:
        """Keep those of ``entries`` that are part of a HELLO; the caller drops them all."""
        for entry in entries:
            hello = self._of.get(entry.link_id)
            if hello is None and entry.data:
                hello = self._of[entry.link_id] = _Hello()
            if hello is not None and hello.open:
                self._budget.used += hello.offer(entry)
        for old in forget_oldest(self._of, MOST_HELLOS):
            self._budget.used -= old.forget()

    def break_off(self, link_id: int) -> None:
        """Drop the HELLO of ``link_id`` unless it is complete: the rest of it will be missing."""
        hello = self._of.get(link_id)
        if hello is not None and hello.open:
            self._budget.used -= hello.forget()

    def clear(self) -> None:
        """Drop all of them, and take no more for these links."""
        for hello in self._of.values():
            self._budget.used -= hello.forget()

    def kept(self) -> list[Entry]:
        """Return the kept entries, grouped by link."""
        return [entry for hello in self._of.values() for entry in hello.entries]


def forget_oldest(of_links: dict[_K, _V], most: int) -> list[_V]:
    """Remove the oldest members of ``of_links`` until ``most`` are left; return those removed."""
    return [of_links.pop(next(iter(of_links))) for _ in range(len(of_links) - most)]
