"""What every serving process needs, whether it runs alone or as a worker; the parent of workers uses parts of it, too."""

import asyncio
import contextlib
import math
import os
import resource
import signal
import socket
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Final

from spoe_guard.capture.record.flight_recorder import FlightRecorder
from spoe_guard.collector import Collector, Load
from spoe_guard.core.conversation.refusal import MOST_HELD
from spoe_guard.net import own_limits, resolver
from spoe_guard.net.guard import Ended, Guard, Lent
from spoe_guard.net.loop import add_signal_handler, remove_signal_handler
from spoe_guard.net.opening import Opening
from spoe_guard.net.own_limits import ACCEPT_RESERVES, RESERVED
from spoe_guard.net.own_sockets import OwnSockets
from spoe_guard.net.route import Route, SocketRights
from spoe_guard.observe.limit import SUMMARY_S, RateLimit
from spoe_guard.observe.logs import Log, wants_colors
from spoe_guard.observe.observer import GuardObserver
from spoe_guard.observe.sink import Sink
from spoe_guard.run.handover_place import no_handover
from spoe_guard.run.names import Names, Unresolved
from spoe_guard.settings import FAILS_OPEN, Settings, session_config, total_bytes
from spoe_guard.settings import Route as RouteSettings
from spoe_guard.slices import Slices

FLUSH_S: Final = 1.0  # how long an exit waits for the last log lines, when nobody reads them
# SIGQUIT: how nginx stops gracefully. To the others HAProxy and nginx stop, reload or reopen their logs, and fingers know them.
STOPS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
IGNORED: Final = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)
SUM_UP_EVERY_S: Final = 1.0
_MISSING: Final = "more memory was in use than sessions explain; if many objects were found, please report it as a bug"
_SILENCE_EVERY_S: Final = 60.0  # at most one line for a name of which the resolver is silent
# Besides those of sessions: for listeners, admin connections, the log and the event loop.
_SPARE_FILES: Final = 128 + ACCEPT_RESERVES * RESERVED


@dataclass(frozen=True)
class Prepared:
    """Settings that a process can use: what they need is open."""

    settings: Settings
    routes: Sequence[Route]
    opening: Opening

    def close(self) -> None:
        """Give it up."""
        self.opening.close()


