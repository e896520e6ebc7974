"""The counters of all workers, including those that are gone."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client import ProcessCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from spoe_guard.observe.snapshot import add, take
from spoe_guard.observe.stats import RouteStats
from spoe_guard.slices import Slices, let_go

_CPU: Final = "process_cpu_seconds_total"
_SUMMED: Final = frozenset((_CPU, "process_open_fds", "process_resident_memory_bytes", "process_virtual_memory_bytes"))


@dataclass(frozen=True)
class Numbers:
    """What a worker told of itself. ``process``: as the library names it; ``sessions``: how many are open.

    ``routes``: by name, what ``snapshot.take`` returned, as JSON, which is decoded when it is added up.
    """

    process: Mapping[str, float]
    sessions: int
    routes: dict[str, bytes]

    @classmethod
    def of(cls, said: Mapping[str, Any], parts: Sequence[bytes]) -> "Numbers":
        """Return what came over the channel: the names of the routes, and a part of the message for each."""
        return cls(said["process"], said["sessions"], dict(zip(said["routes"], parts, strict=True)))


class Totals:
    """``routes`` are the sums as of the last ``sum_up``; it stays the same object, because collectors keep it.

    If a worker dies without its last message, its counts since the last answer are lost; no counter ever goes back.
    """

    def __init__(self, routes: Iterable[str]) -> None:
        self.routes: dict[str, RouteStats] = {name: RouteStats() for name in routes}
        self.process: dict[str, float] = {}  # of all workers together, without the parent
        self._gone = {name: RouteStats() for name in self.routes}
        self._gone_cpu_s = 0.0
        self._closed: list[Numbers] = []  # of workers that are gone; what was added to ``_gone`` is taken out
        self._summed: dict[str, Sequence[bytes]] = {}  # by route, what the living had told; the same again needs no new sum

    async def serve(self, routes: Iterable[str]) -> None:
        """Have these routes from now on; one that comes back begins with what the workers still have of it.

        Others have their turn in between. One call at a time.
        """
        names, slices, fresh = list(routes), Slices(), {}
        for name in names:
            if name not in self.routes:
                fresh[name] = RouteStats(), RouteStats()
                await slices.pause()
        for at, known in enumerate((self.routes, self._gone)):
            kept = {name: fresh[name][at] if name in fresh else known[name] for name in names}
            known.clear()
            known.update(kept)
        self._summed = {name: self._summed[name] for name in names if name in self._summed}

    def close(self, numbers: Numbers) -> None:
        """Keep the counts of a worker that is gone."""
        self._closed.append(numbers)
        self._gone_cpu_s += numbers.process.get(_CPU, 0.0)

    async def sum_up(self, living: Iterable[Numbers]) -> None:
        """Add the latest numbers of each living worker to the counts of those that are gone.

        Others have their turn in between, and see the sums of before until all are made. One call at a time.
        """
        # One that dies from here on counts as living to the end, and one that is closed is not among them.
        alive, closed, gone_cpu_s, slices = list(living), list(self._closed), self._gone_cpu_s, Slices()
        made: dict[str, tuple[RouteStats, RouteStats, Sequence[bytes]]] = {}
        for name, gone in list(self._gone.items()):
            # A reload may not have come to each of them yet.
            told: Sequence[bytes] = [numbers.routes[name] for numbers in alive if name in numbers.routes]
            self._bury(name, gone, closed)
            if told != self._summed.get(name):
                made[name] = gone, _sum(gone, told), told
            await slices.pause()
        process = {name: sum(numbers.process.get(name, 0.0) for numbers in alive) for name in _SUMMED}
        process[_CPU] += gone_cpu_s
        del self._closed[: len(closed)]
        before = []
        for name, (gone, stats, told) in made.items():
            if self._gone.get(name) is gone:  # a reload may have come, and taken the route away
                before.append(self.routes[name])
                self.routes[name], self._summed[name] = stats, told
        self.process = process
        await let_go(before)

    def _bury(self, name: str, gone: RouteStats, closed: Iterable[Numbers]) -> None:
        """Add to ``gone`` what workers that are closed had counted of the route."""
        for numbers in closed:
            if (told := numbers.routes.pop(name, None)) is not None:
                self._summed.pop(name, None)
                add(gone, json.loads(told), alive=False)


def _sum(gone: RouteStats, told: Sequence[bytes]) -> RouteStats:
    summed = RouteStats()
    add(summed, take(gone))
    known: set[str] = set()  # addresses of agents, as of the last reload
    for each in told:
        of_route = json.loads(each)
        add(summed, of_route)
        known |= of_route["agents"].keys()
    summed.serve([address for address in summed.agents if address in known or not known])
    return summed


class AllProcesses(Collector):
    """The metrics of the process, with the workers' numbers added where a sum makes sense."""

    def __init__(self, totals: Totals) -> None:
        self._totals = totals
        self._parent = ProcessCollector(registry=None)

    def collect(self) -> Iterator[Metric]:
        """Yield the parent's families, with the workers' added."""
        more: Mapping[str, float] = self._totals.process
        for family in self._parent.collect():
            family.samples = [each._replace(value=each.value + more.get(each.name, 0.0)) for each in family.samples]
            yield family
