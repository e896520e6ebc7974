"""``spoe-guard run`` with more than one worker: the parent, which binds the addresses and serves no session itself."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from spoe_guard.about import about
from spoe_guard.address import Address
from spoe_guard.collector import Collector, Load
from spoe_guard.net import loop as event_loop
from spoe_guard.net.bind import Bound, ListenError, bind
from spoe_guard.net.guard import longest_drain
from spoe_guard.net.own_sockets import OwnSockets
from spoe_guard.net.resolver import Places
from spoe_guard.net.route import Route
from spoe_guard.observe.admin import Admin
from spoe_guard.observe.logs import Log
from spoe_guard.observe.reloads import Reloads
from spoe_guard.run.control import Control
from spoe_guard.run.handover_place import handover_place
from spoe_guard.run.names import Names, look_up
from spoe_guard.run.process import (
    SUM_UP_EVERY_S,
    allow_open_files,
    collect,
    log_descriptor,
    log_on,
    report_bugs,
    routes_of,
    stop_signals,
    warn_of_open_routes,
)
from spoe_guard.run.reload import Reloader, hang_ups, show
from spoe_guard.run.serve import (
    CannotRunError,
    admin_names,
    open_admin,
    open_control,
    refuse_circles,
    sockets_of_the_manager,
)
from spoe_guard.run.service_manager import ADMIN_LISTEN, ServiceManager, listening_at
from spoe_guard.run.workers.changing import Changing, own_first_of
from spoe_guard.run.workers.everyone import Pooled
from spoe_guard.run.workers.pool import StartError, WorkerPool
from spoe_guard.run.workers.views import PoolExposition, PoolHealth, PoolLive
from spoe_guard.run.workers.worker_process import WorkerProcess, start
from spoe_guard.settings import Loaded, Settings

_LATE_S: Final = 5.0  # on top of the longest drain in the settings: a worker's last second of log, and a busy machine
_NOW_S: Final = 2.0  # for the workers to end after a second signal


def serve(loaded: Loaded, again: Callable[[], Loaded], count: int) -> bool:
    """Run ``count`` workers until SIGTERM or SIGINT; return False if a second signal cut the drain short.

    On SIGHUP the parent alone reads the settings with ``again``, and sends them to the workers.

    Raises:
        CannotRunError: an address is taken, a route is its own agent, or a worker does not start.
        NoThreadError: no thread can be started.
    """
    settings = loaded.settings
    allow_open_files(settings, count * (1 + len(settings.routes)))  # of each worker, which inherits the limit, and of the parent
    descriptor = log_descriptor()
    with log_on(descriptor, settings, shared=True) as log:
        return event_loop.run(_serve(loaded, again, count, log, descriptor))


async def _serve(  # noqa: PLR0915  from start to end
    loaded: Loaded, again: Callable[[], Loaded], count: int, log: Log, descriptor: int
) -> bool:
    settings = loaded.settings
    report_bugs(log)
    routes = routes_of(settings)
    reloads, manager = Reloads(), ServiceManager.of(os.environ)
    async with contextlib.AsyncExitStack() as at_exit:
        signals = at_exit.enter_context(stop_signals(log))
        admin_given = _given_admin(settings)
        names, places = await _look_up(routes, log)
        taken = await _take(routes, count, share=settings.share_listen)
        at_exit.callback(_give_back, taken)
        own = OwnSockets(taken)
        refuse_circles(routes, places, own)
        handover = at_exit.enter_context(handover_place(settings, os.environ, log, workers=True))
        changing = await Changing.of(settings, taken, count, handover, log)
        at_exit.callback(lambda: _give_back(changing.taken.values()))

        async def spawn(number: int) -> WorkerProcess:
            async with changing.alone:
                told, drained = changing.told, sorted(everyone.drained)
                given = {"settings": told.settings, "workers": count, "drained": drained, "parts": told.parts}
                lent = {name: own_first_of(bound, number) for name, bound in changing.taken.items()}
                return await start(number, given, lent, descriptor)

        pool = WorkerPool(count, spawn, [route.name for route in routes], log)
        everyone = Pooled(pool)
        at_exit.push_async_callback(pool.kill)
        health = PoolHealth(pool)
        admin_open = await at_exit.enter_async_context(contextlib.AsyncExitStack())
        live = PoolLive(pool, health, about(), settings.mode)
        await show(settings, changing.addresses(), live)
        longest_s = longest_drain(routes)

        async def use(new: Settings) -> None:
            nonlocal longest_s
            now = await changing.use(pool, new)
            longest_s = max(longest_s, longest_drain(now))  # open sessions keep the old settings
            everyone.drained &= {route.name for route in now}
            await pool.totals.serve(route.name for route in now)
            await names.use(now)
            log.set(new.log.format, new.log.level, new.log.payload)
            admin.use(admin_names(new))
            await show(new, changing.addresses(), live)
            warn_of_open_routes(new, log)
            manager.serving(listening_at(changing.addresses()))

        async def try_out(running: Settings, new: Settings) -> Sequence[str]:
            return await changing.try_out(pool, running, new)

        reloader = Reloader(loaded, again, try_out, use, log, reloads, manager)
        at_exit.enter_context(hang_ups(reloader.ask))
        admin = Admin(health, PoolExposition(pool, about(), reloads, live), live, admin_names(settings))
        admin_address = await open_admin(settings, admin_given, admin, admin_open)
        if not await _started(pool, signals):
            return True
        control_address = await open_control(settings, Control(everyone, reloader, live, log), at_exit)
        for beside in (live.keep(), reloader.keep(), manager.keep(), names.keep(), _collect_garbage(pool, log)):
            at_exit.callback(asyncio.get_running_loop().create_task(beside).cancel)
        health.listening = True
        log.say(
            "info",
            "listening",
            routes={name: str(address) for name, address in changing.addresses().items()},
            agents={route.name: ", ".join(map(str, route.agent)) for route in routes},
            admin=admin_address,
            control=control_address,
            mode=settings.mode,
            pid=os.getpid(),
            workers={str(worker.number): worker.process.pid for worker in pool.workers},
            **about(),
        )
        warn_of_open_routes(settings, log)
        manager.ready(listening_at(changing.addresses()))
        first = await signals.get()
        health.draining = True
        reloader.drain()
        manager.stopping(f"Draining: {count} workers.")
        if settings.share_listen:  # from here on the next guard answers at the admin address
            await admin_open.aclose()
        _give_back(changing.taken.values())  # before the workers stop: the last of them accepts what is queued on a shared socket
        return await _stop(first, signals, pool, longest_s, log)


async def _look_up(routes: Sequence[Route], log: Log) -> tuple[Names, Mapping[Address, Places]]:
    """Log which agents' names do not resolve, and return what looks them up again, and what the others stand for."""
    found = await look_up(routes)
    found.say(routes, log)
    names = Names(routes, {}, log)  # each worker notes for itself what resolves
    names.note(found.unresolved(routes))
    return names, found.places


