"""The pool of workers: it starts, watches, restarts, asks and stops them."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

from spoe_guard.observe.logs import Log
from spoe_guard.run.workers.channel import Message
from spoe_guard.run.workers.pause import Pause
from spoe_guard.run.workers.telling import Told
from spoe_guard.run.workers.totals import Totals
from spoe_guard.run.workers.worker_process import WorkerProcess
from spoe_guard.slices import Slices

_LEAVE_S: Final = 0.5  # a worker that hangs delays the others no longer than this


class StartError(Exception):
    """A worker does not listen. The text names the worker and the reason, in one line."""


@dataclass(frozen=True)
class Timing:
    """Seconds a worker has to listen (``start``), to answer (``ask``), and until it counts as hung (``silent``).

    ``every``: how often it is asked.
    """

    start: float = 60.0
    ask: float = 2.0
    every: float = 1.0
    silent: float = 30.0


class WorkerPool:
    """``count`` workers, numbered from 1, each started by ``spawn``. ``totals``: the sum of their counters."""

    def __init__(
        self,
        count: int,
        spawn: Callable[[int], Awaitable[WorkerProcess]],
        routes: Iterable[str],
        log: Log,
        timing: Timing | None = None,
    ) -> None:
        self.count = count
        self.totals = Totals(routes)
        self.restarts = 0
        self._spawn = spawn
        self._log = log
        self._timing = timing or Timing()
        self._workers: dict[int, WorkerProcess] = {}
        self._stopping = asyncio.Event()
        self._kept: list[asyncio.Task[None]] = []
        self._watch: asyncio.Task[None] | None = None
        self._started = False
        self._summing = asyncio.Lock()
        self._next_sum: asyncio.Task[None] | None = None  # it has not begun

    @property
    def workers(self) -> list[WorkerProcess]:
        """The running workers, sorted by number."""
        return [self._workers[number] for number in sorted(self._workers)]

    async def start(self) -> None:
        """Start all workers, and return when all listen.

        Raises:
            StartError: one does not listen; call ``kill`` then.
        """
        for number in range(1, self.count + 1):
            try:
                self._workers[number] = await self._spawn(number)
            except OSError as error:
                raise StartError(f"worker {number} cannot be started: {error.strerror}") from None
        loop = asyncio.get_running_loop()
        self._kept = [loop.create_task(self._keep(number)) for number in self._workers]
        starting = {worker.listening: worker.number for worker in self.workers}
        deadline = monotonic() + self._timing.start
        while starting:
            done, _ = await asyncio.wait(starting, timeout=deadline - monotonic(), return_when=asyncio.FIRST_COMPLETED)
            if not done:
                raise StartError(f"worker {min(starting.values())} does not listen after {self._timing.start:g} s")
            for start in done:
                number, why = starting.pop(start), start.result()
                if why is not None:
                    raise StartError(f"worker {number}: {why}")
        self._started = True
        self._watch = loop.create_task(self._look_after())

    async def ask(
        self, what: str, given: Message | None = None, more_s: float = 0.0, parts: Sequence[bytes] = ()
    ) -> dict[int, Any]:
        """Ask every worker for ``what`` (see ``worker._Worker``); return the answers that came in time, by worker number.

        ``more_s``: how much longer than others this question may take. ``parts``: of the message, see ``channel``.
        """
        workers, within_s = self.workers, self._timing.ask + more_s
        answers = await asyncio.gather(*(worker.ask(what, within_s, given, parts) for worker in workers))
        return {worker.number: each for worker, each in zip(workers, answers, strict=True) if each is not None}

    async def refresh(self) -> None:
        """Bring ``totals`` up to date. Workers that do not answer keep their last known numbers.

        One sum is made at a time, so that none takes the place of a newer one; all who wait for it meanwhile share the next.
        Cancelling leaves it to the others.
        """
        await self.ask("numbers")
        if self._next_sum is None or self._next_sum.done():
            self._next_sum = asyncio.get_running_loop().create_task(self._sum_up())
        await asyncio.shield(self._next_sum)

    async def _sum_up(self) -> None:
        async with self._summing:
            self._next_sum = None  # who comes from here on has newer numbers
            await self.totals.sum_up(worker.numbers for worker in self.workers if worker.numbers is not None)

    async def stop(self, bound_s: float) -> None:
        """Drain all workers and return when they are gone; kill those that still run after ``bound_s``.

        A worker that stops alone hands its sessions over to the others, so all are told first to take none.
        """
        self._stopping.set()
        await asyncio.gather(*(worker.ask("leave", _LEAVE_S) for worker in self.workers))
        self.tell("drain")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*map(asyncio.shield, self._kept)), bound_s)
        await self.kill()

    async def reload(self, told: Told) -> None:
        """Send new settings to the running workers; one that starts later gets them at its start."""
        slices = Slices()
        for worker in self.workers:
            worker.reload(told)
            await slices.pause()

    def tell(self, how: str) -> None:
        """Restart no worker from now on, and tell the running ones to stop: ``drain`` or ``now``."""
        self._stopping.set()
        for worker in self.workers:
            worker.stop(how)

    async def kill(self) -> None:
        """Kill the workers that still run."""
        self._stopping.set()
        for worker in self.workers:
            worker.process.kill()
        if self._kept:
            await asyncio.wait(self._kept)
        for worker in self.workers:  # those without a ``_keep`` task yet
            await worker.end()
        if self._watch is not None:
            self._watch.cancel()

    async def _keep(self, number: int) -> None:
        """Restart worker ``number`` whenever it ends, until all stop."""
        pause = Pause()
        while True:
            worker = self._workers[number]
            await worker.over
            how = await worker.end()
            del self._workers[number]
            if worker.numbers is not None:
                self.totals.close(worker.numbers)
            never_listened = worker.listening.result() is not None
            if self._stopping.is_set() or (never_listened and not self._started):
                return
            wait_s = pause.after(monotonic() - worker.began)
            self._say_ended(worker, how, wait_s)
            while not await self._again(number, wait_s):
                if self._stopping.is_set():
                    return
                wait_s = pause.after(0.0)

    async def _again(self, number: int, wait_s: float) -> bool:
        """Start ``number`` again after ``wait_s``; return False if the pool stops meanwhile, or there is no process to be had."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), wait_s)
            return False
        self.restarts += 1
        try:
            worker = self._workers[number] = await self._spawn(number)
        except OSError as error:
            self._log.say("error", "worker_ended", worker=number, how=f"cannot be started: {error.strerror}")
            return False
        worker.listening.add_done_callback(lambda _said: self._say_started(worker))
        if self._stopping.is_set():  # the stop came during the start; it serves no session yet
            worker.process.kill()
        return True

    def _say_started(self, worker: WorkerProcess) -> None:
        if worker.listens:
            self._log.say("info", "worker_started", worker=worker.number, pid=worker.process.pid)

    def _say_ended(self, worker: WorkerProcess, how: str, wait_s: float) -> None:
        why = worker.listening.result()
        self._log.say(
            "error" if why is not None else "warning",
            "worker_ended",
            worker=worker.number,
            pid=worker.process.pid,
            how=how if why is None else why,
            seconds=round(monotonic() - worker.began, 3),
            sessions=worker.numbers.sessions if worker.numbers is not None else 0,
            again_in=round(wait_s, 3),
        )

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(self._timing.every)
            await self.refresh()
            now = monotonic()
            for worker in self.workers:
                hung = worker.misses and now - worker.heard_at > self._timing.silent
                if hung or (not worker.listens and now - worker.began > self._timing.start):
                    self._log.say("error", "worker_hung", worker=worker.number, pid=worker.process.pid)
                    worker.process.kill()
