"""Metrics and health of all workers, for the one admin address."""

from collections.abc import Iterator, Mapping

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from spoe_guard.observe.health import Health, Verdict
from spoe_guard.observe.metrics import Exposition, GuardCollector
from spoe_guard.workers.books import AllProcesses
from spoe_guard.workers.crew import Crew


class CrewCollector(Collector):
    """The sums, and what there is to say of the workers themselves."""

    def __init__(self, crew: Crew, build: Mapping[str, str]) -> None:
        self._crew = crew
        self._sums = GuardCollector(crew.books.routes, build)

    def collect(self) -> Iterator[Metric]:
        """Yield every family there is."""
        yield from self._sums.collect()
        workers = sum(life.well for life in self._crew.lives)
        yield GaugeMetricFamily("spoe_guard_workers", "Workers that listen and answer.", value=workers)
        text = "Workers started again because one had ended."
        yield CounterMetricFamily("spoe_guard_worker_restarts_total", text, value=self._crew.restarts)


class CrewExposition(Exposition):
    """What a scrape gets: every worker is asked for it, and waited for no longer than ``Timing.ask``."""

    def __init__(self, crew: Crew, build: Mapping[str, str]) -> None:
        super().__init__(CrewCollector(crew, build), AllProcesses(crew.books))
        self._crew = crew

    async def render(self) -> bytes:
        """Return the text format, of this moment."""
        await self._crew.refresh()
        return await super().render()


class CrewHealth(Health):
    """Ready as one process is, as of a second ago.

    A worker that is being started again takes no connections: the others do. One that hangs does, and nobody answers them.
    """

    def __init__(self, crew: Crew) -> None:
        super().__init__(crew.books.routes)
        self._crew = crew

    def ready(self) -> Verdict:
        """Return whether every connection to come would be served."""
        lives = [life for life in self._crew.lives if life.listens]
        ready, why = super().ready()
        if self.draining or not self.listening:
            return ready, why
        hung = [f"worker {life.number}: no answer\n" for life in lives if life.misses]
        well = len(lives) - len(hung)
        return ready and well > 0 and not hung, f"{why}{''.join(hung)}workers: {well} of {self._crew.count}\n"
