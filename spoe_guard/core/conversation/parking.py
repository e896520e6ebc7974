"""NOTIFYs that wait for an agent link, in the order in which HAProxy sent them."""

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from spoe_guard.core.conversation.by_age import ByAge

EACH_BYTES: Final = 160  # what Python takes for each beside its bytes: of a short NOTIFY, most


@dataclass(slots=True)
class Parked:
    """One waiting NOTIFY. ``since``: when HAProxy sent it, monotonic seconds. ``again``: a link had it and was lost.

    ``ours``: HAProxy's own bytes were already forwarded or dropped. ``lost_at``: when that link was lost. ``next_link``: the
    number of the first link dialled after that, as the loss makes the others doubtful; 0 once it no longer does.
    """

    ids: bytes
    raw: bytes
    since: float
    again: bool = False
    ours: bool = False
    lost_at: float = -math.inf
    next_link: int = 0

    @property
    def parked_at(self) -> float:
        """Since when it has waited for a link."""
        return max(self.since, self.lost_at)

    @property
    def held(self) -> int:
        """Bytes of it that came from HAProxy and were neither forwarded nor dropped yet."""
        return 0 if self.ours else len(self.raw)


class Parking:
    """Holds at most ``most`` NOTIFYs and ``most_bytes`` bytes of them; those that a lost link had come first.

    ``held`` counts the bytes among them that came from HAProxy.
    """

    __slots__ = ("_again", "_first", "_lost", "_most", "_most_bytes", "_waiting", "bytes", "held")

    def __init__(self, most: int, most_bytes: int) -> None:
        self._waiting: dict[bytes, Parked] = {}
        self._again = ByAge()  # those that a lost link had
        self._lost: OrderedDict[bytes, None] = OrderedDict()  # the same, as their links were lost: a dict finds its first slowly
        self._first: OrderedDict[bytes, None] = OrderedDict()  # the others, as they came
        self._most = most
        self._most_bytes = most_bytes
        self.bytes = 0
        self.held = 0

    @property
    def in_memory(self) -> int:
        """Bytes of memory they take."""
        return self.bytes + EACH_BYTES * len(self)

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, ids: bytes) -> bool:
        return ids in self._waiting

    def __iter__(self) -> Iterator[Parked]:
        for ids in (*self._again.in_order(), *self._first):
            yield self._waiting[ids]

    def add(self, waits: Parked) -> bool:
        """Park ``waits``; False if there is no room. Its ids must not be parked already."""
        if len(self) >= self._most or self.bytes + len(waits.raw) > self._most_bytes:
            return False
        self._waiting[waits.ids] = waits
        if waits.again:
            self._again.add(waits.ids, waits.since)
            self._lost[waits.ids] = None
        else:
            self._first[waits.ids] = None
        self._count(waits, 1)
        return True

    def take(self, ids: bytes) -> Parked:
        """Remove and return the NOTIFY ``ids``; it must be there."""
        waits = self._waiting.pop(ids)
        if waits.again:
            self._again.discard(ids)
            del self._lost[ids]
        else:
            del self._first[ids]
        self._count(waits, -1)
        return waits

    def find(self, ids: bytes) -> Parked | None:
        """Return the NOTIFY ``ids`` if it is parked."""
        return self._waiting.get(ids)

    def first(self) -> Parked:
        """Return the NOTIFY to send next; there must be one."""
        return self._waiting[self._again.oldest() if len(self._again) else next(iter(self._first))]

    def oldest(self) -> Parked:
        """Return the NOTIFY that HAProxy sent first; there must be one."""
        if not self._first:
            return self.first()
        first = self._waiting[next(iter(self._first))]
        return self.first() if self._again.since() <= first.since else first

    def since(self) -> float:
        """Return when HAProxy sent the oldest one, infinity if none waits."""
        return self.oldest().since if len(self) else math.inf

    def longest_parked(self) -> Parked:
        """Return the NOTIFY that has waited for a link for the longest time; there must be one."""
        heads = [self._waiting[next(iter(ids))] for ids in (self._lost, self._first) if ids]
        return min(heads, key=lambda notify: notify.parked_at)

    def parked_since(self) -> float:
        """Return since when that one has waited, infinity if none waits."""
        return self.longest_parked().parked_at if len(self) else math.inf

    def drop_all(self, most: int) -> tuple[int, int, list[bytes]]:
        """Remove all: return how many there were, their ``held`` bytes, and the ids of the last of them, at most ``most``."""
        last = list(islice(reversed(self._first), most))
        last.reverse()
        was = len(self), self.held, last
        self._waiting.clear()
        self._again.clear()
        self._lost.clear()
        self._first.clear()
        self.bytes = self.held = 0
        return was

    def _count(self, waits: Parked, sign: int) -> None:
        self.bytes += sign * len(waits.raw)
        self.held += sign * waits.held
