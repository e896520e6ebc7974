"""The last minutes: each route's numbers, sampled at a fixed interval outside the data path."""

import json
import math
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from operator import itemgetter, sub
from typing import Final, NamedTuple

from pydantic_core import to_json

from spoe_guard.core.terms.events import DialFailure, EndReason, UnansweredReason
from spoe_guard.core.terms.tally import ACK_BUCKETS
from spoe_guard.observe.consequence import Consequence
from spoe_guard.observe.stats import Labels, RouteStats
from spoe_guard.wire import frame

STEP_S: Final = 5.0
POINTS: Final = 120  # ten minutes
MARKS: Final = 12  # steps back for which it is known what the counters were by label

_COMMA: Final = ","  # between numbers


def compact(value: object) -> str:
    """Return JSON without spaces, which for a thousand routes would be two million; json takes four times as long for it."""
    return to_json(value).decode()


class Totals(NamedTuple):
    """A route's counts since the start, or by how much they have grown.

    Each is a counter of ``/metrics``, or a sum over its labels.
    """

    sessions: int
    notifies: int
    acks: int
    bytes_to_agent: int
    bytes_to_haproxy: int
    anomalies: int
    unanswered: int
    failed: int
    mended: int
    saved: int
    spared: int
    in_danger: int
    answered: int
    slow_acks: int
    late_acks: int
    unchecked: int
    own_limits: int
    gave_way: int
    refused: int
    internal_errors: int

    def since(self, before: "Totals") -> "Totals":
        """Return by how much each count has grown."""
        return Totals(*map(sub, self, before))

    def as_json(self) -> str:
        """Return an object with each of them."""
        return _TOTALS % self


# Counts per step; the page calls their sum over the window recent.
COUNTED: Final = Totals._fields[Totals._fields.index("anomalies") :]
_counted: Final[Callable[[Totals], tuple[int, ...]]] = itemgetter(*map(Totals._fields.index, COUNTED))


def _numbers(names: Iterable[str]) -> str:
    """Return a format of an object of JSON with whole numbers: an encoder would write its names for each route anew."""
    return "{" + _COMMA.join(f'"{name}":%d' for name in names) + "}"


_TOTALS: Final = _numbers(Totals._fields)
_WINDOW: Final = _numbers(COUNTED)
_NOTHING: Final = Totals(*[0] * len(Totals._fields))
SERIES: Final = (*COUNTED, "sessions", "open_notifies", "notifies_per_s", "acks_per_s", "ack_p50_s", "ack_p99_s")

DIGITS: Final = 4  # of a sample that is no whole number

SLOW_S: Final = 0.5  # an ACK that takes longer is slow: `timeout processing` of most examples; one of ACK_BUCKETS
_FIRST_SLOW: Final = ACK_BUCKETS.index(SLOW_S) + 1

_SAVED: Final = (Consequence.ANSWER_SAVED.value,)
_SPARED: Final = (Consequence.HAPROXY_SPARED.value,)
_MENDED: Final = (Consequence.MENDED.value,)
_LOST: Final = (Consequence.ANSWER_LOST.value,)
_IN_DANGER: Final = (Consequence.HAPROXY_IN_DANGER.value,)
_GONE: Final = (UnansweredReason.HAPROXY_GONE.value,)

Window = dict[str, int]  # by the names of COUNTED


def totals(stats: RouteStats) -> Totals:
    """Return what the route has counted since the start."""
    came, tally = stats.came_of_anomalies(), stats.tally
    saved, spared = came[_SAVED], came[_SPARED]
    unanswered = stats.unanswered.total()
    return Totals(
        sessions=stats.connections,
        notifies=tally.frames_to_agent[frame.NOTIFY],
        acks=tally.frames_to_haproxy[frame.ACK],
        bytes_to_agent=tally.bytes_to_agent,
        bytes_to_haproxy=tally.bytes_to_haproxy,
        anomalies=stats.anomalies.total(),
        unanswered=unanswered,
        failed=unanswered - stats.unanswered[_GONE] + came[_LOST],
        mended=came[_MENDED] + saved + spared,
        saved=saved,
        spared=spared,
        in_danger=came[_IN_DANGER],
        answered=tally.ack_count,
        slow_acks=sum(tally.ack_buckets[_FIRST_SLOW:]),
        late_acks=tally.late_acks,
        unchecked=stats.unchecked,
        own_limits=stats.accept_failures.total() + stats.failures(DialFailure.OWN_LIMIT),
        gave_way=stats.gave_way.total(),
        refused=sum(count for (_by, reason), count in stats.closed.items() if reason in _AT_A_LIMIT),
        internal_errors=stats.internal_errors,
    )


