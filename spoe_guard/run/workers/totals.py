"""What all workers have counted, those that are gone included."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import ProcessCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from spoe_guard.observe.snapshot import add, take
from spoe_guard.observe.stats import RouteStats

Numbers = dict[str, Any]  # as a worker says them: routes, process

_CPU: Final = "process_cpu_seconds_total"
_SUMMED: Final = frozenset((_CPU, "process_open_fds", "process_resident_memory_bytes", "process_virtual_memory_bytes"))


class Totals:
    """``routes`` are the sums, after ``sum_up``; the same object for good, as a collector wants it.

    Of a worker that died without a word what it counted since it was last asked is lost; nothing is ever counted back.
    """

    def __init__(self, routes: Iterable[str]) -> None:
        self.routes: dict[str, RouteStats] = {name: RouteStats() for name in routes}
        self.process: dict[str, float] = {}  # of all workers together, without the parent
        self._gone = {name: RouteStats() for name in self.routes}
        self._gone_cpu_s = 0.0

    def close(self, numbers: Numbers) -> None:
        """Keep what a worker counted that is no more."""
        for name, stats in self._gone.items():
            add(stats, numbers["routes"][name], alive=False)
        self._gone_cpu_s += numbers["process"].get(_CPU, 0.0)

    def sum_up(self, living: Iterable[Numbers]) -> None:
        """Add the latest of each worker that lives to what those before it counted."""
        summed = {name: RouteStats() for name in self.routes}
        process = dict.fromkeys(_SUMMED, 0.0) | {_CPU: self._gone_cpu_s}
        for name, stats in summed.items():
            add(stats, take(self._gone[name]))
        for numbers in living:
            for name, stats in summed.items():
                add(stats, numbers["routes"][name])
            for name in _SUMMED:
                process[name] += numbers["process"].get(name, 0.0)
        self.routes.update(summed)
        self.process = process


class AllProcesses(Collector):
    """The metrics of the process, with what the workers use added where a sum means anything."""

    def __init__(self, totals: Totals) -> None:
        self._totals = totals
        self._parent = ProcessCollector(registry=None)

    def collect(self) -> Iterator[Metric]:
        """Yield the parent's families, with the workers' added."""
        more: Mapping[str, float] = self._totals.process
        for family in self._parent.collect():
            family.samples = [each._replace(value=each.value + more.get(each.name, 0.0)) for each in family.samples]
            yield family
