"""Ids with a time each, of which the oldest is at hand, whatever was removed before and in whatever order they came."""

import heapq
import math
from collections.abc import Iterator


class ByAge:
    """Works like a dict of times by ids, in the order in which they were added. Of ids as old, those added first are the oldest.

    The heap also has entries that were removed or replaced; what stands in ``_entries`` is what counts.
    """

    __slots__ = ("_added", "_entries", "_heap")

    def __init__(self) -> None:
        self._entries: dict[bytes, tuple[float, int, bytes]] = {}
        self._heap: list[tuple[float, int, bytes]] = []
        self._added = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, ids: bytes) -> bool:
        return ids in self._entries

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._entries)

    def __getitem__(self, ids: bytes) -> float:
        return self._entries[ids][0]

    def add(self, ids: bytes, since: float) -> None:
        """Add ``ids``, or give them another time."""
        self._added += 1
        entry = (since, self._added, ids)
        self._entries[ids] = entry
        if len(self._heap) > 2 * len(self._entries) + 16:  # most of it was removed
            self._heap = sorted(self._entries.values())
        else:
            heapq.heappush(self._heap, entry)

    def discard(self, ids: bytes) -> None:
        """Remove ``ids`` if they are there."""
        self._entries.pop(ids, None)

    def clear(self) -> None:
        """Remove all."""
        self._entries.clear()
        self._heap.clear()

    def oldest(self) -> bytes:
        """Return the oldest ids; there must be some."""
        return self._first()[2]

    def since(self) -> float:
        """Return the time of the oldest, infinity if there is none."""
        return self._first()[0] if self._entries else math.inf

    def in_order(self) -> list[bytes]:
        """Return all, the oldest first."""
        return [ids for _, _, ids in sorted(self._entries.values())]

    def _first(self) -> tuple[float, int, bytes]:
        heap = self._heap
        while self._entries.get(heap[0][2]) != heap[0]:  # equal, not the same: compiled, each tuple is made anew
            heapq.heappop(heap)
        return heap[0]
