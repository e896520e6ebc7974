"""The last bytes of one direction of a session, within bounds."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from spoe_guard.capture.record.entry import ENTRY_BYTES, Budget, Entry
from spoe_guard.capture.record.hellos import Hellos, forget_oldest
from spoe_guard.capture.record.tape import HEAD_BYTES, Tape
from spoe_guard.core.terms.anomalies import Side

if TYPE_CHECKING:
    from mypy_extensions import i64

MOST_LINKS: Final = 128  # the newest links whose byte counts and sockets are kept

# The mark of a read on the tape.
_HERE: Final = 0  # its bytes follow on the tape
_APART: Final = 1  # it is the next of ``entries``

PART_BYTES: Final = 512  # the most a part costs besides its room: four objects, their numbers, the overhead of malloc
FIRST_BYTES: Final = 512  # room of the first part: an idle session holds its HELLOs, and no room for more
PARTS: Final = 4  # a direction is dropped in at least this many parts; to drop single reads would cost something for each
SEVERAL: Final = -1  # links have reads in the part


class Part:
    """The unit in which a ring drops what it keeps.

    ``room``: bytes it was begun for; ``size``: bytes it counts; ``link_id``: the link of all its reads, or SEVERAL.
    """

    __slots__ = ("entries", "link_id", "room", "size", "tape")

    def __init__(self, room: "i64", size: "i64", link_id: "i64", tape: Tape, entries: list[Entry]) -> None:
        self.room = room
        self.size = size
        self.link_id = link_id
        self.tape = tape
        self.entries = entries

    def costs(self) -> "i64":
        """Return the bytes it counts towards the budget."""
        entries: i64 = len(self.entries)
        return PART_BYTES + self.size + entries * ENTRY_BYTES


class Ring:
    """The last bytes that ``side`` wrote: at most ``limit``, including the heads of reads, plus the HELLOs.

    The newest part has room for ``left`` bytes: call ``roll`` before an ``add`` or ``put`` of more.
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
        self._link: i64 = 0  # the link of all reads in the newest part, or SEVERAL
        self._read: i64 = 0  # bytes read on ``_last`` since the last change of links
        self._several = side is Side.AGENT  # HAProxy has one connection
        self._entries: list[Entry] = []
        self.limit = limit
        self._reads: dict[int, int] = {}  # bytes read before that, by link
        self._budget = budget
        self._older: i64 = 0  # bytes of the parts that are closed
        self._closed: list[Part] = []
        self._hellos = Hellos(budget)
        budget.used += PART_BYTES + self._room

    def add(self, now: float, link_id: "i64", data: bytes) -> None:
        """Keep a read that was forwarded unchanged, from the agent's ``link_id`` or to it."""
        size: i64 = len(data)
        self._turn_to(link_id)
        self._tape.put(now, link_id, _HERE, data)
        self._read += size
        self.left -= size + HEAD_BYTES

    def put(self, entry: Entry) -> None:
        """Keep a step that did more than forward a read."""
        self._turn_to(entry.link_id)
        self._tape.put(entry.now, entry.link_id, _APART, b"")
        self._entries.append(entry)
        self._budget.used += ENTRY_BYTES
        self._read += len(entry.data)
        self.left -= entry.size()

    def miss(self, link_id: int, read: int) -> None:
        """Count ``read`` bytes for which there is no room."""
        self._reads[link_id] = self._reads.pop(link_id, 0) + read
        forget_oldest(self._reads, MOST_LINKS)

    def begins_again(self, size: "i64") -> bool:
        """Drop all and return True if ``roll`` for ``size`` bytes would: so a long read can take the memory of the one before."""
        room = self._room
        if size > room or 2 * size <= room or 2 * room - self.left <= self.limit or self._closed or self._entries:
            return False
        if self._hellos.lacks(self._link):
            return False
        self._tape.forget()
        self.left = room
        return True

    def roll(self, size: "i64") -> None:
        """Begin a new part with room for at least ``size`` bytes, and drop the oldest ones until the bound holds."""
        room = self._room_for(size)
        self._put_by(room)
        gone = self.shrink()
        if gone is not None and gone.room == room:  # its memory is reused
            gone.tape.forget()
            self._tape = gone.tape
        else:
            self._tape = Tape(self._first)

    def is_full(self, size: "i64") -> bool:
        """Return whether ``roll`` for ``size`` bytes would drop something."""
        return self._older + self._room - self.left + self._room_for(size) > self.limit

    def shrink(self) -> Part | None:
        """Drop the oldest parts until the bound holds; return the last one dropped."""
        part = None
        while self._closed and self._older + self._room > self.limit:
            part = self._closed.pop(0)
            self._older -= part.size
            self._budget.used -= part.costs()
            if self._hellos.lacks(part.link_id):
                self._hellos.keep(self._told(part))
        return part

    def clear(self) -> None:
        """Drop everything; later reads are kept again."""
        self._drop_parts()
        self._hellos.clear()

    def pass_over(self, link_id: int, read: int) -> None:
        """Drop all but the HELLOs, and count ``read`` bytes on ``link_id`` as missing: newer reads would push both out anyway."""
        if self._closed or self.left < self._room:
            for part in (*self._closed, self._newest()):
                if self._hellos.lacks(part.link_id):
                    self._hellos.keep(self._told(part))
            self._drop_parts()
        self._hellos.break_off(link_id)
        self.miss(link_id, read)

    def end(self) -> None:
        """Drop everything, for good."""
        self.clear()
        self._budget.used -= PART_BYTES + self._room

    def kept(self) -> list[Entry]:
        """Return the kept entries, HELLOs first, then oldest first; a link's first entry counts the bytes ``lost`` before it."""
        hellos = self._hellos.kept()
        found = [entry for part in (*self._closed, self._newest()) for entry in self._told(part)]
        lost = self._reads | {self._last: self._reads.get(self._last, 0) + self._read}
        for entry in (*hellos, *found):
            lost[entry.link_id] = lost.get(entry.link_id, 0) - len(entry.data)
        for number, entry in enumerate(found):
            if entry.data and lost.get(entry.link_id, 0) > 0:
                found[number] = entry._replace(lost=entry.lost + lost.pop(entry.link_id))
        return hellos + found

    def _drop_parts(self) -> None:
        self._put_by(self._first)
        self._tape = Tape(self._first)
        for part in self._closed:
            self._budget.used -= part.costs()
        self._closed.clear()
        self._older = 0

    def _turn_to(self, link_id: "i64") -> None:
        """Count the next reads for ``link_id``."""
        on = link_id if self._several else 0
        if on == self._last:
            return
        if self._read:
            self.miss(self._last, self._read)
        self._read = 0
        self._last = on
        self._link = SEVERAL if self.left < self._room else on

    def _told(self, part: Part) -> Iterator[Entry]:
        """Yield the entries of ``part``."""
        tape, apart, at = part.tape, iter(part.entries), 0
        while at < tape.used:
            now, link_id, mark, data = tape.read(at)
            at += HEAD_BYTES + len(data)
            if mark == _APART:
                yield next(apart)
            elif self._several:
                yield Entry(now, link_id, data, 0, to_haproxy=data)
            else:
                yield Entry(now, 0, data, link_id, to_agent=data)

    def _newest(self) -> Part:
        return Part(self._room, self._room - self.left, self._link, self._tape, self._entries)

    def _room_for(self, size: "i64") -> "i64":
        """Return the room of the next part: a power of two times the usual, up to PARTS times, so that tapes can be reused."""
        room = self._part
        while room < size and room < PARTS * self._part:
            room *= 2
        return max(size, room)

    def _put_by(self, room: "i64") -> None:
        """Close the newest part, and begin one with ``room`` bytes; the caller sets ``_tape`` for it."""
        used = room - self.left  # the whole room of the newest part counts, used or not
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
    """Return the room of a part in a ring with this ``limit``: a power of two."""
    room = 1
    while 2 * PARTS * room <= limit:
        room *= 2
    return room


def least_held(limit: int) -> int:
    """Return the bytes that an empty ring with this ``limit`` counts towards the budget."""
    return PART_BYTES + min(FIRST_BYTES, part_room(limit))
