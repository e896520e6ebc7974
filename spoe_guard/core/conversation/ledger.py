"""The open NOTIFYs of an agent link, and the fate of the last few of the session.

Readable code identifies a NOTIFY by ``ids``, the raw bytes of its stream-id and frame-id: a varint has one form for each value,
so comparing bytes compares ids in full width without decoding them (HAProxy itself cuts them to 32 bits). Internally, and on the
hot lane, both ids are one positive number, the ``key``. Ids too large for a key, which no HAProxy sends, are kept separately and
are not ordinary.

Compiled by Cython, see the .pxd: what is typed there is a C number or array.
"""

import enum
import math
from array import array
from collections.abc import Iterator
from typing import Any, Final

from spoe_guard.core.conversation.by_age import ByAge
from spoe_guard.core.terms.tally import Tally
from spoe_guard.wire import varint, walk

REMEMBERED: Final = 512  # settled NOTIFYs of a session

# HAProxy waits for an ACK no longer than its timeout processing, which is well below this. A stream whose NOTIFY was given up
# longer ago has continued without the ACK, so the end of the session cannot leave it waiting.
LOSS_MATTERS_S: Final = 30.0

NOT_OPEN: Final = -math.inf  # instead of the time at which a NOTIFY was opened

KEY: Final = 4  # a key is what ``walk.pack_ids`` returns, without this many bits for the length
_FRAME_ID_BITS: Final = 26
_KEY = KEY  # C numbers, see the .pxd
_NOT_OPEN = NOT_OPEN
_REMEMBERED = REMEMBERED

_FEWEST = 16  # NOTIFYs that the smallest table has room for
_SPARE = 1024  # an empty table with more room than this is discarded
# The slot where the search for a key begins: the key times a number that nobody outside knows. Otherwise whoever sends NOTIFYs
# could choose ids that all begin at the same slot. HAProxy counts its streams, and what is counted, times an unlucky number, lies
# close together: so its halves are mixed, and it is multiplied once more, by 2^64 over the golden ratio.
_MASK_64 = (1 << 64) - 1
_SALT = (hash("NOTIFY") | 1) & _MASK_64
_SPREAD = 0x9E3779B97F4A7C15


@enum.unique
class Fate(enum.Enum):
    """What is known of a NOTIFY."""

    OPEN = "open"
    ANSWERED = "answered"  # its ACK has passed
    GIVEN_UP = "given_up"  # the guard, or HAProxy, no longer waits for its ACK
    UNKNOWN = "unknown"  # never open on this session, or settled too long ago to remember


def key_of(ids: bytes) -> int:
    """Return the key of ``ids``; 0 if they are too large for one, or both 0."""
    packed = walk.pack_ids(ids, 0, len(ids))
    return packed >> _KEY if packed & 15 == len(ids) else 0


def _ids_of(key: int) -> bytes:
    return varint.encode(key >> _FRAME_ID_BITS) + varint.encode(key & ((1 << _FRAME_ID_BITS) - 1))


class _Ring:
    """The last ``REMEMBERED`` keys; those given up are negative."""

    def __init__(self) -> None:
        self._keys = array("q", bytes(8 * _REMEMBERED))
        self._next = 0  # where the next one goes

    def put(self, key: int) -> None:
        self._keys[self._next] = key
        self._next = self._next + 1 if self._next + 1 < _REMEMBERED else 0

    def find(self, key: int) -> int:
        """Return the most recent entry for ``key`` (negative: given up), 0 if there is none."""
        at = self._next
        for _ in range(_REMEMBERED):
            at = at - 1 if at > 0 else _REMEMBERED - 1
            found = self._keys[at]
            if found == key or found == -key:  # noqa: PLR1714  numbers of C
                return found
        return 0


