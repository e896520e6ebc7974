"""Metrics, health and the live page of all workers, for the one admin address."""

import asyncio
from collections.abc import Iterator, Mapping

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from spoe_guard.observe.health import Health, Verdict
from spoe_guard.observe.live.recent import Note, newest
from spoe_guard.observe.live.status import ATTENTION, IDLE, OK, Live, Status
from spoe_guard.observe.metrics import Exposition, GuardCollector
from spoe_guard.observe.reloads import Reloads
from spoe_guard.run.workers.books import AllProcesses
from spoe_guard.run.workers.crew import Crew


class CrewCollector(Collector):
    """The sums, and what there is to say of the workers themselves."""

    def __init__(self, crew: Crew, build: Mapping[str, str], reloads: Reloads | None = None) -> None:
        self._crew = crew
        self._sums = GuardCollector(crew.books.routes, build, reloads)

    def collect(self) -> Iterator[Metric]:
        """Yield every family there is."""
        yield from self._sums.collect()
        workers = sum(life.well for life in self._crew.lives)
        yield GaugeMetricFamily("spoe_guard_workers", "Workers that listen and answer.", value=workers)
        text = "Workers started again because one had ended."
        yield CounterMetricFamily("spoe_guard_worker_restarts_total", text, value=self._crew.restarts)


class CrewExposition(Exposition):
    """What a scrape gets: every worker is asked for it, and waited for no longer than ``Timing.ask``."""

    def __init__(self, crew: Crew, build: Mapping[str, str], reloads: Reloads | None = None) -> None:
        super().__init__(CrewCollector(crew, build, reloads), AllProcesses(crew.books))
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


class CrewLive(Live):
    """The live page and ``/api/status``: the sums, and the last anomalies of all workers as one list.

    A worker is asked for its anomalies when somebody looks. What it answered then is kept, for when it hangs or has died: then it
    is what matters most.
    """

    def __init__(self, crew: Crew, health: CrewHealth, build: Mapping[str, str], mode: str = "enforce") -> None:
        super().__init__(crew.books.routes, self._copies, health, build, mode)
        self._crew = crew
        self._notes: list[Note] = []

    async def sample(self) -> None:
        """Add a point of this moment: a rate would waver with how old the numbers are."""
        await self._crew.refresh()
        await super().sample()

    async def status(self) -> Status:
        """Return it all, of this moment. Workers that do not answer keep their last known numbers."""
        answers, _ = await asyncio.gather(self._crew.ask("recent"), self._crew.refresh())
        fresh = [note for notes in answers.values() for note in notes]
        self._notes = newest(list({note["id"]: note for note in (*self._notes, *fresh)}.values()))
        status = await super().status()
        count, well = self._crew.count, sum(life.well for life in self._crew.lives)
        status["guard"]["workers"] = {"count": count, "well": well, "restarts": self._crew.restarts}
        if well < count and status["level"] in (OK, IDLE):
            status |= {"level": ATTENTION, "sentence": f"{well} of {count} workers answer."}
        return status

    def _copies(self) -> list[Note]:
        return [dict(note) for note in self._notes]  # as two may look at the same time, and each is given its own
