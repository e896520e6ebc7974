"""Metrics, health and the live page of all workers, for the one admin address."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from typing import Final

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

from spoe_guard.observe.formats import Rendering
from spoe_guard.observe.health import Health, Verdict
from spoe_guard.observe.incidents import Row, merged
from spoe_guard.observe.live.states import State
from spoe_guard.observe.live.status import Live, Status
from spoe_guard.observe.metrics import Exposition, GuardMetrics
from spoe_guard.observe.reloads import Reloads
from spoe_guard.run.workers.pool import WorkerPool
from spoe_guard.run.workers.totals import AllProcesses


class PoolMetrics:
    """The sums over all workers, and the metrics of the workers themselves."""

    def __init__(
        self, pool: WorkerPool, build: Mapping[str, str], reloads: Reloads | None = None, live: Live | None = None
    ) -> None:
        self._pool = pool
        self._sums = GuardMetrics(pool.totals.routes, build, reloads, live)

    def write(self, rendering: Rendering) -> Iterator[None]:
        """Add every family."""
        yield from self._sums.write(rendering)
        workers = sum(worker.well for worker in self._pool.workers)
        rendering.add(GaugeMetricFamily("spoe_guard_workers", "Workers that listen and answer.", value=workers))
        text = "Workers started again because one had ended."
        rendering.add(CounterMetricFamily("spoe_guard_worker_restarts_total", text, value=self._pool.restarts))


class PoolExposition(Exposition):
    """The answer to a scrape: it asks every worker, and waits no longer than ``Timing.ask``."""

    def __init__(
        self, pool: WorkerPool, build: Mapping[str, str], reloads: Reloads | None = None, live: Live | None = None
    ) -> None:
        super().__init__(PoolMetrics(pool, build, reloads, live), AllProcesses(pool.totals))
        self._pool = pool

    async def _refresh(self) -> None:
        """Ask every worker for its numbers."""
        await self._pool.refresh()


class PoolHealth(Health):
    """Readiness by the rules for one process, up to a second old.

    A worker that is being restarted gets no connections: the others do. One that hangs gets them, and does not answer.
    """

    def __init__(self, pool: WorkerPool) -> None:
        super().__init__(pool.totals.routes)
        self._pool = pool

    def ready(self) -> Verdict:
        """Return whether every new connection would be served, and why not."""
        workers = [worker for worker in self._pool.workers if worker.listens]
        ready, why = super().ready()
        if self.draining or not self.listening:
            return ready, why
        hung = [f"worker {worker.number}: no answer\n" for worker in workers if worker.misses]
        well = len(workers) - len(hung)
        return ready and well > 0 and not hung, f"{why}{''.join(hung)}workers: {well} of {self._pool.count}\n"


class PoolLive(Live):
    """The live page and ``/api/status``: the sums, and the incidents of all workers as one list.

    A worker is asked for its incidents when somebody looks. Its last answer is kept, of ``KEPT`` processes for each worker: once
    one hangs or has died, what it saw matters most.
    """

    KEPT: Final = 2

    def __init__(self, pool: WorkerPool, health: PoolHealth, build: Mapping[str, str], mode: str = "enforce") -> None:
        super().__init__(pool.totals.routes, self._merged, health, build, mode)
        self._pool = pool
        self._told_by: dict[int, list[Row]] = {}  # by process, the last to answer last

    async def sample(self) -> None:
        """Add a point from fresh numbers: old ones would make the rates waver."""
        await self._pool.refresh()
        await super().sample()

    async def _refresh(self) -> None:
        """Ask the workers. Those that do not answer keep their last known numbers."""
        answers, _ = await asyncio.gather(self._pool.ask("incidents"), self._pool.refresh())
        for answer in answers.values():
            self._told_by.pop(answer["pid"], None)
            self._told_by[answer["pid"]] = answer["rows"]
        for pid in list(self._told_by)[: -self.KEPT * self._pool.count]:
            del self._told_by[pid]

    def _more_of_the_guard(self) -> Status:
        return {"workers": {"count": self._pool.count, "well": self._well(), "restarts": self._pool.restarts}}

    def _of_all(self, states: list[State]) -> tuple[State, str]:
        state, sentence = super()._of_all(states)
        if self._well() < self._pool.count and state in {State.OK, State.REPAIRED}:
            return State.DEGRADED, f"{self._well()} of {self._pool.count} workers answer."
        return state, sentence

    def _well(self) -> int:
        return sum(worker.well for worker in self._pool.workers)

    def _merged(self) -> list[Row]:
        return merged((row for rows in self._told_by.values() for row in rows), time.monotonic())