class History:
    """How many NOTIFYs of a session are open, and the fate of the last ``REMEMBERED``, on all links together.

    ``open``: NOTIFYs that agents have received and not yet answered. Only ``opened`` and ``closed`` change it, together with the
    route's ``tally.open_notifies``; only ledgers call them.
    """

    def __init__(self, tally: Tally | None = None) -> None:
        self.open = 0
        self._tally = tally or Tally()
        self._lost = 0
        self._lost_at = -math.inf
        self._ring: _Ring | None = None  # None until the first one
        self._large: dict[bytes, Fate] = {}  # ids without a key

    def opened(self) -> None:
        """Count one NOTIFY as opened."""
        self.open += 1
        self._tally.open_notifies += 1

    def closed(self, count: int) -> None:
        """Count ``count`` NOTIFYs as no longer open, for whatever reason."""
        self.open -= count
        self._tally.open_notifies -= count

    def remember(self, ids: bytes, fate: Fate) -> None:
        """Remember for a while how the NOTIFY ``ids`` was settled."""
        key = key_of(ids)
        if key:
            self.record(-key if fate is Fate.GIVEN_UP else key)
            return
        self._large.pop(ids, None)
        self._large[ids] = fate
        if len(self._large) > REMEMBERED:
            del self._large[next(iter(self._large))]

    def record(self, key: int) -> None:
        """Remember for a while that ``key`` was answered, or given up if it is negative."""
        if self._ring is None:
            self._ring = _Ring()
        self._ring.put(key)

    def give_up(self, ids: bytes, now: float, *, answered: bool) -> None:
        """Remember that ``ids`` was settled without the agent's ACK. ``answered``: HAProxy got another ACK, or wants none."""
        self.remember(ids, Fate.GIVEN_UP)
        if not answered:
            self.lose(1, now)

    def lose(self, count: int, now: float) -> None:
        """So many NOTIFYs got no ACK at all."""
        self._lost = self.lost(now) + count
        self._lost_at = now

    def lost(self, now: float) -> int:
        """Return how many NOTIFYs got no ACK at all and may still be awaited by HAProxy."""
        return self._lost if now < self._lost_at + LOSS_MATTERS_S else 0

    def fate(self, ids: bytes) -> Fate:
        """Return the fate of ``ids``, which is not open."""
        key = key_of(ids)
        if not key:
            return self._large.get(ids, Fate.UNKNOWN)
        found = self._ring.find(key) if self._ring is not None else 0
        if not found:
            return Fate.UNKNOWN
        return Fate.ANSWERED if found > 0 else Fate.GIVEN_UP