async def _collect_garbage(pool: WorkerPool, log: Log) -> None:
    """Collect garbage every second, until cancelled; the parent has no session."""
    collector = Collector()
    collector.begin(Load(len(pool.totals.routes), 0, 0))
    while True:
        await asyncio.sleep(SUM_UP_EVERY_S)
        collect(collector, Load(len(pool.totals.routes), 0, 0), log)


def _given_admin(settings: Settings) -> socket.socket | None:
    """Return the service manager's socket for the admin address.

    Raises:
        CannotRunError: it passed a socket for a route, too.
    """
    given = sockets_of_the_manager(settings)
    admin = given.pop(ADMIN_LISTEN, None)
    if given:
        raise CannotRunError(f"route {next(iter(given))}: socket activation needs workers: 1")
    return admin


async def _started(pool: WorkerPool, signals: "asyncio.Queue[signal.Signals]") -> bool:
    """Start the workers; return False if a signal came before all of them listened."""
    loop = asyncio.get_running_loop()
    starting, signalled = loop.create_task(pool.start()), loop.create_task(signals.get())
    await asyncio.wait((starting, signalled), return_when=asyncio.FIRST_COMPLETED)
    signalled.cancel()
    if not starting.done():
        starting.cancel()
        return False
    try:
        starting.result()
    except StartError as error:
        raise CannotRunError(error) from None
    return True


async def _stop(
    first: signal.Signals, signals: "asyncio.Queue[signal.Signals]", pool: WorkerPool, longest_s: float, log: Log
) -> bool:
    """Drain every worker and return True; a second signal ends them at once, and returns False."""
    await pool.refresh()
    log.say("info", "draining", signal=first.name, sessions=sum(stats.open for stats in pool.totals.routes.values()))
    bound_s = longest_s + _LATE_S
    loop = asyncio.get_running_loop()
    drain, second = loop.create_task(pool.stop(bound_s)), loop.create_task(signals.get())
    await asyncio.wait((drain, second), return_when=asyncio.FIRST_COMPLETED)
    clean = drain.done()
    if not clean:
        pool.tell("now")
        await asyncio.wait((drain,), timeout=_NOW_S)
        await pool.kill()
        await drain
    second.cancel()
    log.say("info", "stopped", clean=clean)
    return clean


async def _take(routes: Sequence[Route], count: int, *, share: bool) -> list[Bound]:
    """Bind every address for ``count`` workers, or none. The parent keeps the sockets, and so the queue of a worker that dies.

    Raises:
        CannotRunError: an address cannot be bound.
    """
    taken: list[Bound] = []
    try:
        for route in routes:
            taken.append(await bind(route, reuse_port=share, reserve=count))  # noqa: PERF401  an error must close the bound ones
    except ListenError as error:
        _give_back(taken)
        raise CannotRunError(error) from None
    return taken


def _give_back(taken: Iterable[Bound]) -> None:
    for bound in taken:
        bound.close()
