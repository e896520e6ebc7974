"""Where the recorder puts what is read first: one behind the other, whichever session it is of.

Most of what is recorded is never looked at, and is not to cost more than to be written: a place of its own for each session is in
no cache when its turn comes, the end of one journal always is. What is let go of at its other end goes to the recording of its
session where it is still among the last that were read there; of a busy one it is not.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from spoe_guard.capture.record.entry import Budget
from spoe_guard.capture.record.ring import part_room
from spoe_guard.capture.record.tape import HEAD_BYTES, Tape
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.net.witness import Track

if TYPE_CHECKING:
    from mypy_extensions import i64

# A position is the number of its page, from 1 up, and where it is there; 0 is nowhere. The page that is written stays in the
# nearest caches. A read is marked with the position of the one before on the same track.
PAGE_BYTES: Final = 32768
_PAGE: Final = 16  # the bit from which on a position is the number of its page
_PLACE: Final = 0xFFFF  # the bits below

LONGEST_BYTES: Final = 512  # of a read; to write a longer one where the one before was costs less
LEAST_BYTES: Final = 4 * PAGE_BYTES  # the journal is as long as what all sessions may keep, and no shorter than this
SHARE: Final = 2  # of the budget it takes no more than one part in so many
SEGMENTS: Final = 8  # it is let go of in so many parts


class Recorded(Protocol):
    """A session whose reads are in the journal."""

    def settle(self, side: Side) -> None:
        """Take what is in the journal of ``side``."""


class Read(NamedTuple):
    """What was read on ``track`` at ``now``; ``link``: see ``Ring.add``. ``at``: its position, which grows with time."""

    at: int
    track: Track
    now: float
    link: int
    data: bytes


class Segment:
    """What is let go of at once. ``tracks``: of each that has reads in it the ``weight`` of those before."""

    __slots__ = ("pages", "tracks")

    def __init__(self) -> None:
        self.pages: i64 = 0
        self.tracks: dict[Track, int] = {}


class Journal:
    """The reads of the sessions that have ``recordings``, by number. ``session_bytes``: the most that one keeps of a direction.

    ``make_room`` is called when it takes more of the budget.
    """

    __slots__ = (
        "_at", "_budget", "_first", "_make_room", "_page", "_pages", "_recordings", "_segments", "_spare", "_start",
        "session_bytes",
    )  # fmt: skip

    def __init__(
        self, budget: Budget, recordings: Mapping[int, Recorded], make_room: Callable[[], None], session_bytes: int
    ) -> None:
        self.session_bytes = session_bytes
        self._budget = budget
        self._recordings = recordings
        self._make_room = make_room
        self._page = Tape(0)  # the newest
        self._pages: list[Tape] = []
        self._spare: list[Tape] = []  # of what was let go of last: memory that is there already
        self._segments: list[Segment] = []
        self._first: i64 = 1  # the number of the oldest page
        self._at: i64 = PAGE_BYTES  # where the next read goes; at the end of a page there is no room for one
        self._start: i64 = 0  # where the newest segment begins

    def add(self, track: Track, now: float, link: "i64", data: bytes) -> bool:
        """Keep a read that went on as it came, of at most LONGEST_BYTES; False: the budget has no room for that."""
        size: i64 = len(data)
        if (self._at & _PLACE) + size + HEAD_BYTES > PAGE_BYTES and not self._turn():
            return False
        at, before = self._at, track.noted
        if before < self._start:
            self._segments[-1].tracks[track] = track.weight
        self._page.put(now, link, before, data)
        track.noted = at
        track.read += size
        track.weight += size + HEAD_BYTES
        self._at = at + size + HEAD_BYTES
        return True

    def take(self, tracks: Sequence[Track]) -> tuple[list[Read], dict[int, int]]:
        """Return what is there of ``tracks``, oldest first, and of each link how many bytes there were before; forget it."""
        reads = [read for track in tracks for read in self._of(track)]
        reads.sort(key=lambda read: read.at)
        gone = {track.link: track.read - track.settled for track in tracks}
        for read in reads:
            gone[read.track.link] -= len(read.data)
        self.forget(tracks)
        return reads, gone

    def forget(self, tracks: Iterable[Track]) -> None:
        """Drop everything stored for ``tracks``."""
        for track in tracks:
            if track.noted > 0:
                track.noted = 0
                track.settled = track.read
                for segment in self._segments:
                    segment.tracks.pop(track, None)

    def clear(self) -> None:
        """Let go of everything."""
        for segment in self._segments:
            self.forget(list(segment.tracks))
        self._budget.used -= (len(self._pages) + len(self._spare)) * PAGE_BYTES
        self._segments.clear()
        self._pages.clear()
        self._spare.clear()
        self._first = (self._at >> _PAGE) + 1
        self._at = (self._at >> _PAGE << _PAGE) + PAGE_BYTES

    # --- inside ------------------------------------------------------------------------------------------------------

    def _of(self, track: Track) -> list[Read]:
        """Return what is there of ``track``, newest first. The oldest refers to what is gone."""
        reads: list[Read] = []
        at = track.noted
        while at >> _PAGE >= self._first:
            now, link, before, data = self._pages[(at >> _PAGE) - self._first].read(at & _PLACE)
            reads.append(Read(at, track, now, link, data))
            at = before
        return reads

    def _turn(self) -> bool:
        """Begin a new page; False: there is no room for one."""
        most = min(max(LEAST_BYTES, 2 * self.session_bytes * len(self._recordings)), self._budget.limit // SHARE)
        if most < 2 * PAGE_BYTES:
            return False
        if not self._segments or self._segments[-1].pages * PAGE_BYTES * SEGMENTS >= most:
            self._segments.append(Segment())
            self._start = ((self._at >> _PAGE) + 1) << _PAGE
        while len(self._segments) > 1 and (len(self._pages) + 1) * PAGE_BYTES > most:
            self._drop_oldest()
        if not self._spare:
            self._spare.append(Tape(PAGE_BYTES))
            self._budget.used += PAGE_BYTES
        self._page = self._spare.pop()
        self._page.forget()
        self._pages.append(self._page)
        self._segments[-1].pages += 1
        self._at = ((self._at >> _PAGE) + 1) << _PAGE
        self._make_room()
        return True

    def _drop_oldest(self) -> None:
        """Let go of the oldest segment."""
        oldest, newer = self._segments[0], self._segments[1].tracks
        # A session needs no more of the direction that says more than a ring keeps, of the other no more than a part of that:
        # older ACKs than there are NOTIFYs help nobody.
        part: i64 = part_room(self.session_bytes)
        enough: i64 = self.session_bytes - part
        busy: set[int] = set()  # sessions
        lesser: list[Track] = []  # of these, if so
        needed: list[Track] = []
        for track in oldest.tracks:
            behind: i64 = track.weight - newer[track] if track in newer else 0
            if behind >= enough:
                busy.add(track.number)
            elif behind >= part:
                lesser.append(track)
            else:
                needed.append(track)
        needed += [track for track in lesser if track.number not in busy]
        for track in needed:
            self._recordings[track.number].settle(track.side)
        self._budget.used -= len(self._spare) * PAGE_BYTES
        self._spare = self._pages[: oldest.pages]
        del self._segments[0], self._pages[: oldest.pages]
        self._first += oldest.pages
