"""``spoe-guard run``: settings, network, metrics, logs and signals wired together, from start to drain."""

import asyncio
import contextlib
import os
import resource
import signal
from collections.abc import Iterator
from typing import Any, Final

from spoe_guard.about import about
from spoe_guard.capture.flight import recording
from spoe_guard.core.address import Address
from spoe_guard.core.events import DialFailure
from spoe_guard.net import loop as event_loop
from spoe_guard.net.bind import Bound, ListenError, bind
from spoe_guard.net.dial import resolve
from spoe_guard.net.guard import Guard
from spoe_guard.net.route import Route
from spoe_guard.observe.admin import Admin
from spoe_guard.observe.health import Health
from spoe_guard.observe.live.status import Live
from spoe_guard.observe.logs import Log, wants_colors
from spoe_guard.observe.metrics import Exposition, GuardCollector
from spoe_guard.observe.observer import GuardObserver
from spoe_guard.observe.sink import Sink
from spoe_guard.settings import Settings, session_config

RESOLVE_S: Final = 5.0  # for the agents' names at the start; later each dial resolves anew
FLUSH_S: Final = 1.0  # for the last log lines, when nobody reads them
_SUM_UP_EVERY_S: Final = 1.0
_SPARE_FILES: Final = 128  # beside those of sessions: listeners, admin connections, the log, the loop itself


class CannotRunError(Exception):
    """Why not, in one line for a person."""


def serve(settings: Settings) -> bool:
    """Run until SIGTERM or SIGINT; return whether it ended cleanly, which a second signal prevents.

    Raises:
        CannotRunError: an address is taken, or an agent's name does not resolve.
    """
    allow_open_files(settings)
    descriptor = log_descriptor()
    sink = Sink(descriptor)
    log = Log(sink, settings.log.format, settings.log.level, colors=wants_colors(descriptor))
    try:
        return event_loop.run(_serve(settings, log))
    finally:
        sink.close(FLUSH_S)


async def _serve(settings: Settings, log: Log) -> bool:
    routes = [route_of(settings, index) for index in range(len(settings.routes))]
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: say_bug(log, context))
    rate = settings.log.anomaly_rate
    observer = GuardObserver((route.name for route in routes), log, rate.lines, rate.period_s, payload=settings.admin.payload)
    health = Health(observer.routes)
    live = Live(observer.routes, observer.recent.take, health, about(), settings.mode)
    admin = Admin(health, Exposition(GuardCollector(observer.routes, about())), live)
    async with contextlib.AsyncExitStack() as at_exit:
        flight = recording(settings.capture, observer.routes, log)
        at_exit.callback(flight.close)
        guard = Guard(routes, observer, flight.make_session, met=flight.met, reuse_port=settings.share_listen)
        signals = at_exit.enter_context(stop_signals())
        await resolve_agents(routes, log)
        admin_open = await at_exit.enter_async_context(contextlib.AsyncExitStack())
        admin_address = None
        if settings.admin.listen is not None:
            bound = await bind_admin(settings.admin.listen, reuse_port=settings.share_listen)
            admin_open.callback(bound.close)
            await admin.start(bound.sock)
            admin_open.push_async_callback(admin.stop)
            admin_address = str(bound.address)
        try:
            await guard.start()
        except ListenError as error:
            raise CannotRunError(error) from None
        for beside in (sum_up(observer), live.keep()):
            at_exit.callback(asyncio.get_running_loop().create_task(beside).cancel)
        live.places = {route.name: (str(guard.addresses[route.name]), ", ".join(map(str, route.agent))) for route in routes}
        health.listening = True
        log.say(
            "info",
            "listening",
            routes={name: str(address) for name, address in guard.addresses.items()},
            agents={route.name: ", ".join(map(str, route.agent)) for route in routes},
            admin=admin_address,
            mode=settings.mode,
            pid=os.getpid(),
            **about(),
        )
        first = await signals.get()
        health.draining = True
        if settings.share_listen:  # from here on it is the next guard's to say how things are
            await admin_open.aclose()
        return await _stop(first, signals, guard, observer, log)


