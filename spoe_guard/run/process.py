"""What every serving process needs, whether it runs alone or as a worker; the parent of workers uses parts of it, too."""

import asyncio
import contextlib
import math
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from spoe_guard.capture.record.flight_recorder import FlightRecorder
from spoe_guard.net import loop as event_loop
from spoe_guard.net.guard import Guard
from spoe_guard.net.own_limits import ACCEPT_RESERVES, RESERVED
from spoe_guard.net.own_sockets import OwnSockets
from spoe_guard.net.route import Route, SocketRights
from spoe_guard.observe.logs import Log, wants_colors
from spoe_guard.observe.observer import GuardObserver
from spoe_guard.observe.sink import Sink
from spoe_guard.run.names import Names, Unresolved
from spoe_guard.settings import FAILS_OPEN, Settings, session_config

FLUSH_S: Final = 1.0  # how long an exit waits for the last log lines, when nobody reads them
_SUM_UP_EVERY_S: Final = 1.0
# Besides those of sessions: for listeners, admin connections, the log and the event loop.
_SPARE_FILES: Final = 128 + ACCEPT_RESERVES * RESERVED


class Process:
    """A guard with its observer and flight recorder, built from ``settings``. Needs the running loop; call ``close`` at the end.

    ``processes``: how many serve with the same settings. ``reuse_port``, ``given`` and ``lent`` go to ``net.guard.Guard``.
    """

    def __init__(
        self,
        settings: Settings,
        log: Log,
        *,
        processes: int = 1,
        reuse_port: bool = False,
        given: Mapping[str, socket.socket] | None = None,
        lent: Mapping[str, Sequence[socket.socket]] | None = None,
    ) -> None:
        report_bugs(log)
        routes, rate = routes_of(settings), settings.log.anomaly_rate
        names = [route.name for route in routes]
        self.observer = GuardObserver(names, log, rate.lines, rate.period_s, payload=settings.admin.payload)
        self._log = log
        self._recorder = recorder = FlightRecorder(settings.capture, self.observer.routes, log, processes)
        self.guard = Guard(routes, self.observer, witness=recorder.witness, reuse_port=reuse_port, given=given, lent=lent)
        for name, stats in self.observer.routes.items():
            stats.oldest = partial(self.guard.oldest_open_s, name)
        self._tell(settings)
        self.names = Names(routes, self.observer.routes, None if lent else log)
        self._beside: list[asyncio.Task[None]] = []

    async def start(
        self, unresolved: Unresolved | None = None, approve: Callable[[OwnSockets], None] = lambda _own: None
    ) -> None:
        """Listen and serve. ``unresolved``: see ``Names.note``; None: the agents' names have not been looked up yet.

        ``approve``: see ``Guard.start``.

        Raises:
            ListenError: an address cannot be bound; the guard then listens on none.
        """
        await self.guard.start(approve)
        self.names.note(unresolved or {})
        loop = asyncio.get_running_loop()
        names = self.names.look_up() if unresolved is None else self.names.keep()
        self._beside = [loop.create_task(_sum_up(self.observer)), loop.create_task(names)]
        event_loop.keep_what_is_there()

    def use(self, settings: Settings) -> None:
        """Serve new sessions with ``settings``, which must have the same route names."""
        self._recorder.set(settings.capture)
        self._log.set(settings.log.format, settings.log.level)
        self.observer.set(settings.log.anomaly_rate, settings.admin.payload)
        self._tell(settings)
        routes = routes_of(settings)
        self.names.use(routes)
        self.guard.use(routes)

    def _tell(self, settings: Settings) -> None:
        """Let the observer know each route's agents, and how long its HAProxy waits for an ACK."""
        for route in settings.routes:
            stats = self.observer.routes[route.name]
            stats.serve(map(str, route.agent))
            stats.tally.late_after = route.haproxy.timeout_processing or math.inf

    async def drain(self) -> None:
        """Wait for the last session to end, then log how many lines were left out. ``guard.abort_all`` ends the wait early."""
        await self.guard.drain()
        self.observer.journal.sum_up(all_of_it=True)

    def close(self) -> None:
        """Write the last captures."""
        for task in self._beside:
            task.cancel()
        self._recorder.close()


async def _sum_up(observer: GuardObserver) -> None:
    """Log every second how many lines were left out, until cancelled."""
    while True:
        await asyncio.sleep(_SUM_UP_EVERY_S)
        observer.journal.sum_up()


def routes_of(settings: Settings) -> list[Route]:
    """Return the routes in the form the network ring takes."""
    return [_route(settings, index) for index in range(len(settings.routes))]


def _route(settings: Settings, index: int) -> Route:
    route = settings.routes[index]
    return Route(
        name=route.name,
        listen=route.listen,
        agent=route.agent,
        rights=SocketRights(
            mode=None if route.socket.mode is None else int(route.socket.mode, 8),
            owner=route.socket.owner,
            group=route.socket.group,
        ),
        connections=route.limits.connections,
        # Observe mode promises not to change a byte, whatever goes wrong in the guard.
        splice_on_error=settings.on_internal_error == "splice" or settings.mode == "observe",
        listen_while_away=route.health == "check",
        config=session_config(settings, route),
    )


def warn_of_open_routes(settings: Settings, log: Log) -> None:
    """Log which routes let requests go on unchecked."""
    for route in settings.routes:
        if route.unanswered.kind == "empty-ack" and settings.mode == "enforce":
            log.say("warning", "fails_open", route=route.name, sentence=FAILS_OPEN)


def log_descriptor() -> int:
    """Return our own copy of standard output, or /dev/null if it is closed: otherwise a socket could get its number."""
    try:
        return os.dup(1)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)


@contextlib.contextmanager
def log_on(descriptor: int, settings: Settings, *, shared: bool = False, worker: int | None = None) -> Iterator[Log]:
    """Yield the log; on exit wait at most ``FLUSH_S`` for its last lines. ``shared``: other processes write there, too."""
    sink = Sink(descriptor, shared=shared)
    log = Log(sink, settings.log.format, settings.log.level, colors=wants_colors(descriptor), worker=worker)
    try:
        yield log
    finally:
        sink.close(FLUSH_S)


def report_bugs(log: Log) -> None:
    """Log the exceptions that the running loop catches outside of any session."""

    def say(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        log.say("error", "internal_error", error=context["message"], exc_info=context.get("exception"))

    asyncio.get_running_loop().set_exception_handler(say)


@contextlib.contextmanager
def stop_signals() -> "Iterator[asyncio.Queue[signal.Signals]]":
    """Queue SIGTERM and SIGINT as they arrive."""
    came: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, came.put_nowait, number)
    try:
        yield came
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def allow_open_files(settings: Settings, more: int = 0) -> None:
    """Raise the soft limit of open files up to the hard one: 1024, the usual one, is 500 sessions. ``more``: extra files."""
    wanted = sum((1 + route.links.max) * route.limits.connections for route in settings.routes) + _SPARE_FILES + more
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
