"""NOTIFYs that wait for an agent link, in the order in which HAProxy sent them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(slots=True)
class Parked:
    """One waiting NOTIFY. ``since``: when HAProxy sent it, monotonic seconds. ``again``: a link had it and was lost.

    ``ours``: HAProxy's own bytes were already forwarded or dropped. ``lost_at``: when that link was lost, which makes the other
    links doubtful; -infinity once it no longer does. ``next_link``: the number of the first link dialled after that.
    """

    ids: bytes
    raw: bytes
    since: float
    again: bool = False
    ours: bool = False
    lost_at: float = -math.inf
    next_link: int = 0

    @property
    def held(self) -> int:
        """Bytes of it that came from HAProxy and were neither forwarded nor dropped yet."""
        return 0 if self.ours else len(self.raw)


class Parking:
    """Holds at most ``most`` NOTIFYs and ``most_bytes`` bytes of them; those that a lost link had come first.

    ``held`` counts the bytes among them that came from HAProxy.
    """

    __slots__ = ("_again", "_first", "_most", "_most_bytes", "_unordered", "bytes", "held")

    def __init__(self, most: int, most_bytes: int) -> None:
        self._again: dict[bytes, Parked] = {}
        self._first: dict[bytes, Parked] = {}
        self._unordered = False  # ``_again`` has NOTIFYs of several lost links and is not sorted
        self._most = most
        self._most_bytes = most_bytes
        self.bytes = 0
        self.held = 0

    def __len__(self) -> int:
        return len(self._again) + len(self._first)

    def __contains__(self, ids: bytes) -> bool:
        return ids in self._again or ids in self._first

    def __iter__(self) -> Iterator[Parked]:
        yield from self._in_order().values()
        yield from self._first.values()

    def add(self, waits: Parked) -> bool:
        """Park ``waits``; False if there is no room. Its ids must not be parked already."""
        if len(self) >= self._most or self.bytes + len(waits.raw) > self._most_bytes:
            return False
        (self._again if waits.again else self._first)[waits.ids] = waits
        self._unordered = self._unordered or waits.again
        self._count(waits, 1)
        return True

    def take(self, ids: bytes) -> Parked:
        """Remove and return the NOTIFY ``ids``; it must be there."""
        waits = self._again.pop(ids, None) or self._first.pop(ids)
        self._count(waits, -1)
        return waits

    def find(self, ids: bytes) -> Parked | None:
        """Return the NOTIFY ``ids`` if it is parked."""
        return self._again.get(ids) or self._first.get(ids)

    def first(self) -> Parked:
        """Return the NOTIFY to send next; there must be one."""
        return next(iter(self))

    def oldest(self) -> Parked:
        """Return the NOTIFY that HAProxy sent first; there must be one."""
        heads = [next(iter(some.values())) for some in (self._in_order(), self._first) if some]
        return min(heads, key=lambda waits: waits.since)

    def since(self) -> float:
        """Return when HAProxy sent the oldest one, infinity if none waits."""
        return self.oldest().since if len(self) else math.inf

    def _in_order(self) -> dict[bytes, Parked]:
        """Return the NOTIFYs that lost links had, the oldest first."""
        if self._unordered:
            self._again = dict(sorted(self._again.items(), key=lambda item: item[1].since))
            self._unordered = False
        return self._again

    def _count(self, waits: Parked, sign: int) -> None:
        self.bytes += sign * len(waits.raw)
        self.held += sign * waits.held
