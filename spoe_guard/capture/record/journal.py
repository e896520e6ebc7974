"""The first place for recorded reads: one journal with the reads of all sessions, in order of time.

Most recorded reads are never looked at, and should cost no more than one write. A buffer per session would have left the CPU
caches when its session reads again; the end of one journal always is in them. A read that leaves the journal at its old end moves
to the recording of its session if it is still among the last ones there; in a busy session it is not.
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

# A position is a page number, from 1 up, and an offset in that page; 0 means none. The page in use stays in the nearest caches.
# Each read holds the position of the one before it on the same track.
PAGE_BYTES: Final = 32768
_PAGE: Final = 16  # the bit where the page number of a position begins
_PLACE: Final = 0xFFFF  # the bits below: the offset in the page

LONGEST_BYTES: Final = 512  # of a read; a longer one costs less in a ring, where it overwrites the one before
LEAST_BYTES: Final = 4 * PAGE_BYTES  # the journal is as long as what all sessions may keep, and no shorter than this
SHARE: Final = 2  # the journal takes at most 1/SHARE of the budget
SEGMENTS: Final = 8  # it is dropped in this many parts


class Recorded(Protocol):
    """A session whose reads are in the journal."""

    def settle(self, side: Side) -> None:
        """Move the reads of ``side`` from the journal to the recording."""


class Read(NamedTuple):
    """A read on ``track`` at ``now``; ``link_id``: see ``Ring.add``. ``at``: its position, which grows with time."""

    at: int
    track: Track
    now: float
    link_id: int
    data: bytes


class Segment:
    """The unit in which the journal drops reads. ``tracks``: those with reads in it, and their ``weight`` before."""

    __slots__ = ("pages", "tracks")

    def __init__(self) -> None:
        self.pages: i64 = 0
        self.tracks: dict[Track, int] = {}


class Journal:
    """The reads of the sessions with ``recordings``, by number. ``session_bytes``: the most that a session keeps per direction.

    It calls ``make_room`` when it takes more of the budget.
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
        self._spare: list[Tape] = []  # pages dropped last, for reuse: their memory is allocated already
        self._segments: list[Segment] = []
        self._first: i64 = 1  # the number of the oldest page
        self._at: i64 = PAGE_BYTES  # where the next read goes; the end of a page has no room, so the first read begins one
        self._start: i64 = 0  # where the newest segment begins

    def add(self, track: Track, now: float, link_id: "i64", data: bytes) -> bool:
        """Keep a read that was forwarded unchanged, of at most LONGEST_BYTES; False: the budget has no room."""
        size: i64 = len(data)
        if (self._at & _PLACE) + size + HEAD_BYTES > PAGE_BYTES and not self._turn():
            return False
        at, before = self._at, track.noted
        if before < self._start:
            self._segments[-1].tracks[track] = track.weight
        self._page.put(now, link_id, before, data)
        track.noted = at
        track.read += size
        track.weight += size + HEAD_BYTES
        self._at = at + size + HEAD_BYTES
        return True

    def take(self, tracks: Sequence[Track]) -> tuple[list[Read], dict[int, int]]:
        """Remove the reads of ``tracks`` and return them, oldest first, with the bytes already dropped before them, by link."""
        reads = [read for track in tracks for read in self._of(track)]
        reads.sort(key=lambda read: read.at)
        gone = {track.link_id: track.read - track.settled for track in tracks}
        for read in reads:
            gone[read.track.link_id] -= len(read.data)
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
        """Drop everything."""
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
        """Return the reads of ``track``, newest first. The oldest refers to a dropped one."""
        reads: list[Read] = []
        at = track.noted
        while at >> _PAGE >= self._first:
            now, link_id, before, data = self._pages[(at >> _PAGE) - self._first].read(at & _PLACE)
            reads.append(Read(at, track, now, link_id, data))
            at = before
        return reads

    def _turn(self) -> bool:
        """Begin a new page; False: the budget has no room for one."""
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
        """Drop the oldest segment; move the reads that are still needed to their recordings."""
        oldest, newer = self._segments[0], self._segments[1].tracks
        # A session needs no more of its busier direction than a ring keeps, and of the other no more than a part of a ring: ACKs
        # older than the kept NOTIFYs are of no use.
        part: i64 = part_room(self.session_bytes)
        enough: i64 = self.session_bytes - part
        busy: set[int] = set()  # sessions
        lesser: list[Track] = []  # needed unless their session is busy
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