class Ledger:
    """The NOTIFYs that one agent has, each with the time HAProxy sent it, in the order in which the agent got them.

    Works like a dict of times by ids, and has what the hot lane needs of the link. ``history``: the session's. ``opened``: how
    many the agent was ever given.
    ``answered_once``: an ACK has come. ``heard``: when the agent last sent something, monotonic seconds. ``most_kept``: bytes of
    NOTIFY copies to keep (``redispatch: unanswered``), 0 for none; a NOTIFY whose copy does not fit counts as unanswered if the
    link is lost.

    For the lane: ``size``, most bytes of a frame behind its length; ``longest_ack``, those of an ACK that may pass; ``most``,
    NOTIFYs that may be open; ``takes``, the next NOTIFY may go to this link; ``answers``, its ACKs may pass; ``passed``, bytes
    that passed since the session's last step; ``carrier``, the object that writes to the agent (opaque here).
    """

    def __init__(self, history: History | None = None) -> None:
        self.history = history or History()
        self.answered_once = False
        self.heard = 0.0
        self.most_kept = 0
        self.kept = 0  # bytes
        self.size = 0
        self.longest_ack = 0
        self.most = 0
        self.takes = False
        self.answers = False
        self.passed = 0
        self.carrier: Any = None
        self.count = 0  # of NOTIFYs with a key
        self.large = 0  # of NOTIFYs without a key
        self.opened = 0
        # Usually only one NOTIFY is open: these fields hold it, and the table is not touched.
        self._one = 0
        self._one_since = 0.0
        self._one_copy: bytes | None = None
        self._table: Any = None  # holds all of them once two are open
        self._unordered = False  # some are older than one before them
        self._newest = NOT_OPEN
        self._late: Any = None  # ids of those, also of some that are settled; None: there never were any
        self._large: dict[bytes, tuple[float, bytes | None]] = {}
        self._large_by_age: Any = None  # the same ids; None: there never were any

    # --- by key: what the hot lane calls -------------------------------------------------------------------------------

    def open(self, key: int, since: float, copy: bytes | None) -> bool:
        """Open the NOTIFY ``key``, unless it is already open (False); keep ``copy`` if there is room for it."""
        if self.count == 0:
            self._one = key
            self._one_since = since
            self._unordered = False
            if copy is not None:
                self._one_copy = self._take_copy(copy)
        else:
            if self._one != 0:
                if self._one == key:
                    return False
                self._spread()
            slot = self._table.free(key)
            if slot < 0:
                return False
            self._table.put(slot, key, since, None if copy is None else self._take_copy(copy))
        if since < self._newest and self.count > 0:
            self._came_late(key, since)
        else:
            self._newest = since
        self.count += 1
        self.opened += 1
        self.history.opened()
        return True

    def settle(self, key: int) -> float:
        """Settle the NOTIFY ``key`` and return when it was opened; ``NOT_OPEN`` if it is not open."""
        if self._one == key:
            self._one = 0
            self.count = 0
            self.history.closed(1)
            if self._one_copy is not None:
                self.kept -= len(self._one_copy)
                self._one_copy = None
            return self._one_since
        if self._one != 0 or self.count == 0:
            return _NOT_OPEN
        table = self._table
        slot = table.find(key)
        if slot < 0:
            return _NOT_OPEN
        since: float = table.since(slot)
        if table.keeps:
            self._drop_copy(table.copy(slot))
        self.count -= 1
        self.history.closed(1)
        table.remove(slot, self.count)
        if self.count == 0 and table.room > _SPARE:
            self._table = None
        return since

    def since_of(self, key: int) -> float:
        """Return when the NOTIFY ``key`` was opened; ``NOT_OPEN`` if it is not open."""
        if self._one == key:
            return self._one_since
        if self._one != 0 or self.count == 0:
            return _NOT_OPEN
        slot = self._table.find(key)
        since: float = _NOT_OPEN if slot < 0 else self._table.since(slot)
        return since

    # --- by ids: what readable code calls ------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self.count + self.large

    def __contains__(self, ids: bytes) -> bool:
        key = key_of(ids)
        return self.since_of(key) != NOT_OPEN if key else ids in self._large

    def __getitem__(self, ids: bytes) -> float:
        key = key_of(ids)
        since = self.since_of(key) if key else self._large.get(ids, (NOT_OPEN, None))[0]
        if since == NOT_OPEN:
            raise KeyError(ids)
        return since

    def __iter__(self) -> Iterator[bytes]:
        """Iterate in order, except that ids without a key come last."""
        return iter([*map(_ids_of, self._in_order()), *self._large])

    def items(self) -> list[tuple[bytes, float]]:
        """Return the ids and time of each, in order."""
        return [(ids, self[ids]) for ids in self]

    def add(self, ids: bytes, since: float, copy: bytes | None = None) -> None:
        """Open the NOTIFY ``ids``, which is not open; keep ``copy`` if there is room for it."""
        key = key_of(ids)
        if key:
            self.open(key, since, copy)
        else:
            self._large[ids] = (since, None if copy is None else self._take_copy(copy))
            self._large_by_age = self._large_by_age or ByAge()
            self._large_by_age.add(ids, since)
            self.large = len(self._large)
            self.opened += 1
            self.history.opened()

    def pop(self, ids: bytes) -> float:
        """Settle the NOTIFY ``ids``, which is open, and return when it was opened."""
        since = self[ids]
        key = key_of(ids)
        if key:
            self.settle(key)
        else:
            self.kept -= len(self._large.pop(ids)[1] or b"")
            self._large_by_age.discard(ids)
            self.large = len(self._large)
            self.history.closed(1)
        return since

    def copy(self, ids: bytes) -> bytes | None:
        """Return the NOTIFY ``ids``, which is open, as it was sent; None if no copy was kept."""
        key = key_of(ids)
        if not key:
            return self._large[ids][1]
        if self._one == key:
            return self._one_copy
        slot = -1 if self._table is None else self._table.find(key)
        return None if slot < 0 else self._table.copy(slot)

    def clear(self) -> None:
        """Remove all NOTIFYs."""
        self.history.closed(len(self))
        self.count = self.large = self.kept = self._one = 0
        self._one_copy = None
        self._table = None
        self._large.clear()
        self._large_by_age = None

    def last(self, most: int) -> list[bytes]:
        """Return the ids of those that came last, the newest last, 1 to ``most``; ids without a key come last."""
        large = list(self._large)[-most:]
        return [*map(_ids_of, self._last_keys(most - len(large))), *large]

    def oldest(self) -> bytes:
        """Return the ids of the NOTIFY that has been open longest; there must be one."""
        since = self._first_since()
        oldest = b"" if since == math.inf else _ids_of(self._one or self._table.oldest())
        for others in (self._late_ones(), self._large_by_age):
            if others is not None and others.since() < since:
                oldest, since = others.oldest(), others.since()
        return oldest

    def since(self) -> float:
        """Return when the oldest NOTIFY was opened, infinity if none is open."""
        since = self._first_since()
        late = self._late_ones()
        if late is not None:
            since = min(since, late.since())
        return min(since, self._large_by_age.since()) if self.large else since

    # --- inside --------------------------------------------------------------------------------------------------------

    def _first_since(self) -> float:
        """Return the time of the first of those in order: only one that came late, or has large ids, can be older."""
        if self.count == 0:
            return math.inf
        since: float = self._one_since if self._one else self._table.oldest_since()
        return since

    def _came_late(self, key: int, since: float) -> None:
        """Note that ``key`` is older than one that came before it."""
        if not self._unordered:
            self._late = ByAge()
        self._unordered = True
        if len(self._late) > 2 * self.count:  # most of them are settled
            for ids in [ids for ids in self._late if self.since_of(key_of(ids)) != self._late[ids]]:
                self._late.discard(ids)
        self._late.add(_ids_of(key), since)

    def _late_ones(self) -> ByAge | None:
        """Return those that came late, the oldest of which is open; None if there are none."""
        if not self._unordered:
            return None
        late: ByAge = self._late
        while len(late) and self.since_of(key_of(late.oldest())) != late.since():
            late.discard(late.oldest())
        return late

    def _last_keys(self, most: int) -> list[int]:
        if self._one or not self.count:
            return [self._one] if self._one and most > 0 else []
        keys: list[int] = self._table.last(most)
        return keys

    def _in_order(self) -> list[int]:
        if self._one or not self.count:
            return [self._one] if self._one else []
        in_order: list[int] = self._table.in_order()
        return in_order

    def _spread(self) -> None:
        """Move the only NOTIFY into the table, before a second one is added."""
        if self._table is None:
            self._table = _Table()
        self._table.put(self._table.free(self._one), self._one, self._one_since, self._one_copy)
        self._one = 0
        self._one_copy = None

    def _take_copy(self, copy: bytes) -> bytes | None:
        if self.kept + len(copy) > self.most_kept:
            return None
        self.kept += len(copy)
        return copy

    def _drop_copy(self, copy: bytes | None) -> None:
        if copy is not None:
            self.kept -= len(copy)


