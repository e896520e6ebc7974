"""``python -m tests.fleet.watched REPORT ARGUMENTS``: ``spoe-guard ARGUMENTS`` that says how long it held its event loop.

For each request of the admin address and each reload REPORT gets a line of JSON: ``what``; ``cpu_ms``, what the loop's thread
took until it was over, sending included; and, every second time, in place of it ``longest_ms``, the longest turn of the loop.
Both are CPU time of that thread, so that it does not count when others have the CPU. ``collecting_ms``: of these, what Python's
garbage collector took, for whatever there is in the process; ``collections``: since the line before, by generation, how often it
began and how long it took at most, in milliseconds. A line says that the guard has ``started``. With workers these are the
parent's; each worker says the same in a file of its own, of each time that it tells its numbers (``numbers``) or takes on other
settings (``heard``, ``prepare``, ``use``). NOTIFYs pass meanwhile, so what it says are the longest steps of that work itself. On
SIGUSR1 the history is filled, a point each 20 ms in place of 5 s, which is said as well.
"""

import asyncio
import gc
import itertools
import json
import os
import signal
import sys
import threading
import time
import types
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any

from spoe_guard import cli
from spoe_guard.observe import admin
from spoe_guard.observe.admin import Admin
from spoe_guard.observe.live.history import POINTS
from spoe_guard.observe.live.status import Live
from spoe_guard.run.process import Process
from spoe_guard.run.reload import Reloader
from spoe_guard.run.workers import parent, worker
from spoe_guard.run.workers.worker_process import start

FILL_S = 0.02
WORK = "work"
ASKED_S = 60.0


class Collector:
    """What the garbage collector took in the loop's thread."""

    def __init__(self) -> None:
        self.took_s = 0.0
        self._began = 0.0
        self._seen: dict[int, list[float]] = {}

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        if threading.current_thread() is threading.main_thread():
            if phase == "start":
                self._began = time.thread_time()
            else:
                took_s = time.thread_time() - self._began
                self.took_s += took_s
                self._seen.setdefault(info["generation"], []).append(took_s)

    def take(self) -> dict[int, tuple[int, float]]:
        """Return of each generation how many collections there were since the last call, and milliseconds of the longest."""
        seen, self._seen = self._seen, {}
        return {generation: (len(took), round(1000 * max(took), 3)) for generation, took in sorted(seen.items())}


class Turns:
    """Looks at each turn of the loop, which has no rest meanwhile. ``collecting_s``: of the longest one, the collector's part."""

    def __init__(self, collector: Collector) -> None:
        self.longest_s = 0.0
        self.collecting_s = 0.0
        self._collector = collector

    async def look(self) -> None:
        while True:
            began, collected_s = time.thread_time(), self._collector.took_s
            await asyncio.sleep(0)
            took_s = time.thread_time() - began
            if took_s > self.longest_s:
                self.longest_s, self.collecting_s = took_s, self._collector.took_s - collected_s


class Watch:
    def __init__(self, report: Path) -> None:
        self._report = report.open("a", buffering=1)
        self._collector = Collector()
        gc.callbacks.append(self._collector)

    def over(self, method: Callable[..., Awaitable[Any]], what: str) -> Callable[..., Awaitable[Any]]:
        """Return the method, watched."""
        looking = itertools.cycle((False, True))

        async def watched(*args: Any) -> Any:
            return await (self._turns_of if next(looking) else self._cpu_of)(method(*args), what)

        return watched

    async def _cpu_of(self, work: Awaitable[Any], what: str) -> Any:
        began, collected_s = time.thread_time(), self._collector.took_s
        try:
            return await work
        finally:
            took_s, collecting_s = time.thread_time() - began, self._collector.took_s - collected_s
            self.say(what=what, cpu_ms=1000 * took_s, collecting_ms=1000 * collecting_s)

    async def _turns_of(self, work: Awaitable[Any], what: str) -> Any:
        turns = Turns(self._collector)
        looking = asyncio.get_running_loop().create_task(turns.look())
        try:
            return await work
        finally:
            looking.cancel()
            self.say(what=what, longest_ms=1000 * turns.longest_s, collecting_ms=1000 * turns.collecting_s)

    def steps_of(self, method: Callable[..., Awaitable[Any]], what: str) -> Callable[..., Awaitable[Any]]:
        """Return the method, watched in its own steps."""

        async def watched(*args: Any, **named: Any) -> Any:
            longest = [(0.0, 0.0)]

            def note(began: float, collected_s: float) -> None:
                took_s, collecting_s = time.thread_time() - began, self._collector.took_s - collected_s
                longest[0] = max(longest[0], (took_s - collecting_s, collecting_s))

            try:
                return await self._stepped(method(*args, **named), note)
            finally:
                took_s, collecting_s = longest[0]
                self.say(what=what, longest_ms=1000 * (took_s + collecting_s), collecting_ms=1000 * collecting_s)

        return watched

    @types.coroutine
    def _stepped(self, work: Awaitable[Any], note: Callable[[float, float], None]) -> Generator[Any, Any, Any]:
        steps = work.__await__()
        while True:
            began, collected_s = time.thread_time(), self._collector.took_s
            try:
                waits_for = next(steps)
            except StopIteration as done:
                return done.value
            finally:
                note(began, collected_s)
            yield waits_for

    def say(self, **line: Any) -> None:
        self._report.write(f"{json.dumps({**line, 'collections': self._collector.take()})}\n")


def work(report: str, descriptor: int) -> int:
    """Be a worker that is watched."""
    watch = Watch(Path(f"{report}-{os.getpid()}"))
    worker._Worker._tell_numbers = watch.steps_of(worker._Worker._tell_numbers, "numbers")  # type: ignore[method-assign, assignment]
    worker.heard = watch.steps_of(worker.heard, "heard")  # type: ignore[assignment]
    Process.prepare = watch.steps_of(Process.prepare, "prepare")  # type: ignore[method-assign, assignment]
    Process.use = watch.steps_of(Process.use, "use")  # type: ignore[method-assign, assignment]
    return worker.main(descriptor)


def main() -> None:
    if sys.argv[1] == WORK:
        sys.exit(work(sys.argv[2], int(sys.argv[3])))
    watch = Watch(Path(sys.argv[1]))
    parent.start = partial(start, program=("-m", "tests.fleet.watched", WORK, sys.argv[1]))
    admin.REQUEST_S = ASKED_S  # type: ignore[misc]  CPU time is measured, however busy the machine is with others
    keep = Live.keep

    async def filled(live: Live) -> None:
        asked = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, asked.set)
        await asked.wait()
        for _ in range(POINTS + 1):
            await asyncio.sleep(FILL_S)
            await Live.sample(live)  # and ask no worker each time
        watch.say(what="filled")
        await keep(live)

    async def started(process: Process, *arguments: Any) -> None:
        await begin(process, *arguments)
        watch.say(what="started")

    begin = Process.start
    Process.start = started  # type: ignore[method-assign, assignment]
    Live.keep = filled  # type: ignore[method-assign]
    Admin._serve = watch.over(Admin._serve, "asked")  # type: ignore[method-assign, assignment]
    Reloader._once = watch.over(Reloader._once, "reload")  # type: ignore[method-assign, assignment]
    sys.argv[1:] = sys.argv[2:]
    cli.main()


if __name__ == "__main__":
    main()
