"""SIGHUP: read the settings again, and use them for new sessions. A reload is all-or-nothing."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from spoe_guard.address import Address
from spoe_guard.net.loop import add_signal_handler, remove_signal_handler
from spoe_guard.observe.live.status import Live, Place
from spoe_guard.observe.logs import Log
from spoe_guard.observe.reloads import Reloads
from spoe_guard.run.service_manager import ServiceManager
from spoe_guard.settings import Changes, ConfigError, Loaded, Route, Settings, changes, fixed, named
from spoe_guard.slices import Slices
from spoe_guard.threads import NO_THREAD, NoThreadError, in_thread

READ_S: Final = 10.0  # for the settings to be read; beyond, those in effect stay
_SLOW_FILE: Final = "is their file on a file server that does not answer?"
SAID: Final = 16  # changed keys that a log line names at most


@dataclass(frozen=True)
class Reloaded:
    """What came of a reload: what has changed, or the ``problems`` for which nothing has."""

    changed: Changes = field(default_factory=Changes)
    problems: Sequence[str] = ()


class StoppingError(Exception):
    """The guard stops, and changes nothing any more."""


class Reloader:
    """Reads the settings with ``again`` when asked, and passes usable ones to ``use``, which must not fail halfway.

    ``try_out`` opens what the new settings need beside those in effect, and returns the reasons why it cannot. Empty: ``use``
    follows.
    """

    def __init__(  # noqa: PLR0913, PLR0917  the callbacks, and where it reports
        self,
        running: Loaded,
        again: Callable[[], Loaded],
        try_out: Callable[[Settings, Settings], Awaitable[Sequence[str]]],
        use: Callable[[Settings], Awaitable[None]],
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
        self._waiting: list[asyncio.Future[Reloaded]] = []  # for the reload that begins next
        self._alone = asyncio.Lock()  # one change at a time
        self._draining = False
        self._reading: asyncio.Future[tuple[Loaded, Changes]] | None = None

    def ask(self) -> None:
        """Reload as soon as ``keep`` gets to it. Several requests before that are one reload."""
        if self._draining:
            self._log.say("warning", "reload_ignored", reason="draining")
        else:
            self._asked.set()

    @property
    def running(self) -> Loaded:
        """The settings in effect."""
        return self._running

    async def order(self) -> "Reloaded":
        """Reload, and return what came of it.

        Raises:
            StoppingError: the guard stops.
        """
        self.ask()
        if self._draining:
            raise StoppingError
        outcome: asyncio.Future[Reloaded] = asyncio.get_running_loop().create_future()
        self._waiting.append(outcome)
        return await outcome

    async def change(self, change: Callable[[Loaded], Loaded]) -> Changes:
        """Use the settings that ``change`` makes of those in effect, until the next reload; return what differs.

        Raises:
            StoppingError: the guard stops.
        """
        async with self._alone:
            if self._draining:
                raise StoppingError
            new = change(self._running)
            changed = changes(self._running, new)
            if changed:
                await self._use(new.settings)
                self._running = new
            return changed

    def drain(self) -> None:
        """Refuse reloads from now on, because the guard stops; each one is logged."""
        self._draining = True

    async def keep(self) -> None:
        """Reload on each request, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            waiting, self._waiting = self._waiting, []
            async with self._alone:
                outcome = await self._once()
            for each in waiting:
                if not each.done():  # who asked may have gone
                    each.set_result(outcome)

    async def _once(self) -> "Reloaded":
        """Reload, and say what came of it."""
        began = monotonic()
        self._manager.reloading()
        try:
            changed = await self._reload()
        except ConfigError as error:
            return self._fail([str(problem) for problem in error.problems], error.count)
        except _RefusedError as error:
            return self._fail(error.problems, len(error.problems))
        except Exception as error:  # noqa: BLE001  our own bug: keep the settings, and keep serving
            asyncio.get_running_loop().call_exception_handler({"message": "reload", "exception": error})
            return self._fail([repr(error)], 1)
        self._reloads.succeeded()
        self._manager.reloaded()
        seconds = round(monotonic() - began, 3)
        keys, routes = changed.keys, {"added": changed.added, "removed": changed.removed}
        some = {
            what: [*names[:SAID], *([f"and {len(names) - SAID} more"] * (len(names) > SAID))] for what, names in routes.items()
        }
        self._log.say("info", "reloaded", changed=keys[:SAID], count=len(keys), **some, seconds=seconds)
        return Reloaded(changed=changed)

    async def _reload(self) -> Changes:
        """Return what has changed."""
        new, changed = await self._read()
        if why := await self._try_out(self._running.settings, new.settings):
            raise _RefusedError(why)
        await self._use(new.settings)
        self._running = new
        return changed

    def _read_and_compare(self) -> tuple[Loaded, Changes]:
        new = self._again()
        if found := fixed(self._running, new):
            raise ConfigError(*found)
        return new, changes(self._running, new)

    async def _read(self) -> tuple[Loaded, Changes]:
        """Read the settings, in a thread: YAML takes milliseconds to parse, and a file server may be dead."""
        if self._reading is not None and not self._reading.done():
            raise _RefusedError([f"the settings are still being read for an earlier reload; {_SLOW_FILE}"])
        try:
            self._reading = in_thread(self._read_and_compare, "settings")
        except NoThreadError:
            raise _RefusedError([NO_THREAD]) from None
        await asyncio.wait((self._reading,), timeout=READ_S)
        if not self._reading.done():
            raise _RefusedError([f"the settings were not read within {READ_S:g} s; {_SLOW_FILE}"])
        return self._reading.result()

    def _fail(self, problems: Sequence[str], count: int) -> "Reloaded":
        self._reloads.failed()
        self._manager.reloaded(problems[0])
        self._log.say("error", "reload_failed", problems=named(problems, count), count=count)
        return Reloaded(problems=named(problems, count))


class _RefusedError(Exception):
    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


async def show(settings: Settings, addresses: Mapping[str, Address], live: Live) -> None:
    """Show the name, the mode and the places of the routes on the live page; ``addresses``: by route, where it listens."""
    live.name, live.mode = settings.admin.name, settings.mode
    slices, places = Slices(), {}
    for route in settings.routes:
        listen = addresses.get(route.name, route.listen)  # the guard may have begun to stop
        places[route.name] = place(settings, route, str(listen))
        await slices.pause()
    live.forget([name for name in live.places if name not in places])
    live.places = places


def place(settings: Settings, route: Route, listen: str) -> Place:
    """Return what the live page says of a route; ``listen``: where it does."""
    agents = ", ".join(map(str, route.agent))
    return Place(listen, agents, settings.mode_of(route), route.profile or "", str(route.unanswered))


def hold_hang_ups() -> None:
    """Block SIGHUP until ``hang_ups`` handles it: its default is to end the process, and one may arrive at any time."""
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP,))


@contextlib.contextmanager
def hang_ups(ask: Callable[[], None]) -> Iterator[None]:
    """Call ``ask`` on the running loop for each SIGHUP, at once for a blocked one. After the end SIGHUP is blocked again."""
    add_signal_handler(signal.SIGHUP, ask)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGHUP,))
    try:
        yield
    finally:
        hold_hang_ups()
        remove_signal_handler(signal.SIGHUP)
