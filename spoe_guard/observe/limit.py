"""A bound on how often the same thing is logged."""

from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

Key = TypeVar("Key")

SUMMARY_S: Final = 60.0  # a summary of left-out lines comes no more often than this


class _Bucket:
    __slots__ = ("left_out", "since", "tokens", "updated")

    def __init__(self, tokens: float, now: float) -> None:
        self.tokens = tokens
        self.updated = now
        self.left_out = 0
        self.since = now

    def leave_out(self, count: int, now: float) -> None:
        if not self.left_out:
            self.since = now
        self.left_out += count


class RateLimit(Generic[Key]):
    """One token bucket per key: ``lines`` at once, refilled at ``lines`` per ``period_s``. Keys must come from a closed set."""

    def __init__(self, lines: int, period_s: float, clock: Callable[[], float]) -> None:
        self.set(lines, period_s)
        self._clock = clock
        self._buckets: dict[Key, _Bucket] = {}

    def set(self, lines: int, period_s: float) -> None:
        """Set a new limit."""
        self._lines = lines
        self._per_s = lines / period_s

    def has(self, key: Key) -> bool:
        """Return whether there is a token."""
        bucket = self._buckets.get(key)
        return bucket is None or min(self._lines, bucket.tokens + (self._clock() - bucket.updated) * self._per_s) >= 1

    def allows(self, key: Key) -> bool:
        """Take a token and return True; without one count a left-out line."""
        now = self._clock()
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(self._lines, now)
        bucket.tokens = min(self._lines, bucket.tokens + (now - bucket.updated) * self._per_s)
        bucket.updated = now
        if bucket.tokens >= 1:
            bucket.tokens -= 1
            return True
        bucket.leave_out(1, now)
        return False

    def leave_out(self, key: Key, count: int = 1) -> None:
        """Count lines that were left out for another reason."""
        now = self._clock()
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(self._lines, now)
        bucket.leave_out(count, now)

    def forget(self, belongs: Callable[[Key], bool]) -> list[tuple[Key, int, float]]:
        """Keep nothing of keys that ``belongs`` says; return what ``summaries`` would yet have yielded of them."""
        now = self._clock()
        gone = {key: bucket for key, bucket in self._buckets.items() if belongs(key)}
        for key in gone:
            del self._buckets[key]
        return [(key, bucket.left_out, now - bucket.since) for key, bucket in gone.items() if bucket.left_out]

    def summaries(self, *, all_of_them: bool = False) -> Iterator[tuple[Key, int, float]]:
        """Yield (key, left-out lines, over how many seconds) for each key that is due, and reset its count."""
        now = self._clock()
        for key, bucket in tuple(self._buckets.items()):
            if bucket.left_out and (all_of_them or now - bucket.since >= SUMMARY_S):
                count, bucket.left_out = bucket.left_out, 0
                yield key, count, now - bucket.since
