"""HAProxy's traffic for each monitored route, for the whole test."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from spoe_guard.lab.engine import Engine
from tests.integration.agent import OnThread

Flow = Callable[[int], Coroutine[Any, Any, None]]  # given the route's port

SLOWLY_S = 0.5  # 10 NOTIFYs in 5 s: too few for the alerts that judge a share of them
QUICKLY_S = 0.05
MANY = 80
FOREVER_S = 3600.0
QUIET_S = 0.6  # longer than disconnect_hold


async def _converse(port: int) -> None:
    """Send one NOTIFY on a connection of its own, and take what comes until it ends, or until nothing does."""
    with contextlib.suppress(OSError, TimeoutError):
        async with await Engine.tcp(port, deadline_s=QUIET_S) as engine:
            if await engine.hello() is not None:
                await engine.notify(b"/")
                await engine.rest()


async def slowly(port: int) -> None:
    """One connection after the other, with one NOTIFY each."""
    while True:
        await _converse(port)
        await asyncio.sleep(SLOWLY_S)


async def quickly(port: int) -> None:
    """The same with hardly a pause."""
    while True:
        await _converse(port)
        await asyncio.sleep(QUICKLY_S)


async def impatiently(port: int) -> None:
    """The same, and HAProxy leaves before there can be an answer."""
    while True:
        with contextlib.suppress(OSError, TimeoutError):
            async with await Engine.tcp(port) as engine:
                await engine.hello()
                await engine.notify(b"/")
                await asyncio.sleep(QUICKLY_S / 2)


async def steadily(port: int, gap_s: float = QUICKLY_S) -> None:
    """Many NOTIFYs, whatever becomes of those before, on one connection for as long as the guard keeps it."""
    while True:
        with contextlib.suppress(ConnectionError):
            async with await Engine.tcp(port) as engine:
                await engine.hello()
                while True:
                    await engine.notify(b"/")
                    await asyncio.sleep(gap_s)


async def now_and_then(port: int) -> None:
    """The same with fewer."""
    await steadily(port, SLOWLY_S)


async def side_by_side(port: int) -> None:
    """One connection that stays, and others beside it."""
    async with await Engine.tcp(port) as engine:
        await engine.hello()
        await slowly(port)


async def _stay(port: int) -> None:
    async with await Engine.tcp(port, deadline_s=FOREVER_S) as engine:
        await engine.hello()
        await asyncio.Event().wait()


async def all_at_once(port: int) -> None:
    """More connections than a guard with few descriptors can have, which stay; before them one that asks."""
    await _converse(port)
    async with asyncio.TaskGroup() as group:
        for _ in range(MANY):
            group.create_task(_stay(port))


class Traffic(OnThread):
    """``flows``: what runs, by the port it goes to."""

    def __init__(self, flows: Mapping[int, Flow]) -> None:
        super().__init__()
        self._flows = flows

    async def start(self) -> None:
        self._tasks = [asyncio.get_running_loop().create_task(flow(port)) for port, flow in self._flows.items()]

    def end(self) -> None:
        """Stop all of it now; its connections are closed behind this."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(FOREVER_S)

    async def _end(self) -> None:
        self._check()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def stop(self) -> None:
        """What still runs is cancelled behind this."""
        self._check()

    def _check(self) -> None:
        """None may have ended by itself."""
        for task in self._tasks:
            if task.done():
                task.result()
                raise AssertionError(task)