class _Table:
    """NOTIFYs by key. ``room``: how many fit; ``keeps``: some have a copy.

    The entries (key, 0 if settled; time; copy) lie oldest first in a ring from _head to _tail. _index maps a key to its place in
    the ring (plus 1; 0: free slot), with linear probing; ``find`` returns a slot of _index.
    """

    def __init__(self) -> None:
        self.keeps = False
        self._copies: list[bytes | None] = []
        self._make_room(_FEWEST)

    def find(self, key: int) -> int:
        """Return the slot of ``key``, -1 if it is not there."""
        most = 2 * self.room - 1
        slot = self._home(key)
        while True:
            place = self._index[slot]
            if place == 0:
                return -1
            if self._keys[place - 1] == key:
                return slot
            slot = (slot + 1) & most

    def since(self, slot: int) -> float:
        """Return the time at ``slot``."""
        return self._times[self._index[slot] - 1]

    def copy(self, slot: int) -> bytes | None:
        """Return the copy at ``slot``."""
        return self._copies[self._index[slot] - 1] if self.keeps else None

    def free(self, key: int) -> int:
        """Make room for one more, and return the slot where ``put`` adds ``key``; -1 if it is there already."""
        if self._tail - self._head == self.room:
            self._grow()
        most = 2 * self.room - 1
        slot = self._home(key)
        while True:
            place = self._index[slot]
            if place == 0:
                return slot
            if self._keys[place - 1] == key:
                return -1
            slot = (slot + 1) & most

    def put(self, slot: int, key: int, since: float, copy: bytes | None) -> None:
        """Add ``key`` at ``slot``, which ``free`` has just returned for it."""
        place = self._tail & (self.room - 1)
        self._keys[place] = key
        self._times[place] = since
        if copy is not None and not self.keeps:
            self.keeps = True
            self._copies = [None] * self.room
        if self.keeps:
            self._copies[place] = copy
        self._tail += 1
        self._index[slot] = place + 1

    def remove(self, slot: int, left: int) -> None:
        """Remove the entry at ``slot``; ``left``: how many entries remain."""
        place = self._index[slot] - 1
        self._keys[place] = 0
        if self.keeps:
            self._copies[place] = None
        self._close_up(slot)
        if left == 0:
            self._head = self._tail = 0
        else:
            while self._keys[self._head & (self.room - 1)] == 0:
                self._head += 1

    def oldest(self) -> int:
        """Return the oldest key; there must be one."""
        return self._keys[self._head & (self.room - 1)]

    def oldest_since(self) -> float:
        """Return the time of the oldest key; there must be one."""
        return self._times[self._head & (self.room - 1)]

    def last(self, most: int) -> list[int]:
        """Return the newest keys, at most ``most``, oldest first."""
        keys: list[int] = []
        at = self._tail
        while at > self._head and len(keys) < most:
            at -= 1
            key = self._keys[at & (self.room - 1)]
            if key != 0:
                keys.append(key)
        keys.reverse()
        return keys

    def in_order(self) -> list[int]:
        """Return every key, oldest first."""
        keys = list(self._keys)
        places = [at & (self.room - 1) for at in range(self._head, self._tail)]
        return [keys[place] for place in places if keys[place]]

    def _home(self, key: int) -> int:
        """Return the slot where the search for ``key`` begins."""
        mixed = (key * _SALT) & _MASK_64
        return (((mixed ^ (mixed >> 32)) * _SPREAD) & _MASK_64) >> self._shift

    def _close_up(self, slot: int) -> None:
        """Empty ``slot``, and move later entries whose search would stop at it."""
        most = 2 * self.room - 1
        hole = slot
        while True:
            slot = (slot + 1) & most
            place = self._index[slot]
            if place == 0:
                break
            home = self._home(self._keys[place - 1])
            if ((slot - home) & most) >= ((slot - hole) & most):
                self._index[hole] = place
                hole = slot
        self._index[hole] = 0

    def _make_room(self, room: int) -> None:
        """Clear the table and give it room for ``room`` entries: a power of two."""
        self._keys = array("q", bytes(8 * room))
        self._times = array("d", bytes(8 * room))
        self._index = array("i", bytes(8 * room))
        self.room = room
        self._shift = 64
        while room > 0:  # there are twice as many slots
            room >>= 1
            self._shift -= 1
        self._head = self._tail = 0
        if self.keeps:
            self._copies = [None] * self.room

    def _grow(self) -> None:
        """Remove settled entries, and make room for twice those that are left."""
        keys, times, copies = self._keys, self._times, self._copies
        head, tail, before = self._head, self._tail, self.room
        count = 0
        for at in range(head, tail):
            if keys[at & (before - 1)] != 0:
                count += 1
        room = _FEWEST
        while room < 2 * count:
            room *= 2
        self._make_room(room)
        for at in range(head, tail):
            place = at & (before - 1)
            if keys[place] != 0:
                self.put(self.free(keys[place]), keys[place], times[place], copies[place] if self.keeps else None)
