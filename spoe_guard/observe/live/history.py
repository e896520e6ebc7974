"""The last minutes: each route's numbers, sampled at a fixed interval outside the data path."""

import math
from array import array
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from spoe_guard.core.terms.events import DialFailure, EndReason, UnansweredReason
from spoe_guard.core.terms.tally import ACK_BUCKETS
from spoe_guard.observe.consequence import Consequence
from spoe_guard.observe.stats import Labels, RouteStats
from spoe_guard.wire import frame

STEP_S: Final = 5.0
POINTS: Final = 120  # ten minutes
MARKS: Final = 12  # steps back for which it is known what the counters were by label

# Counts per step; the page calls their sum over the window recent.
COUNTED: Final = (
    "anomalies",
    "unanswered",
    "failed",
    "mended",
    "saved",
    "spared",
    "in_danger",
    "answered",
    "slow_acks",
    "late_acks",
    "unchecked",
    "own_limits",
    "gave_way",
    "refused",
    "internal_errors",
)
SERIES: Final = (*COUNTED, "sessions", "open_notifies", "notifies_per_s", "acks_per_s", "ack_p50_s", "ack_p99_s")

SLOW_S: Final = 0.5  # an ACK that takes longer is slow: `timeout processing` of most examples; one of ACK_BUCKETS

Window = dict[str, int]


def totals(stats: RouteStats) -> dict[str, int]:
    """Return the route's counts since the start; each is a counter of ``/metrics``, or a sum over its labels."""
    came = stats.came_of_anomalies()
    saved, spared = came[Consequence.ANSWER_SAVED.value,], came[Consequence.HAPROXY_SPARED.value,]
    gone = stats.unanswered[UnansweredReason.HAPROXY_GONE.value,]
    return {
        "sessions": stats.connections,
        "notifies": stats.tally.frames_to_agent[frame.NOTIFY],
        "acks": stats.tally.frames_to_haproxy[frame.ACK],
        "bytes_to_agent": stats.tally.bytes_to_agent,
        "bytes_to_haproxy": stats.tally.bytes_to_haproxy,
        "anomalies": stats.anomalies.total(),
        "unanswered": stats.unanswered.total(),
        "failed": stats.unanswered.total() - gone + came[Consequence.ANSWER_LOST.value,],
        "mended": came[Consequence.MENDED.value,] + saved + spared,
        "saved": saved,
        "spared": spared,
        "in_danger": came[Consequence.HAPROXY_IN_DANGER.value,],
        "answered": stats.tally.ack_count,
        "slow_acks": sum(stats.tally.ack_buckets[ACK_BUCKETS.index(SLOW_S) + 1 :]),
        "own_limits": stats.accept_failures.total() + stats.failures(DialFailure.OWN_LIMIT),
        "gave_way": stats.gave_way.total(),
        "refused": sum(count for (_by, reason), count in stats.closed.items() if reason in _AT_A_LIMIT),
        "late_acks": stats.tally.late_acks,
        "unchecked": stats.unchecked,
        "internal_errors": stats.internal_errors,
    }


_AT_A_LIMIT: Final = frozenset((EndReason.LIMIT.value, EndReason.GLITCHES.value))


class Mark(NamedTuple):
    """What counters with labels were at a sample: those of ``RouteStats`` with the same names."""

    unanswered: Counter[Labels]
    consequences: Counter[Labels]


def quantile(share: float, counts: list[int]) -> float:
    """Return an ACK latency in seconds that ``share`` of those in ``counts`` (per bucket) stay within; NaN where there are none.

    As in Prometheus's ``histogram_quantile``: values are spread evenly within a bucket; beyond the last bound it is that bound.
    """
    rank = share * sum(counts)
    if not rank:
        return math.nan
    below = 0
    for upper, lower, count in zip(ACK_BUCKETS, (0.0, *ACK_BUCKETS), counts, strict=False):
        if count and below + count >= rank:
            return lower + (upper - lower) * (rank - below) / count
        below += count
    return ACK_BUCKETS[-1]


class RouteHistory:
    """The last ``POINTS`` samples of one route, oldest first, by name in ``series``."""

    __slots__ = ("_buckets", "_marks", "_totals", "series")

    def __init__(self) -> None:
        self.series = {name: array("d") for name in SERIES}
        self._totals = totals(RouteStats())
        self._buckets = list(RouteStats().tally.ack_buckets)
        self._marks = deque([Mark(Counter(), Counter())], MARKS + 1)

    def sample(self, stats: RouteStats, seconds: float) -> None:
        """Add a point; ``seconds``: time since the last one."""
        now, buckets = totals(stats), list(stats.tally.ack_buckets)
        latencies = [count - before for count, before in zip(buckets, self._buckets, strict=True)]
        point: dict[str, float] = {name: now[name] - self._totals[name] for name in COUNTED}
        point["sessions"] = stats.open
        point["open_notifies"] = stats.tally.open_notifies
        point["notifies_per_s"] = (now["notifies"] - self._totals["notifies"]) / seconds
        point["acks_per_s"] = (now["acks"] - self._totals["acks"]) / seconds
        point["ack_p50_s"] = quantile(0.5, latencies)
        point["ack_p99_s"] = quantile(0.99, latencies)
        for name, values in self.series.items():
            if len(values) == POINTS:
                del values[0]
            values.append(point[name])
        self._totals, self._buckets = now, buckets
        self._marks.append(Mark(stats.unanswered.copy(), stats.consequences.copy()))

    def before(self, steps: int) -> Mark:
        """Return the counters of ``steps`` samples ago, at most ``MARKS``."""
        return self._marks[-min(steps + 1, len(self._marks))]

    def windows(self, stats: RouteStats, *steps: int) -> list[Window]:
        """Return the counts of the last so many samples and since the last one, for each of ``steps``."""
        now = totals(stats)
        since = {name: now[name] - self._totals[name] for name in COUNTED}
        return [{name: int(sum(self.series[name][-count:])) + since[name] for name in COUNTED} for count in steps]

    def window(self, stats: RouteStats) -> Window:
        """Return the counts of all samples and since the last one."""
        return self.windows(stats, POINTS)[0]


class History:
    """The histories of all routes. Each sample looks the numbers up again: with workers the sums are new objects each time."""

    def __init__(self, routes: Mapping[str, RouteStats], now: float) -> None:
        self._routes = routes
        self._sampled_at = now
        self.of = {name: RouteHistory() for name in routes}

    def sample(self, now: float) -> Iterator[str]:
        """Add a point to each route, unless no time has passed, and yield its name."""
        seconds, self._sampled_at = now - self._sampled_at, now
        if seconds > 0:
            for name in list(self._routes):
                if (stats := self._routes.get(name)) is not None:  # a reload may have come
                    self.route(name).sample(stats, seconds)
                    yield name

    def route(self, name: str) -> RouteHistory:
        """Return the history of a route, which begins where there is none."""
        history = self.of.get(name)
        if history is None:
            history = self.of[name] = RouteHistory()
        return history
