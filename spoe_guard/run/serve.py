"""``spoe-guard run`` with one process: admin address, service manager and reloads, from start to drain."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from spoe_guard.about import about
from spoe_guard.address import Address
from spoe_guard.control.server import ControlServer
from spoe_guard.counted import counted
from spoe_guard.net import loop as event_loop
from spoe_guard.net.bind import Bound, ListenError, bind
from spoe_guard.net.own_sockets import OwnSockets
from spoe_guard.net.resolver import Places
from spoe_guard.net.route import Route, SocketRights
from spoe_guard.observe.admin import Admin
from spoe_guard.observe.health import Health
from spoe_guard.observe.live.status import Live
from spoe_guard.observe.logs import Log
from spoe_guard.observe.metrics import Exposition, GuardMetrics
from spoe_guard.observe.reloads import Reloads
from spoe_guard.run.control import Alone, Control
from spoe_guard.run.handover_place import handover_place
from spoe_guard.run.inside import Inside
from spoe_guard.run.names import look_up
from spoe_guard.run.process import (
    Prepared,
    Process,
    allow_open_files,
    log_descriptor,
    log_on,
    routes_in_slices,
    routes_of,
    stop_signals,
    warn_of_open_routes,
)
from spoe_guard.run.reload import Reloader, hang_ups, show
from spoe_guard.run.service_manager import ADMIN_LISTEN, NotWantedError, ServiceManager, given_sockets, listening_at
from spoe_guard.settings import Loaded, Settings
from spoe_guard.slices import Slices

_CONTROL_MODE: Final = 0o660  # its user and its group may change things


class CannotRunError(Exception):
    """The guard cannot run. The text gives the reason, in one line."""


def serve(loaded: Loaded, again: Callable[[], Loaded]) -> bool:
    """Run until SIGTERM or SIGINT; return False if a second signal cut the drain short. SIGHUP reads settings with ``again``.

    Raises:
        CannotRunError: an address is taken, or a route is its own agent.
        NoThreadError: no thread can be started.
    """
    allow_open_files(loaded.settings)
    with log_on(log_descriptor(), loaded.settings) as log:
        return event_loop.run(_serve(loaded, again, log))


async def _serve(loaded: Loaded, again: Callable[[], Loaded], log: Log) -> bool:
    settings = loaded.settings
    given = sockets_of_the_manager(settings)
    async with contextlib.AsyncExitStack() as at_exit:
        handover = at_exit.enter_context(handover_place(settings, os.environ, log))
        process = Process(settings, log, reuse_port=settings.share_listen, handover=handover, given=given)
        at_exit.callback(process.close)
        guard, observer = process.guard, process.observer
        health = Health(observer.routes)
        live = Live(observer.routes, observer.incidents.take, health, about(), settings.mode)
        reloads, manager = Reloads(), ServiceManager.of(os.environ)
        admin = Admin(health, Exposition(GuardMetrics(observer.routes, about(), reloads, live)), live, admin_names(settings))
        signals = at_exit.enter_context(stop_signals(log))

        async def use(new: Settings) -> None:
            await changing.use(new)
            admin.use(admin_names(new))
            await show(new, guard.addresses, live)
            warn_of_open_routes(new, log)
            manager.serving(listening_at(guard.addresses))

        changing = _Changing(process, log)
        at_exit.callback(changing.give_up)
        reloader = Reloader(loaded, again, changing.try_out, use, log, reloads, manager)
        at_exit.enter_context(hang_ups(reloader.ask))
        routes = routes_of(settings)
        names = await look_up(routes)
        names.say(routes, log)
        admin_open = await at_exit.enter_async_context(contextlib.AsyncExitStack())
        admin_address = await open_admin(settings, given.get(ADMIN_LISTEN), admin, admin_open)
        try:
            await process.start(names.unresolved(routes), partial(refuse_circles, routes, names.places))
        except ListenError as error:
            raise CannotRunError(error) from None
        await show(settings, guard.addresses, live)
        for beside in (live.keep(), reloader.keep(), manager.keep()):
            at_exit.callback(asyncio.get_running_loop().create_task(beside).cancel)
        control_address = await open_control(settings, Control(Alone(Inside(process)), reloader, live, log), at_exit)
        health.listening = True
        log.say(
            "info",
            "listening",
            routes={name: str(address) for name, address in guard.addresses.items()},
            agents={route.name: ", ".join(map(str, route.agent)) for route in settings.routes},
            admin=admin_address,
            control=control_address,
            mode=settings.mode,
            pid=os.getpid(),
            **about(),
        )
        warn_of_open_routes(settings, log)
        manager.ready(listening_at(guard.addresses))
        first = await signals.get()
        health.draining = True
        reloader.drain()
        manager.stopping(f"Draining: {counted(guard.sessions, 'session')}.")
        if settings.share_listen:  # from here on the next guard answers at the admin address
            await admin_open.aclose()
        return await _stop(first, signals, process, log)


async def _stop(first: signal.Signals, signals: "asyncio.Queue[signal.Signals]", process: Process, log: Log) -> bool:
    """Drain and return True; a second signal ends all sessions at once, and returns False."""
    log.say("info", "draining", signal=first.name, sessions=process.guard.sessions)
    loop = asyncio.get_running_loop()
    drain, second = loop.create_task(process.drain()), loop.create_task(signals.get())
    await asyncio.wait((drain, second), return_when=asyncio.FIRST_COMPLETED)
    clean = drain.done()
    if not clean:
        process.guard.abort_all()
        await drain
    second.cancel()
    log.say("info", "stopped", clean=clean)
    return clean


class _Changing:
    """Has a running process take on other settings: tried out first, then used."""

    def __init__(self, process: Process, log: Log) -> None:
        self._process = process
        self._log = log
        self._prepared: Prepared | None = None

    async def try_out(self, running: Settings, new: Settings) -> Sequence[str]:
        """Open what ``new`` needs; return the reasons why it cannot be used, though it is valid: then nothing has changed."""
        allow_open_files(new)
        routes = await routes_in_slices(new)
        looked_up = await look_up_new(self._log, running, new, routes)
        if looked_up.faults:
            return looked_up.faults
        try:
            self._prepared = await self._process.prepare(new)
        except ListenError as error:
            return [str(error)]
        try:
            why = await new_circles(routes, looked_up, self._prepared.opening.own)
        except BaseException:
            self.give_up()
            raise
        if why:
            self.give_up()
        return why

    def give_up(self) -> None:
        """Use nothing of what was tried out."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            prepared.close()

    async def use(self, new: Settings) -> None:
        """Use settings that were tried out, or that need nothing to be opened."""
        prepared, self._prepared = self._prepared, None
        await self._process.use(prepared or await self._process.prepare(new))


