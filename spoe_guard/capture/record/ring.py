"""The last bytes of one direction of a session, within bounds."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from spoe_guard.capture.record.entry import ENTRY_BYTES, Budget, Entry
from spoe_guard.capture.record.hellos import Hellos, forget_oldest
from spoe_guard.capture.record.tape import HEAD_BYTES, Tape
from spoe_guard.core.terms.anomalies import Side

if TYPE_CHECKING:
    from mypy_extensions import i64

MOST_LINKS: Final = 128  # of so many it is known how much was read on them, and between whom; of more: of the newest

# What a read is marked with on the tape.
_HERE: Final = 0  # its bytes are behind it
_APART: Final = 1  # it is the next of ``entries``

PART_BYTES: Final = 512  # what a part costs beside its room, at most: four objects, numbers in them, what malloc adds
FIRST_BYTES: Final = 512  # room of the first part: an idle session holds its HELLOs and no place for more
PARTS: Final = 4  # a direction is let go of in so many parts at least: read by read, every one would pay for it
SEVERAL: Final = -1  # links, whose reads are in one part


class Part:
    """What is let go of at once.

    ``room``: for so many bytes it was begun; ``size``: what it counts; ``link``: where all of it was read, or SEVERAL.
    """

    __slots__ = ("entries", "link", "room", "size", "tape")

    def __init__(self, room: "i64", size: "i64", link: "i64", tape: Tape, entries: list[Entry]) -> None:
        self.room = room
        self.size = size
        self.link = link
        self.tape = tape
        self.entries = entries

    def costs(self) -> "i64":
        """Return what it counts towards the budget."""
        entries: i64 = len(self.entries)
        return PART_BYTES + self.size + entries * ENTRY_BYTES


class Ring:
    """What ``side`` wrote: at most ``limit`` bytes, with the heads of reads, and the HELLOs.

    The newest part has room for ``left`` bytes: ``roll`` before there is more to ``add`` or ``put``.
    """

    __slots__ = (
        "_budget", "_closed", "_entries", "_first", "_hellos", "_last", "_link", "_older", "_part", "_read", "_reads", "_room",
        "_several", "_tape", "left", "limit",
    )  # fmt: skip

    def __init__(self, side: Side, limit: "i64", budget: Budget) -> None:
        self._part: i64 = part_room(limit)
        self._first: i64 = min(FIRST_BYTES, self._part)
        self._tape = Tape(self._first)
        self._room = self._first
        self.left = self._first
        self._last: i64 = 0  # the link of the last read
        self._link: i64 = 0  # of all in the newest part, or SEVERAL
        self._read: i64 = 0  # bytes read on ``_last`` since another one had its turn
        self._several = side is Side.AGENT  # HAProxy has one connection
        self._entries: list[Entry] = []
        self.limit = limit
        self._reads: dict[int, int] = {}  # by link, before that
        self._budget = budget
        self._older: i64 = 0  # bytes of the parts that are closed
        self._closed: list[Part] = []
        self._hellos = Hellos(budget)
        budget.used += PART_BYTES + self._room

    def add(self, now: float, link: "i64", data: bytes) -> None:
        """Keep a read that went on as it came, from the agent's ``link`` or to it."""
        size: i64 = len(data)
        self._turn_to(link)
        self._tape.put(now, link, _HERE, data)
        self._read += size
        self.left -= size + HEAD_BYTES

    def put(self, entry: Entry) -> None:
        """Keep a step that is more than that."""
        self._turn_to(entry.link)
        self._tape.put(entry.now, entry.link, _APART, b"")
        self._entries.append(entry)
        self._budget.used += ENTRY_BYTES
        self._read += len(entry.data)
        self.left -= entry.size()

    def miss(self, link: int, read: int) -> None:
        """Count ``read`` bytes for which there is no room."""
        self._reads[link] = self._reads.pop(link, 0) + read
        forget_oldest(self._reads, MOST_LINKS)

    def begins_again(self, size: "i64") -> bool:
        """Let go of all there is, if to roll for ``size`` bytes were that: long reads, each in the place of the one before."""
        room = self._room
        if size > room or 2 * size <= room or 2 * room - self.left <= self.limit or self._closed or self._entries:
            return False
        if self._hellos.lacks(self._link):
            return False
        self._tape.forget()
        self.left = room
        return True

    def roll(self, size: "i64") -> None:
        """Begin a new part, with room for ``size`` bytes at least, and let go of the oldest until the bound holds."""
        room = self._room_for(size)
        self._put_by(room)
        gone = self.shrink()
        if gone is not None and gone.room == room:  # its memory is used again
            gone.tape.forget()
            self._tape = gone.tape
        else:
            self._tape = Tape(self._first)

    def is_full(self, size: "i64") -> bool:
        """Whether to roll for ``size`` bytes is to let go of something."""
        return self._older + self._room - self.left + self._room_for(size) > self.limit

    def shrink(self) -> Part | None:
        """Let go of the oldest parts until the bound holds; return the last of them."""
        part = None
        while self._closed and self._older + self._room > self.limit:
            part = self._closed.pop(0)
            self._older -= part.size
            self._budget.used -= part.costs()
            if self._hellos.lacks(part.link):
                self._hellos.keep(self._told(part))
        return part

    def clear(self) -> None:
        """Let go of everything; what comes next is kept again."""
        self._drop_parts()
        self._hellos.clear()

    def pass_over(self, link: int, read: int) -> None:
        """Let go of all but HELLOs, and count ``read`` bytes that came behind it: what comes now leaves no room for either."""
        if self._closed or self.left < self._room:
            for part in (*self._closed, self._newest()):
                if self._hellos.lacks(part.link):
                    self._hellos.keep(self._told(part))
            self._drop_parts()
        self._hellos.break_off(link)
        self.miss(link, read)

    def end(self) -> None:
        """Let go of everything for good."""
        self.clear()
        self._budget.used -= PART_BYTES + self._room

    def kept(self) -> list[Entry]:
        """Return what is kept, oldest first; each link's first entry behind what was lost says how much that was."""
        hellos = self._hellos.kept()
        found = [entry for part in (*self._closed, self._newest()) for entry in self._told(part)]
        lost = self._reads | {self._last: self._reads.get(self._last, 0) + self._read}
        for entry in (*hellos, *found):
            lost[entry.link] = lost.get(entry.link, 0) - len(entry.data)
        for number, entry in enumerate(found):
            if entry.data and lost.get(entry.link, 0) > 0:
                found[number] = entry._replace(lost=entry.lost + lost.pop(entry.link))
        return hellos + found

    def _drop_parts(self) -> None:
        self._put_by(self._first)
        self._tape = Tape(self._first)
        for part in self._closed:
            self._budget.used -= part.costs()
        self._closed.clear()
        self._older = 0

    def _turn_to(self, link: "i64") -> None:
        """Have what comes next counted for ``link``."""
        on = link if self._several else 0
        if on == self._last:
            return
        if self._read:
            self.miss(self._last, self._read)
        self._read = 0
        self._last = on
        self._link = SEVERAL if self.left < self._room else on

    def _told(self, part: Part) -> Iterator[Entry]:
        """Yield what is in ``part``."""
        tape, apart, at = part.tape, iter(part.entries), 0
        while at < tape.used:
            now, link, mark, data = tape.read(at)
            at += HEAD_BYTES + len(data)
            if mark == _APART:
                yield next(apart)
            elif self._several:
                yield Entry(now, link, data, 0, to_haproxy=data)
            else:
                yield Entry(now, 0, data, link, to_agent=data)

    def _newest(self) -> Part:
        return Part(self._room, self._room - self.left, self._link, self._tape, self._entries)

    def _room_for(self, size: "i64") -> "i64":
        """Return a power of two, up to what PARTS have: a tape takes its memory so, and one is soon used again."""
        room = self._part
        while room < size and room < PARTS * self._part:
            room *= 2
        return max(size, room)

    def _put_by(self, room: "i64") -> None:
        """Put the newest part to the others, and begin one with ``room`` bytes, for which ``_tape`` is still to be set."""
        used = room - self.left  # of the newest part all counts that it has room for
        if self.left < self._room:
            newest = self._newest()
            self._closed.append(newest)
            self._older += newest.size
            used += PART_BYTES
            self._entries = []
        self._budget.used += used
        self._link = self._last
        self.left = self._room = room


def part_room(limit: int) -> int:
    """Return the room of a part in a ring of that ``limit``: a power of two."""
    room = 1
    while 2 * PARTS * room <= limit:
        room *= 2
    return room


def least_held(limit: int) -> int:
    """Return what a ring of that ``limit`` counts towards the budget before anything is in it."""
    return PART_BYTES + min(FIRST_BYTES, part_room(limit))
