"""SIGHUP: read the settings again, and use them for new sessions. A reload is all-or-nothing."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from time import monotonic
from typing import Final

from spoe_guard.net.guard import Guard
from spoe_guard.observe.live.status import Live, Place
from spoe_guard.observe.logs import Log
from spoe_guard.observe.reloads import Reloads
from spoe_guard.run.service_manager import ServiceManager
from spoe_guard.settings import ConfigError, Loaded, Route, Settings, changes, fixed, named
from spoe_guard.threads import NO_THREAD, NoThreadError, in_thread

READ_S: Final = 10.0  # for the settings to be read; beyond, those in effect stay
_SLOW_FILE: Final = "is their file on a file server that does not answer?"
SAID: Final = 16  # changed keys that a log line names at most


class Reloader:
    """Reads the settings with ``again`` when asked, and passes usable ones to ``use``, which must not fail halfway.

    ``try_out`` returns the reasons why the new settings cannot replace those in effect; empty where they can.
    """

    def __init__(  # noqa: PLR0913, PLR0917  the callbacks, and where it reports
        self,
        running: Loaded,
        again: Callable[[], Loaded],
        try_out: Callable[[Settings, Settings], Awaitable[Sequence[str]]],
        use: Callable[[Settings], None],
        log: Log,
        reloads: Reloads,
        manager: ServiceManager,
    ) -> None:
        self._running = running
        self._again = again
        self._try_out = try_out
        self._use = use
        self._log = log
        self._reloads = reloads
        self._manager = manager
        self._asked = asyncio.Event()
        self._draining = False
        self._reading: asyncio.Future[Loaded] | None = None

    def ask(self) -> None:
        """Reload as soon as ``keep`` gets to it. Several requests before that are one reload."""
        if self._draining:
            self._log.say("warning", "reload_ignored", reason="draining")
        else:
            self._asked.set()

    def drain(self) -> None:
        """Refuse reloads from now on, because the guard stops; each one is logged."""
        self._draining = True

    async def keep(self) -> None:
        """Reload on each request, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            began = monotonic()
            self._manager.reloading()
            try:
                changed = await self._reload()
            except ConfigError as error:
                self._fail([str(problem) for problem in error.problems], error.count)
            except _RefusedError as error:
                self._fail(error.problems, len(error.problems))
            except Exception as error:  # noqa: BLE001  our own bug: keep the settings, and keep serving
                self._fail([repr(error)], 1)
                asyncio.get_running_loop().call_exception_handler({"message": "reload", "exception": error})
            else:
                self._reloads.succeeded()
                self._manager.reloaded()
                seconds = round(monotonic() - began, 3)
                self._log.say("info", "reloaded", changed=changed[:SAID], count=len(changed), seconds=seconds)

    async def _reload(self) -> list[str]:
        """Return which keys have changed."""
        new = await self._read()
        if found := fixed(self._running, new):
            raise ConfigError(*found)
        if why := await self._try_out(self._running.settings, new.settings):
            raise _RefusedError(why)
        changed = changes(self._running, new)
        self._use(new.settings)
        self._running = new
        return changed

    async def _read(self) -> Loaded:
        """Read the settings, in a thread: YAML takes milliseconds to parse, and a file server may be dead."""
        if self._reading is not None and not self._reading.done():
            raise _RefusedError([f"the settings are still being read for an earlier reload; {_SLOW_FILE}"])
        try:
            self._reading = in_thread(self._again, "settings")
        except NoThreadError:
            raise _RefusedError([NO_THREAD]) from None
        await asyncio.wait((self._reading,), timeout=READ_S)
        if not self._reading.done():
            raise _RefusedError([f"the settings were not read within {READ_S:g} s; {_SLOW_FILE}"])
        return self._reading.result()

    def _fail(self, problems: Sequence[str], count: int) -> None:
        self._reloads.failed()
        self._manager.reloaded(problems[0])
        self._log.say("error", "reload_failed", problems=named(problems, count), count=count)


class _RefusedError(Exception):
    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def show(settings: Settings, guard: Guard, live: Live) -> None:
    """Show the mode and the places of ``guard`` on the live page."""
    live.mode = settings.mode
    live.places = {route.name: place(route, str(guard.addresses[route.name])) for route in settings.routes}


def place(route: Route, listen: str) -> Place:
    """Return what the live page says of a route; ``listen``: where it does."""
    return Place(listen, ", ".join(map(str, route.agent)), route.profile or "", str(route.unanswered))


def hold_hang_ups() -> None:
    """Block SIGHUP until ``hang_ups`` handles it: its default is to end the process, and one may arrive at any time."""
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP,))


@contextlib.contextmanager
def hang_ups(ask: Callable[[], None]) -> Iterator[None]:
    """Call ``ask`` on the running loop for each SIGHUP, at once for a blocked one. After the end SIGHUP is blocked again."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, ask)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGHUP,))
    try:
        yield
    finally:
        hold_hang_ups()
        loop.remove_signal_handler(signal.SIGHUP)