@dataclass(frozen=True)
class LookedUp:
    """The agents' names of new settings. ``faults``: why those cannot be used.

    ``suspects``: the names of the routes that may be their own agents now. ``places``: what the agents' addresses stand for.
    """

    faults: Sequence[str] = ()
    suspects: frozenset[str] = frozenset()
    places: Mapping[Address, Places] = field(default_factory=dict)


async def look_up_new(log: Log, running: Settings, new: Settings, routes: Sequence[Route]) -> LookedUp:
    """Look the agents' names up, if ``new`` has agents that ``running`` has not, or listens elsewhere. ``routes``: its own.

    A new agent has to resolve, unlike at the start: it is probably misspelt, and the one in effect serves.
    """
    known = {tuple(route.agent) for route in running.routes}
    fresh = [route for route in routes if route.agent not in known]
    elsewhere = {route.listen for route in running.routes} != {route.listen for route in new.routes}
    if not fresh and not elsewhere:
        return LookedUp()
    names = await look_up(routes)  # of all: a new agent may lead to a route, and its old one back
    unresolved = names.unresolved(fresh)
    names.say((route for route in fresh if route.name not in unresolved), log)
    at = {route.name: index for index, route in enumerate(routes)}
    faults = [f"routes[{at[name]}].agent: {fault}" for name, each in unresolved.items() for fault in list(each.values())[:1]]
    return LookedUp(faults, frozenset(route.name for route in (routes if elsewhere else fresh)), names.places)


async def new_circles(routes: Sequence[Route], looked_up: LookedUp, own: OwnSockets) -> list[str]:
    """Return which of the suspects are their own agents, as ``circles`` does. ``own``: the sockets that there will be."""
    found, slices = Circles(routes, looked_up.places, own), Slices()
    for route in routes:
        if route.name in looked_up.suspects:
            found.look(route)
            await slices.pause()
    return found.lines


