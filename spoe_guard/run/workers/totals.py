"""The counters of all workers, including those that are gone."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import ProcessCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from spoe_guard.observe.snapshot import add, take
from spoe_guard.observe.stats import RouteStats

Numbers = dict[str, Any]  # as a worker sends them: routes, process

_CPU: Final = "process_cpu_seconds_total"
_SUMMED: Final = frozenset((_CPU, "process_open_fds", "process_resident_memory_bytes", "process_virtual_memory_bytes"))


class Totals:
    """``routes`` are the sums as of the last ``sum_up``; it stays the same object, because collectors keep it.

    If a worker dies without its last message, its counts since the last answer are lost; no counter ever goes back.
    """

    def __init__(self, routes: Iterable[str]) -> None:
        self.routes: dict[str, RouteStats] = {name: RouteStats() for name in routes}
        self.process: dict[str, float] = {}  # of all workers together, without the parent
        self._gone = {name: RouteStats() for name in self.routes}
        self._gone_cpu_s = 0.0

    def serve(self, routes: Iterable[str]) -> None:
        """Have these routes from now on; one that comes back begins with what the workers still have of it."""
        names = list(routes)
        for known in (self.routes, self._gone):
            kept = {name: known.get(name) or RouteStats() for name in names}
            known.clear()
            known.update(kept)

    def close(self, numbers: Numbers) -> None:
        """Keep the counts of a worker that is gone."""
        for name, stats in self._gone.items():
            if (of_route := numbers["routes"].get(name)) is not None:
                add(stats, of_route, alive=False)
        self._gone_cpu_s += numbers["process"].get(_CPU, 0.0)

    def sum_up(self, living: Iterable[Numbers]) -> None:
        """Add the latest numbers of each living worker to the counts of those that are gone."""
        summed = {name: RouteStats() for name in self.routes}
        process = dict.fromkeys(_SUMMED, 0.0) | {_CPU: self._gone_cpu_s}
        for name, stats in summed.items():
            add(stats, take(self._gone[name]))
        known: dict[str, set[str]] = {name: set() for name in summed}  # addresses of agents, as of the last reload
        for numbers in living:
            for name, stats in summed.items():
                if (of_route := numbers["routes"].get(name)) is not None:  # a reload may not have come to it yet
                    add(stats, of_route)
                    known[name] |= of_route["agents"].keys()
            for name in _SUMMED:
                process[name] += numbers["process"].get(name, 0.0)
        for name, stats in summed.items():
            stats.serve([address for address in stats.agents if address in known[name] or not known[name]])
        self.routes.update(summed)
        self.process = process


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