class Process:
    """A guard with its observer and flight recorder, built from ``settings``. Needs the running loop; call ``close`` at the end.

    ``processes``: how many serve with the same settings. ``reuse_port``, ``handover``, ``given``, ``lent`` and ``drained`` go to
    ``net.guard.Guard``.
    """

    def __init__(  # noqa: PLR0913  what it serves by, and what it shares with others
        self,
        settings: Settings,
        log: Log,
        *,
        processes: int = 1,
        reuse_port: bool = False,
        handover: Path | None = None,
        given: Mapping[str, socket.socket] | None = None,
        lent: Lent | None = None,
        drained: Collection[str] = (),
    ) -> None:
        report_bugs(log)
        routes, rate = routes_of(settings), settings.log.rate
        names = [route.name for route in routes]
        self.observer = GuardObserver(names, log, rate.lines, rate.period_s, payload=settings.admin.payload)
        self.observer.set(rate, settings.admin.payload, settings.log.unique_id)
        self._log = log
        self._recorder = recorder = FlightRecorder(settings.capture, self.observer.all, log, processes, self.observer.incidents)
        self._processes = processes
        self.guard = Guard(
            routes,
            self.observer,
            witness=recorder.witness,
            reuse_port=reuse_port,
            handover=handover,
            given=given,
            lent=lent,
            drained=drained,
            total_bytes=total_bytes(settings, processes),
        )
        for route in settings.routes:
            self._tell(route)
        self.names = Names(routes, self.observer.routes, None if lent else log)
        self._silences: RateLimit[str] = RateLimit(1, _SILENCE_EVERY_S, monotonic)
        resolver.of_this_process().watch(self._resolver_silent)
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
        if self.guard.no_handover:
            no_handover(self._log, self.guard.no_handover)
        self.names.note(unresolved or {})
        loop = asyncio.get_running_loop()
        names = self.names.look_up() if unresolved is None else self.names.keep()
        collector = Collector()
        self._beside = [loop.create_task(_every_second(self.observer, self.guard, collector, self._log)), loop.create_task(names)]
        collector.begin(self.guard.load)

    async def prepare(self, settings: Settings, lent: Lent | None = None) -> Prepared:
        """Open what the routes of ``settings`` need, for ``use``; otherwise nothing changes. ``close`` gives it up.

        ``lent``: see ``Guard.prepare``.

        Raises:
            ListenError: which route cannot listen, or stop to, and why; nothing has changed.
        """
        routes = await routes_in_slices(settings)
        return Prepared(settings, routes, await self.guard.prepare(routes, lent))

    async def use(self, prepared: Prepared) -> None:
        """Serve new sessions with the settings that are prepared."""
        settings, routes = prepared.settings, prepared.routes
        self._recorder.set(settings.capture)
        self._log.set(settings.log.format, settings.log.level, settings.log.payload)
        self.observer.set(settings.log.rate, settings.admin.payload, settings.log.unique_id)
        slices = Slices()
        for route in settings.routes:
            self.observer.meet(route.name)
            self._tell(route)
            await slices.pause()
        self.observer.serve([route.name for route in routes])
        await self.names.use(routes)
        await self.guard.change(routes, prepared.opening, total_bytes(settings, self._processes), self._ended)

    def _ended(self, ended: Ended) -> None:
        """Log that what a reload took away is over, and keep nothing of it."""
        if not self.guard.knows(ended.name):
            self.observer.forget(ended.name)
            self._recorder.forget(ended.name)
        self._log.say(
            "info",
            "route_ended",
            route=ended.name,
            listen=str(ended.listen),
            sessions=ended.sessions,
            reset=ended.reset,
            seconds=round(ended.seconds, 3),
        )

    def _tell(self, route: RouteSettings) -> None:
        """Let the observer know a route's agents, how long its HAProxy waits for an ACK, and whom to ask what is open."""
        stats = self.observer.all[route.name]
        stats.oldest = partial(self.guard.oldest_open_s, route.name)
        stats.open_on = partial(self.guard.open_on, route.name)
        stats.given_to = partial(self.guard.given_to, route.name)
        stats.serve(map(str, route.agent))
        stats.tally.late_after = route.haproxy.timeout_processing or math.inf

    def _resolver_silent(self, host: str) -> None:
        """Log that the last good answer for a name is used."""
        if self._silences.allows(host):
            sentence = "the resolver does not answer for this name; its last good answer is used"
            self._log.say("warning", "resolver_silent", name=host, sentence=sentence)

    def capture(self, sessions: Iterable[int], seconds: float) -> int | None:
        """Have captures of these sessions written, see ``FlightRecorder.ask``."""
        return self._recorder.ask(sessions, seconds)

    async def drain(self) -> None:
        """Wait for the last session to end, then log the ends of incidents. ``guard.abort_all`` ends the wait early."""
        await self.guard.drain()
        self.observer.journal.sum_up(all_of_it=True)

    def close(self) -> None:
        """Write the last captures."""
        for task in self._beside:
            task.cancel()
        self._recorder.close()


async def _every_second(observer: GuardObserver, guard: Guard, collector: Collector, log: Log) -> None:
    """Log what is due of incidents, count what open NOTIFYs take, and collect garbage, until cancelled."""
    while True:
        await asyncio.sleep(SUM_UP_EVERY_S)
        observer.journal.sum_up()
        await guard.count_open()
        collect(collector, guard.load, log)


def collect(collector: Collector, load: Load, log: Log) -> None:
    """Collect garbage, to be called every second; log it where memory was missing."""
    found = collector.look(load)
    if found is not None:
        log.say("warning", "memory_missing", found=found.objects, seconds=round(found.seconds, 3), sentence=_MISSING)


def routes_of(settings: Settings) -> list[Route]:
    """Return the routes in the form the network ring takes."""
    return [_route(settings, index) for index in range(len(settings.routes))]