def refuse_circles(routes: Sequence[Route], places: Mapping[Address, Places], own: OwnSockets) -> None:
    """Refuse to start if a route is its own agent. ``places``: what the agents' addresses stand for.

    Raises:
        CannotRunError: the first such route, and how it leads to itself.
    """
    found = Circles(routes, places, own)
    for route in routes:
        found.look(route)
    for circle in found.lines:
        raise CannotRunError(circle)


class Circles:
    """Routes whose agents lead back to themselves: ``lines`` has one for each circle, with its keys."""

    def __init__(self, routes: Sequence[Route], places: Mapping[Address, Places], own: OwnSockets) -> None:
        self._routes = {route.name: route for route in routes}
        self._at = {route.name: index for index, route in enumerate(routes)}
        self._places = places
        self._own = own
        self._found: dict[frozenset[str], str] = {}

    @property
    def lines(self) -> list[str]:
        """What was found so far."""
        return list(self._found.values())

    def look(self, route: Route) -> None:
        """Find out whether ``route`` leads to itself."""
        way = self._own.way(route, route.name, self._routes, self._places)
        if not way:
            return
        steps = (
            f"routes[{self._at[each.name]}].agent '{each.agent}' is routes[{self._at[each.leads_to]}].listen ({each.listen})"
            for each in way
        )
        line = f"{', '.join(steps)}: the guard would dial itself; give the agent's own address"
        self._found.setdefault(frozenset(step.name for step in way), line)


def sockets_of_the_manager(settings: Settings) -> dict[str, socket.socket]:
    """Return the sockets that the service manager passed to this process, see ``given_sockets``.

    Raises:
        CannotRunError: one of them is of no use.
    """
    try:
        return given_sockets(settings, os.environ)
    except NotWantedError as error:
        raise CannotRunError(error) from None


def admin_names(settings: Settings) -> list[str]:
    """Return the names by which the admin address may be asked, beside IP addresses and localhost."""
    listen = settings.admin.listen
    return [*settings.admin.hosts, *([listen.host] if listen is not None and listen.host else [])]


async def open_admin(
    settings: Settings, given: socket.socket | None, admin: Admin, admin_open: contextlib.AsyncExitStack
) -> str | None:
    """Serve the admin address until ``admin_open`` is closed; return the address, None if the settings have none.

    Raises:
        CannotRunError: the address cannot be bound.
    """
    if settings.admin.listen is None:
        return None
    bound = await _bind_admin(settings.admin.listen, given, reuse_port=settings.share_listen)
    admin_open.callback(bound.close)
    await admin.start(bound.sock)
    admin_open.push_async_callback(admin.stop)
    return str(bound.address)


async def open_control(settings: Settings, control: Control, at_exit: contextlib.AsyncExitStack) -> str | None:
    """Serve the control socket until ``at_exit`` is closed; return its address, None if the settings have none.

    With ``share_listen`` it takes the place of that of the guard before, which cannot share it.

    Raises:
        CannotRunError: it cannot be bound.
    """
    address = settings.admin.control
    if address is None or address.path is None:
        return None
    if settings.share_listen:
        _take_place(Path(address.path))
    try:
        bound = await bind(Route(name="control", listen=address, agent=(), rights=SocketRights(mode=_CONTROL_MODE)))
    except ListenError as error:
        raise CannotRunError(f"admin.control: {error.reason}") from None
    at_exit.callback(bound.close)
    server = ControlServer(control.carry_out)
    await server.start(bound.sock)
    at_exit.push_async_callback(server.stop)
    return str(address)


def _take_place(path: Path) -> None:
    with contextlib.suppress(OSError):  # bind will report why
        if path.is_socket():
            path.unlink()


async def _bind_admin(address: Address, given: socket.socket | None, *, reuse_port: bool) -> Bound:
    route = Route(name="admin", listen=address, agent=())
    try:
        return Bound(route, given, given=True) if given else await bind(route, reuse_port=reuse_port)
    except ListenError as error:
        raise CannotRunError(f"admin.listen: {str(error).removeprefix('route admin: ')}") from None
