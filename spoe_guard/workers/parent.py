"""``spoe-guard run`` with more than one worker: the process that was started, takes the addresses, and serves nobody itself."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from typing import Final

from spoe_guard.about import about
from spoe_guard.core.address import Address
from spoe_guard.net import loop as event_loop
from spoe_guard.net.bind import Bound, ListenError, bind
from spoe_guard.net.guard import longest_drain
from spoe_guard.net.route import Route
from spoe_guard.observe.admin import Admin
from spoe_guard.observe.logs import Log, wants_colors
from spoe_guard.observe.sink import Sink
from spoe_guard.serve import (
    FLUSH_S,
    CannotRunError,
    allow_open_files,
    bind_admin,
    log_descriptor,
    resolve_agents,
    route_of,
    say_bug,
    stop_signals,
)
from spoe_guard.settings import Settings
from spoe_guard.workers.channel import Message
from spoe_guard.workers.crew import Crew, StartError
from spoe_guard.workers.life import Life, start
from spoe_guard.workers.views import CrewExposition, CrewHealth, CrewLive

_LATE_S: Final = 5.0  # beyond what a drain may take by the settings: a worker's last second of log, and a busy machine
_NOW_S: Final = 2.0  # after a second signal


def serve(settings: Settings, count: int) -> bool:
    """Run ``count`` workers until SIGTERM or SIGINT; return whether they ended cleanly, which a second signal prevents.

    Raises:
        CannotRunError: an address is taken, an agent's name does not resolve, or a worker does not start.
    """
    allow_open_files(settings, count * (1 + len(settings.routes)))  # of each worker, which inherits it, and here
    descriptor = log_descriptor()
    sink = Sink(descriptor, shared=True)
    log = Log(sink, settings.log.format, settings.log.level, colors=wants_colors(descriptor))
    try:
        return event_loop.run(_serve(settings, count, log, descriptor))
    finally:
        sink.close(FLUSH_S)


async def _serve(settings: Settings, count: int, log: Log, descriptor: int) -> bool:
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: say_bug(log, context))
    routes = [route_of(settings, index) for index in range(len(settings.routes))]
    async with contextlib.AsyncExitStack() as at_exit:
        signals = at_exit.enter_context(stop_signals())
        await resolve_agents(routes, log)
        taken = await _take(routes, count, share=settings.share_listen)
        at_exit.callback(_give_back, taken)
        given = _given(settings, taken, count)

        async def spawn(number: int) -> Life:
            return await start(number, given, {bound.route.name: _own_first(bound, number) for bound in taken}, descriptor)

        crew = Crew(count, spawn, [route.name for route in routes], log)
        at_exit.push_async_callback(crew.kill)
        health = CrewHealth(crew)
        admin_open = await at_exit.enter_async_context(contextlib.AsyncExitStack())
        live = CrewLive(crew, health, about(), settings.mode)
        live.places = {bound.route.name: (str(bound.address), ", ".join(map(str, bound.route.agent))) for bound in taken}
        at_exit.callback(asyncio.get_running_loop().create_task(live.keep()).cancel)
        admin_address = await _open_admin(settings, Admin(health, CrewExposition(crew, about()), live), admin_open)
        if not await _started(crew, signals):
            return True
        health.listening = True
        log.say(
            "info",
            "listening",
            routes={bound.route.name: str(bound.address) for bound in taken},
            agents={route.name: ", ".join(map(str, route.agent)) for route in routes},
            admin=admin_address,
            mode=settings.mode,
            pid=os.getpid(),
            workers={str(life.number): life.process.pid for life in crew.lives},
            **about(),
        )
        first = await signals.get()
        health.draining = True
        if settings.share_listen:  # from here on it is the next guard's to say how things are
            await admin_open.aclose()
        _give_back(taken)  # before the workers stop: what is queued on a socket they share is for the last of them to take
        return await _stop(first, signals, crew, routes, log)


async def _open_admin(settings: Settings, admin: Admin, admin_open: contextlib.AsyncExitStack) -> str | None:
    if settings.admin.listen is None:
        return None
    bound = await bind_admin(settings.admin.listen, reuse_port=settings.share_listen)
    admin_open.callback(bound.close)
    await admin.start(bound.sock)
    admin_open.push_async_callback(admin.stop)
    return str(bound.address)


async def _started(crew: Crew, signals: "asyncio.Queue[signal.Signals]") -> bool:
    """Start the workers; return False where a signal came before they all listened."""
    loop = asyncio.get_running_loop()
    starting, signalled = loop.create_task(crew.start()), loop.create_task(signals.get())
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
    first: signal.Signals, signals: "asyncio.Queue[signal.Signals]", crew: Crew, routes: Sequence[Route], log: Log
) -> bool:
    """Drain every worker, and return True; a second signal ends them at once, and False is returned."""
    await crew.refresh()
    log.say("info", "draining", signal=first.name, sessions=sum(stats.open for stats in crew.books.routes.values()))
    bound_s = longest_drain(routes) + _LATE_S
    loop = asyncio.get_running_loop()
    drain, second = loop.create_task(crew.stop(bound_s)), loop.create_task(signals.get())
    await asyncio.wait((drain, second), return_when=asyncio.FIRST_COMPLETED)
    clean = drain.done()
    if not clean:
        crew.tell("now")
        await asyncio.wait((drain,), timeout=_NOW_S)
        await crew.kill()
        await drain
    second.cancel()
    log.say("info", "stopped", clean=clean)
    return clean


async def _take(routes: Sequence[Route], count: int, *, share: bool) -> list[Bound]:
    """Take every address, or none, for ``count`` workers. What is queued for one that dies is kept here.

    Raises:
        CannotRunError: one cannot be had.
    """
    taken: list[Bound] = []
    try:
        for route in routes:
            taken.append(await bind(route, reuse_port=share, reserve=count))  # noqa: PERF401  what was taken must be given back on an error
    except ListenError as error:
        _give_back(taken)
        raise CannotRunError(error) from None
    return taken


def _give_back(taken: Sequence[Bound]) -> None:
    for bound in taken:
        bound.close()


def _given(settings: Settings, taken: Sequence[Bound], count: int) -> Message:
    """Return what every worker is told: these settings, whatever the file says by now, with the addresses that were had."""
    told = settings.model_dump(mode="json")
    for route, bound in zip(told["routes"], taken, strict=True):
        route["listen"] = str(_where(bound))
    return {"settings": told, "workers": count}


def _own_first(bound: Bound, number: int) -> list[int]:
    """Return the descriptors of ``bound`` in the order that ``borrow`` wants of worker ``number``."""
    at = (number - 1) % len(bound.socks)
    return [sock.fileno() for sock in (*bound.socks[at:], *bound.socks[:at])]


def _where(bound: Bound) -> Address:
    """Return the address in numbers, so that a name is looked up once; a scoped one (fe80::1%eth0) has no other way to say it."""
    asked = bound.route.listen
    return Address(host=asked.host, port=bound.address.port) if "%" in asked.host else bound.address
