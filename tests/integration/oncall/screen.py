"""What `spoe-guard top` has drawn on a terminal, as whoever sits before it reads it."""

import asyncio
import re
import threading
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import Final, Self

from spoe_guard.address import Address
from spoe_guard.observe.live.states import MARKS
from spoe_guard.top.app import Top
from spoe_guard.top.ask import ask

SIZE: Final = (200, 72)  # columns and rows: there is room for a line of each incident
STARTED_S: Final = 20.0
DRAWN_S: Final = 5.0

_BY_MARK: Final = {mark: state for state, mark in MARKS.items()}
_LINE: Final = re.compile(rf" (?=[{''.join(_BY_MARK)}] \S+: )")  # where one about a route begins


class Screen:
    """``with`` it, ``top`` runs in a thread of its own and asks the guard at ``address`` as often as it does for anybody."""

    def __init__(self, address: Address) -> None:
        self._top = Top(partial(ask, address), ask(address))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),), name="top")
        self._started: Future[None] = Future()
        self._over = asyncio.Event()

    async def _run(self) -> None:
        try:
            async with self._top.run_test(size=SIZE):
                self._started.set_result(None)
                await self._over.wait()
        except BaseException as error:
            if not self._started.done():
                self._started.set_exception(error)
            raise

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.result(STARTED_S)
        return self

    def rows(self) -> list[str]:
        """Return the text of each row, from the top."""
        return asyncio.run_coroutine_threadsafe(self._drawn(), self._loop).result(DRAWN_S)

    async def _drawn(self) -> list[str]:
        return [strip.text for strip in self._top.screen._compositor.render_strips()]

    def troubles(self) -> dict[str, tuple[str, str]]:
        """Return what is wrong, by the name of the route: its state, and the line about it, put together again."""
        rows = self.rows()
        end = next(at for at, row in enumerate(rows) if " as of " in row)
        _headline, *lines = _LINE.split(" ".join(" ".join(rows[:end]).split()))
        found = {}
        for line in lines:
            mark, name, _rest = line.split(maxsplit=2)
            found[name.removesuffix(":")] = _BY_MARK[mark].value, line
        return found

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(STARTED_S)
        self._loop.close()