_AT_A_LIMIT: Final = frozenset((EndReason.LIMIT.value, EndReason.GLITCHES.value))


class Mark(NamedTuple):
    """What a route had counted at a sample: ``totals``, and by label the counters of ``RouteStats`` with the same names."""

    totals: Totals
    unanswered: Counter[Labels]
    consequences: Counter[Labels]


def rounded(value: float) -> float | None:
    """Return a sample with ``DIGITS``; None for NaN, which JSON cannot carry."""
    if not value:
        return 0
    if math.isnan(value):
        return None
    return int(value) if value == int(value) else float(f"{value:.{DIGITS}g}")


def quantile(share: float, counts: list[int]) -> float:
    """Return an ACK latency in seconds that ``share`` of those in ``counts`` (per bucket) stay within; NaN where there are none.

    As in Prometheus's ``histogram_quantile``: values are spread evenly within a bucket; beyond the last bound it is that bound.
    """
    within = list(accumulate(counts))
    rank = share * within[-1]
    if not rank:
        return math.nan
    at = bisect_left(within, rank)
    if at == len(ACK_BUCKETS):
        return ACK_BUCKETS[-1]
    lower, below = (ACK_BUCKETS[at - 1], within[at - 1]) if at else (0.0, 0)
    return lower + (ACK_BUCKETS[at] - lower) * (rank - below) / counts[at]


class RouteHistory:
    """The last ``POINTS`` samples of one route.

    They are kept as they are told, as JSON: of a thousand routes these are two million numbers, which are written once, when they
    are sampled, and not again for each who asks. ``length``: how many samples there are.
    """

    __slots__ = ("_before", "_buckets", "_marks", "_series", "length")

    def __init__(self) -> None:
        self.length = 0
        self._series = dict.fromkeys(SERIES, "")  # by name: numbers, oldest first, with a comma in between
        self._before = _NOTHING  # what had been counted before the oldest sample
        self._buckets = [0] * (len(ACK_BUCKETS) + 1)
        self._marks = deque([Mark(_NOTHING, Counter(), Counter())], MARKS + 1)

    def sample(self, stats: RouteStats, seconds: float) -> None:
        """Add a point; ``seconds``: time since the last one."""
        now, buckets = totals(stats), list(stats.tally.ack_buckets)
        grown = now.since(self._marks[-1].totals)
        latencies = [count - before for count, before in zip(buckets, self._buckets, strict=True)]
        point: dict[str, float] = dict(zip(COUNTED, _counted(grown), strict=True))
        point["sessions"] = stats.open
        point["open_notifies"] = stats.tally.open_notifies
        point["notifies_per_s"] = grown.notifies / seconds
        point["acks_per_s"] = grown.acks / seconds
        point["ack_p50_s"] = quantile(0.5, latencies)
        point["ack_p99_s"] = quantile(0.99, latencies)
        if self.length == POINTS:
            self._forget_the_oldest()
        written = compact([rounded(point[name]) for name in SERIES])[1:-1].split(_COMMA)
        for name, number in zip(SERIES, written, strict=True):
            self._series[name] = f"{self._series[name]}{_COMMA}{number}" if self.length else number
        self.length += 1
        self._buckets = buckets
        self._marks.append(Mark(now, stats.unanswered.copy(), stats.consequences.copy()))

    def _forget_the_oldest(self) -> None:
        gone = {}
        for name, numbers in self._series.items():
            gone[name], _comma, self._series[name] = numbers.partition(_COMMA)
        self._before = self._before._replace(**{name: getattr(self._before, name) + int(gone[name]) for name in COUNTED})
        self.length -= 1

    def before(self, steps: int) -> Mark:
        """Return what had been counted ``steps`` samples ago, at most ``MARKS``."""
        return self._marks[-min(steps + 1, len(self._marks))]

    def lately(self, now: Totals, steps: int) -> Totals:
        """Return the counts of the last so many samples, at most ``MARKS``, and since the last one."""
        return now.since(self.before(steps).totals)

    def window(self, now: Totals) -> Window:
        """Return the counts of all samples and since the last one."""
        return dict(zip(COUNTED, _counted(now.since(self._before)), strict=True))

    def window_as_json(self, now: Totals) -> str:
        """Return the same as an object."""
        return _WINDOW % _counted(now.since(self._before))

    def as_json(self) -> str:
        """Return an object: the samples of each of ``SERIES``, oldest first, null where there is none."""
        series = _COMMA.join([f'"{name}":[{numbers}]' for name, numbers in self._series.items()])
        return f"{{{series}}}"

    def samples(self) -> dict[str, list[float | None]]:
        """Return the same as values."""
        made: dict[str, list[float | None]] = json.loads(self.as_json())
        return made


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