async def _stop(
    first: signal.Signals, signals: "asyncio.Queue[signal.Signals]", guard: Guard, observer: GuardObserver, log: Log
) -> bool:
    """Drain, and return True; a second signal ends it at once, and False is returned."""
    log.say("info", "draining", signal=first.name, sessions=guard.sessions)
    loop = asyncio.get_running_loop()
    drain, second = loop.create_task(guard.drain()), loop.create_task(signals.get())
    await asyncio.wait((drain, second), return_when=asyncio.FIRST_COMPLETED)
    clean = drain.done()
    if not clean:
        guard.abort_all()
        await drain
    second.cancel()
    observer.journal.sum_up(all_of_it=True)
    log.say("info", "stopped", clean=clean)
    return clean


def route_of(settings: Settings, index: int) -> Route:
    """Return what the network ring is told of that route."""
    route = settings.routes[index]
    return Route(
        name=route.name,
        listen=route.listen,
        agent=route.agent,
        connections=route.limits.connections,
        # Observing promises that not a byte changes, whatever goes wrong in the guard.
        splice_on_error=settings.on_internal_error == "splice" or settings.mode == "observe",
        config=session_config(settings, route),
    )


async def resolve_agents(routes: list[Route], log: Log) -> None:
    """Tell a misspelt agent now rather than at the first request. Whether it is up is another matter: it may start later.

    Of several addresses one that resolves is enough to start; the others are said.

    Raises:
        CannotRunError: of a route's agents none has a name that resolves.
    """
    for index, route in enumerate(routes):
        faults = [fault for address in route.agent if (fault := await _unresolved(address))]
        if len(faults) == len(route.agent):
            raise CannotRunError(f"routes[{index}].agent: {faults[0]}")
        for fault in faults:
            log.say("warning", "agent_unreachable", route=route.name, reason=DialFailure.UNRESOLVED.value, detail=fault)


async def _unresolved(address: Address) -> str:
    """Return why the name in ``address`` cannot be resolved, or nothing."""
    try:
        async with asyncio.timeout(RESOLVE_S):
            await resolve(address)
    except TimeoutError:
        return f"'{address}': no answer from the resolver in {RESOLVE_S:g} s"
    except OSError as error:
        return f"'{address}': the name does not resolve: {error.strerror}"
    return ""


async def bind_admin(address: Address, *, reuse_port: bool) -> Bound:
    """Listen for those who ask for metrics and health.

    Raises:
        CannotRunError: the address cannot be had.
    """
    try:
        return await bind(Route(name="admin", listen=address, agent=()), reuse_port=reuse_port)
    except ListenError as error:
        raise CannotRunError(f"admin.listen: {str(error).removeprefix('route admin: ')}") from None


@contextlib.contextmanager
def stop_signals() -> "Iterator[asyncio.Queue[signal.Signals]]":
    """Queue SIGTERM and SIGINT as they come."""
    came: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, came.put_nowait, number)
    try:
        yield came
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def sum_up(observer: GuardObserver) -> None:
    """Say every second what log lines were left out, until cancelled."""
    while True:
        await asyncio.sleep(_SUM_UP_EVERY_S)
        observer.journal.sum_up()


def log_descriptor() -> int:
    """Return a standard output of our own; nothing at all where it was closed, so that no socket can take its number."""
    try:
        return os.dup(1)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY)


def say_bug(log: Log, context: dict[str, Any]) -> None:
    """Log what the event loop caught outside of any session."""
    log.say("error", "internal_error", error=context["message"], exc_info=context.get("exception"))


def allow_open_files(settings: Settings, more: int = 0) -> None:
    """Raise the soft limit as far as the hard one lets us: 1024, the usual one, is 500 sessions. ``more``: beside the usual."""
    wanted = sum((1 + route.links.max) * route.limits.connections for route in settings.routes) + _SPARE_FILES + more
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
