"""A bound on how often the same thing is logged."""

from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

Key = TypeVar("Key")

SUMMARY_S: Final = 60.0  # a summary of left-out lines comes no more often than this


class _Bucket:
    __slots__ = ("tokens", "updated")

    def __init__(self, tokens: float, now: float) -> None:
        self.tokens = tokens
        self.updated = now


class _LeftOut:
    """Lines that no summary has told yet."""

    __slots__ = ("count", "since")

    def __init__(self, since: float) -> None:
        self.count = 0
        self.since = since


class RateLimit(Generic[Key]):
    """One token bucket per key: ``lines`` at once, refilled at ``lines`` per ``period_s``. Keys must come from a closed set."""

    def __init__(self, lines: int, period_s: float, clock: Callable[[], float]) -> None:
        self.set(lines, period_s)
        self._clock = clock
        self._buckets: dict[Key, _Bucket] = {}
        self._left_out: dict[Key, _LeftOut] = {}  # few, where there are a thousand buckets: it is looked at every second

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
        self._leave_out(key, 1, now)
        return False

    def leave_out(self, key: Key, count: int = 1) -> None:
        """Count lines that were left out for another reason."""
        self._leave_out(key, count, self._clock())

    def _leave_out(self, key: Key, count: int, now: float) -> None:
        left_out = self._left_out.get(key)
        if left_out is None:
            left_out = self._left_out[key] = _LeftOut(now)
        left_out.count += count

    def forget(self, belongs: Callable[[Key], bool]) -> list[tuple[Key, int, float]]:
        """Keep nothing of keys that ``belongs`` says; return what ``summaries`` would yet have yielded of them."""
        for key in [key for key in self._buckets if belongs(key)]:
            del self._buckets[key]
        return [self._taken(key) for key in list(self._left_out) if belongs(key)]

    def summaries(self, *, all_of_them: bool = False) -> Iterator[tuple[Key, int, float]]:
        """Yield (key, left-out lines, over how many seconds) for each key that is due, and reset its count."""
        now = self._clock()
        for key in [key for key, left_out in self._left_out.items() if all_of_them or now - left_out.since >= SUMMARY_S]:
            yield self._taken(key)

    def _taken(self, key: Key) -> tuple[Key, int, float]:
        left_out = self._left_out.pop(key)
        return key, left_out.count, self._clock() - left_out.since