async def routes_in_slices(settings: Settings) -> list[Route]:
    """Return the same while the loop serves."""
    slices, routes = Slices(), []
    for index in range(len(settings.routes)):
        routes.append(_route(settings, index))
        await slices.pause()
    return routes


def _route(settings: Settings, index: int) -> Route:
    route = settings.routes[index]
    return Route(
        name=route.name,
        listen=route.listen,
        agent=route.agent,
        balance=route.balance,
        rights=SocketRights(
            mode=None if route.socket.mode is None else int(route.socket.mode, 8),
            owner=route.socket.owner,
            group=route.socket.group,
        ),
        connections=route.limits.connections,
        proxy_header=route.proxy_protocol == "accept",
        # Observe mode promises not to change a byte, whatever goes wrong in the guard.
        splice_on_error=settings.on_internal_error == "splice" or settings.mode_of(route) == "observe",
        listen_while_away=route.health == "check",
        config=session_config(settings, route),
    )


def warn_of_open_routes(settings: Settings, log: Log) -> None:
    """Log which routes let requests go on unchecked."""
    for route in settings.routes:
        if route.unanswered.kind == "empty-ack" and settings.mode_of(route) == "enforce":
            log.say("warning", "fails_open", route=route.name, sentence=FAILS_OPEN)


def log_descriptor() -> int:
    """Return our own copy of standard output, or /dev/null if it is closed: otherwise a socket could get its number."""
    try:
        return os.dup(1)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)


@contextlib.contextmanager
def log_on(descriptor: int, settings: Settings, *, shared: bool = False, worker: int | None = None) -> Iterator[Log]:
    """Yield the log; on exit wait at most ``FLUSH_S`` for its last lines. ``shared``: other processes write there, too.

    Raises:
        NoThreadError: no thread can be started to write it.
    """
    sink = Sink(descriptor, shared=shared)
    colors = wants_colors(descriptor)
    log = Log(sink, settings.log.format, settings.log.level, settings.log.payload, colors=colors, worker=worker)
    try:
        yield log
    finally:
        sink.close(FLUSH_S)


def report_bugs(log: Log) -> None:
    """Log the exceptions that the running loop catches outside of any session.

    That the guard is short of something is no bug: asyncio says so a hundred times a second where it serves the admin address.
    """
    rare: RateLimit[str] = RateLimit(1, SUMMARY_S, monotonic)

    def say(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in own_limits.NO_ROOM:
            # asyncio's message names the callback with its arguments, which may be a peer's bytes.
            message = context["message"] if error is None or log.payload == "full" else log.error_text(error)
            log.say("error", "internal_error", error=message, exc_info=error)
        elif rare.allows("own_limit"):
            log.say("warning", "own_limit", doing="admin", detail=own_limits.shortage(error.errno))

    asyncio.get_running_loop().set_exception_handler(say)


@contextlib.contextmanager
def stop_signals(log: Log) -> "Iterator[asyncio.Queue[signal.Signals]]":
    """Queue each of ``STOPS`` as it arrives, and log each of ``IGNORED``. After the end those are ignored without a word."""
    came: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for number in STOPS:
        add_signal_handler(number, came.put_nowait, number)
    for number in IGNORED:
        add_signal_handler(number, _ignore, log, number)
    try:
        yield came
    finally:
        for number in (*STOPS, *IGNORED):
            remove_signal_handler(number)
        ignore_signals()


def ignore_signals() -> None:
    """Ignore each of ``IGNORED``, whose default is to end the process."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)


def _ignore(log: Log, number: signal.Signals) -> None:
    log.say("warning", "signal_ignored", signal=number.name, sentence="SIGHUP reloads, SIGTERM stops; this one does nothing")


def allow_open_files(settings: Settings, more: int = 0) -> None:
    """Raise the soft limit of open files up to the hard one: 1024, the usual one, is 500 sessions. ``more``: extra files."""
    served = sum((1 + route.links.max) * route.limits.connections for route in settings.routes)
    wanted = served + 2 * MOST_HELD * len(settings.routes) + _SPARE_FILES + more  # those that wait, and those turned away
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
