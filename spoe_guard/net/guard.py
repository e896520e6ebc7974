"""The guard as a whole: every route's listener and every session, from start to drain."""

import asyncio
import contextlib
import errno
import heapq
import itertools
import math
import random
import socket
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Final

from spoe_guard.address import Address
from spoe_guard.collector import NEW_ONES, Load, look_at_new
from spoe_guard.core.conversation.agent_state import AgentState
from spoe_guard.core.conversation.engines import Engines
from spoe_guard.core.conversation.pacing import Crowd
from spoe_guard.core.conversation.refusal import LONGEST_S, MOST_HELD, Refusals
from spoe_guard.core.conversation.route_state import RouteState
from spoe_guard.core.conversation.to_haproxy import Lingering
from spoe_guard.core.conversation.total_bytes import TotalBytes
from spoe_guard.core.handed import Handed, NotTakenError
from spoe_guard.core.observed import open_session
from spoe_guard.core.terms.events import EndedBy, EndReason, GaveWay, SessionEnded
from spoe_guard.net import own_limits
from spoe_guard.net.agents import Agents
from spoe_guard.net.any_session import SessionFactory
from spoe_guard.net.beyond import Beyond
from spoe_guard.net.bind import Bound, Turn, bind, borrow
from spoe_guard.net.ends import Ends
from spoe_guard.net.handover import NextGuard, Taker, hand_over, next_guards
from spoe_guard.net.listener import Listener, Pause, peer_name
from spoe_guard.net.observer import Observer
from spoe_guard.net.opening import Opening
from spoe_guard.net.own_sockets import OwnSockets
from spoe_guard.net.relay import Relay
from spoe_guard.net.resolver import PATIENCE_S, Place, Places, resolve
from spoe_guard.net.route import Route
from spoe_guard.net.turns import Turns
from spoe_guard.net.unread import Kernel, Unread
from spoe_guard.net.watch import AddressProbe, AgentProbe, AgentWatch
from spoe_guard.net.witness import Witness
from spoe_guard.slices import Slices

Witnesses = Callable[[str, int], Witness | None]  # takes a route and the number of a session
Lent = Mapping[str, Sequence[socket.socket]]  # by route name, see ``bind.borrow``


@dataclass(frozen=True, slots=True)
class Ended:
    """All ``sessions`` that the route ``name`` had at ``listen`` have ended, ``reset`` of them by force, within ``seconds``."""

    name: str
    listen: Address
    sessions: int
    reset: int
    seconds: float


Gone = Callable[[Ended], None]

# Aborted sessions are gone one or two turns of the loop later; this bound only prevents an endless wait.
_ABORTED_S: Final = 1.0
# Connections of a route that have not sent HAPROXY-HELLO: one more has the oldest of them give way.
MOST_WITHOUT_HELLO: Final = 256
SILENT_S: Final = 0.05  # HAProxy sends HELLO in the moment it connects; who has not by then may be told to give way
OPEN_BYTES: Final = 32  # that an open NOTIFY takes in its ledger
GIVE_WAY_AT_ONCE: Final = 16  # sessions that end in a turn of the loop because all of them keep too much
_LOOKED_AT: Final = 8  # of them at most, for one that has nothing to read
_TOLD_AT_ONCE: Final = 200  # sessions in a turn, of a tap that begins or ends
_SENT_AWAY_AT_ONCE: Final = 64  # of a route, where descriptors are short: as many as are accepted in a turn


def longest_drain(routes: Iterable[Route]) -> float:
    """Return the most seconds a drain may take by the settings of ``routes``."""
    return max((route.config.close_s + 3 * route.config.disconnect_hold_s for route in routes), default=0.0)


def _has_said_more(sock: socket.socket | None) -> bool:
    """Whether the peer of ``sock`` has sent bytes that were not read yet: the loop was busy."""
    if sock is None:
        return False
    try:
        return bool(sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:
        return False


class Guard:
    """Serves ``routes`` between ``start`` and ``drain``, and reports to ``observer``.

    ``witness`` returns who records the bytes of a session. ``reuse_port``: share the addresses with a guard that takes over.
    ``handover``: the private directory where it finds that guard, and is found by the one before; None: sessions end here.
    ``no_handover``: why that directory cannot be used, once started.
    ``given``: by route name, sockets that listen already. ``lent``: by route name, sockets shared by several processes, see
    ``bind.borrow``. ``drained``: routes that accept nothing until ``resume_route``. ``total_bytes``: what all sessions together
    may keep of their peers.

    ``addresses``: by route name, the actual address (with the port the kernel chose), once started, and
    ``own_sockets`` what listens there.
    """

    def __init__(  # noqa: PLR0913  what it serves, by what, and where
        self,
        routes: Sequence[Route],
        observer: Observer,
        make_session: SessionFactory = open_session,
        *,
        witness: Witnesses = lambda _route, _number: None,
        reuse_port: bool = False,
        handover: Path | None = None,
        given: Mapping[str, socket.socket] | None = None,
        lent: Lent | None = None,
        drained: Collection[str] = (),
        total_bytes: float = math.inf,
    ) -> None:
        self.witness = witness
        self.turns = Turns()
        self._reuse_port = reuse_port
        self._handover = handover if reuse_port else None
        self.no_handover = ""
        self._given = given or {}
        self._lent = lent or {}
        # For new sessions; each relay keeps its own route. What is kept by name below lasts until the last session has ended.
        self._routes: dict[str, Route] = {}
        self.addresses: dict[str, Address] = {}
        self.own_sockets = OwnSockets(())
        self._observer = observer
        self._make_session = make_session
        self._numbers = itertools.count(1)
        self._listeners: list[Listener] = []
        self._drained = set(drained)
        self._taps: dict[str, Witness] = {}  # by route
        self._telling: set[asyncio.Task[None]] = set()
        self._route_drains: dict[str, asyncio.Task[int]] = {}  # by route, those under way
        self._ends: dict[str, list[Ends]] = {}  # by route, of sessions that are waited for
        self._gone_routes: set[asyncio.Task[None]] = set()
        self._changing = asyncio.Lock()
        self._relays: dict[int, Relay] = {}
        self._on_route: dict[str, set[Relay]] = {}
        self._shared: dict[str, tuple[Refusals, Engines, AgentState]] = {}
        self._most_waiting = own_limits.affordable(MOST_HELD)
        self._strangers: dict[str, Refusals] = {}
        self._beyond: dict[str, Beyond] = {}
        self._agents: dict[str, Agents] = {}
        self._crowd = Crowd()
        self._lingering: dict[str, Lingering] = {}
        self._total = TotalBytes(total_bytes, self._holds_too_much)
        self._makes_room = False  # that is to happen in the loop's next turn
        # By route and number, the oldest first: connections without HELLO, each with the time it came, monotonic seconds.
        self._unmet: dict[str, dict[int, float]] = {}
        self._kernel = Kernel()
        self._unlinked: set[int] = set()  # sessions that need a descriptor for their first agent link
        self._new = 0  # sessions and links that began since the garbage collector looked at what is new
        self._opening = 0  # connections that will begin in the loop's next turn
        self._watching: dict[Listener, asyncio.Task[None]] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}  # by route
        self._asking_address: dict[tuple[str, Address], asyncio.Task[None]] = {}  # of those that have several, by route
        self._takers: dict[str, Taker] = {}  # by route
        self._next_guards: dict[str, list[NextGuard]] = {}  # by route
        self._leaving: list[asyncio.Task[None]] = []
        self._stopping = False
        self._draining = False
        self._empty = asyncio.Event()
        self._empty.set()
        for route in routes:
            self._routes[route.name] = route
            self._meet(route)

    def _meet(self, route: Route) -> None:
        """Have all that sessions of a route with that name share."""
        name, most = route.name, self._most_waiting
        self._on_route[name] = set()
        self._unmet[name] = {}
        self._shared[name] = Refusals(), Engines(), AgentState()
        self._strangers[name] = Refusals(most, quiet_s=LONGEST_S)
        self._beyond[name] = Beyond(most, partial(self._has_room, name), partial(self._admit, name), partial(self._refuse, name))
        self._agents[name] = Agents(route, self._observer, partial(self.refuses, name), partial(self._ask_address, name))
        self._lingering[name] = Lingering()

    @property
    def sessions(self) -> int:
        """How many sessions are alive."""
        return len(self._relays)

    @property
    def load(self) -> Load:
        """What explains the memory of the process, as of the last ``count_open``."""
        return Load(len(self._routes), len(self._relays), self._total.held + self._total.beside)

    async def start(self, approve: Callable[[OwnSockets], None] = lambda _own: None) -> None:
        """Listen on every route, or on none.

        ``approve`` is called when all addresses are bound, and may raise what ends the start.

        Raises:
            ListenError: one line for a person.
        """
        taken: list[Bound] = []
        try:
            for route in self._routes.values():
                taken += await self._bind(route)
            self.own_sockets = OwnSockets(taken)
            approve(self.own_sockets)
        except BaseException:
            for bound in taken:
                bound.close()
            raise
        for bound in taken:
            self._listen(bound)
        for name in self._drained:
            self.drain_route(name)

    def _listen(self, bound: Bound) -> None:
        """Accept on a socket of one of the routes."""
        name = bound.route.name
        failed = partial(self._short, name)
        listener = Listener(bound, partial(self._accepted, name), failed, self._unlinked.__len__)
        self._listeners.append(listener)
        self._watch(self._routes[name], listener)
        if bound.turn is Turn.LAST:  # at the same address as this process's own socket
            return
        self.addresses[name] = bound.address
        # No other guard can listen on the same Unix socket, but other processes of this one can.
        if self._handover and (bound.address.path is None or bound.turn is Turn.ALL):
            self._be_found(self._handover, bound, failed)

    def _be_found(self, handover: Path, bound: Bound, failed: Callable[[str], None]) -> None:
        """Take over from guards that stop. Without that the guard serves all the same."""
        name = bound.route.name
        try:
            self._takers[name] = Taker(handover, str(bound.address), partial(self._take_over, name), failed)
        except OSError as error:
            self.no_handover = f"{handover}: {error.strerror}"

    def _watch(self, route: Route, listener: Listener) -> None:
        """Let ``listener`` listen only while the agent is there, if the route says so."""
        if route.listen_while_away:
            return
        name = route.name
        watch = AgentWatch(listener, self._agents[name], self._shared[name][-1], self._observer)
        self._watching[listener] = asyncio.get_running_loop().create_task(watch.keep(partial(self.route, name)))

    def ask_agent(self, route: str) -> None:
        """Ask the agent of ``route`` from now on, until it answers, if a dial of it has failed or its links are silent."""
        now = self._routes.get(route)  # of one that ends nobody needs to know
        if now is None or route in self._asking or not now.listen_while_away:
            return
        if now.config.observe or not self._listeners or not self._shared[route][-1].in_doubt:
            return
        self._asking[route] = asyncio.get_running_loop().create_task(self._ask(route))
        for address in now.agent:
            self._agents[route].in_doubt(address)

    async def _ask(self, route: str) -> None:
        probe = AgentProbe(self._agents[route], self._shared[route][-1], self._observer)
        try:
            await probe.until_it_answers(partial(self.route, route))
        finally:
            del self._asking[route]

    def _ask_address(self, route: str, address: Address, *, at_once: bool) -> None:
        """Ask one address of ``route``, which has several, until it answers."""
        key, now = (route, address), self._routes.get(route)
        if now is not None and key not in self._asking_address and self._listeners and not now.config.observe:
            self._asking_address[key] = asyncio.get_running_loop().create_task(self._ask_one(route, address, at_once=at_once))

    async def _ask_one(self, route: str, address: Address, *, at_once: bool) -> None:
        probe = AddressProbe(self._agents[route], self._observer)
        try:
            await probe.until_it_answers(partial(self.route, route), address, at_once=at_once)
        finally:
            del self._asking_address[route, address]

    async def _bind(self, route: Route) -> list[Bound]:
        if lent := self._lent.get(route.name):
            return borrow(route, lent, drained=route.name in self._drained)
        given = self._given.get(route.name)
        return [Bound(route, given, given=True) if given else await bind(route, reuse_port=self._reuse_port)]

    def oldest_open_s(self, name: str) -> float:
        """Return for how many seconds the oldest NOTIFY of a route has been open or parked, 0 if there is none."""
        relays = self._on_route.get(name)
        if not relays or not self._observer.tally(name).any_waiting():
            return 0.0  # so it is at most routes whenever somebody looks
        since = min(relay.session.oldest_since for relay in relays)
        return max(monotonic() - since, 0.0) if since < math.inf else 0.0

    def open_on(self, name: str) -> dict[str, int]:
        """Return how many NOTIFYs the agent of a route has in hand at each of its addresses."""
        route = self._routes.get(name)
        if route is not None and not self._observer.tally(name).open_notifies:
            return {str(address): 0 for address in route.agent}
        return self._by_address(name, Agents.open_on)

    def given_to(self, name: str) -> dict[str, int]:
        """Return how many NOTIFYs the agent of a route was given at each of its addresses."""
        return self._by_address(name, Agents.given_to)

    def _by_address(self, name: str, count: Callable[[Agents, Address], int]) -> dict[str, int]:
        route = self._routes.get(name)  # of one that ends nobody wants to know
        return {} if route is None else {str(address): count(self._agents[name], address) for address in route.agent}

    def route(self, name: str) -> Route:
        """Return the route that new sessions with that name get."""
        return self._routes[name]

    def _use_one(self, route: Route) -> None:
        name = route.name
        if name not in self._on_route:
            self._meet(route)
        elif self._agents[name].serves_others(route):
            _, _, agent = self._shared[name]
            agent.forget()
        self._agents[name].use(route)
        self._routes[name] = route

    # Other routes than before

    async def prepare(self, routes: Sequence[Route], lent: Lent | None = None) -> Opening:
        """Open what other routes need that this guard has, for ``change``; nothing else changes. ``close`` gives it up.

        ``lent``: as at the start, of those that are opened.

        Raises:
            ListenError: which route cannot listen, or stop to, and why; nothing has changed.
        """
        listening: dict[str, list[Bound]] = {}
        for listener in self._listeners:
            listening.setdefault(listener.route, []).append(listener.bound)
        idle = {listener.route for listener in self._listeners if not listener.listening}

        async def open_one(route: Route, share: bool) -> list[Bound]:  # noqa: FBT001  as ``Bind`` has it
            if lent is not None:
                return borrow(route, lent.get(route.name, ()), drained=route.name in self._drained)
            return [await bind(route, reuse_port=share)]

        opening = Opening(routes, listening, idle, shares=self._reuse_port)
        await opening.open(open_one)
        return opening

    async def change(
        self, routes: Sequence[Route], opening: Opening, total_bytes: float = math.inf, gone: Gone = lambda _ended: None
    ) -> None:
        """Serve ``routes`` from now on, with the sockets that are prepared. Running sessions keep their routes.

        A route that is not among them, or listens elsewhere, accepts nothing more where it did, and its sessions are drained:
        ``gone`` is told when the last of them has ended. A route that comes back before that goes on with what is known of it.
        """
        async with self._changing:
            if self._stopping:
                opening.close()
                return
            self._total.limit(total_bytes)
            slices = Slices()
            for route in routes:
                self._use_one(route)
                await slices.pause()
            self.own_sockets = opening.own
            listeners: dict[str, list[Listener]] = {}
            for listener in self._listeners:
                listeners.setdefault(listener.route, []).append(listener)
            ending = {name for name in listeners if not opening.stays(name)}
            handed_on = set(opening.whose.values())
            self._listeners = [listener for listener in self._listeners if listener.route not in ending]
            stay = {route.name for route in routes}
            for name in ending:
                self._leave(name, listeners[name], gone, keep=name in handed_on, moves=name in stay)
                await slices.pause()
            for route in routes:
                if route.name in ending or route.name not in listeners:
                    self._begin_route(route, opening.sockets(route.name))
                    await slices.pause()
            for beyond in tuple(self._beyond.values()):
                beyond.fill()
                await slices.pause()

    def _begin_route(self, route: Route, bounds: Sequence[Bound]) -> None:
        for bound in bounds:
            bound.route = route
            self._listen(bound)
        if route.name in self._drained:
            with contextlib.suppress(OSError):  # a directory of a Unix socket that cannot be written to: it listens then
                for listener in self._of_route(route.name):
                    listener.pause(Pause.DRAINED)

    def _leave(self, name: str, listeners: Sequence[Listener], gone: Gone, *, keep: bool, moves: bool) -> None:
        """Accept nothing more there, and have the sessions end. ``keep``: the sockets are another route's from now on."""
        for listener in listeners:
            watch = self._watching.pop(listener, None)
            if watch is not None:
                watch.cancel()
            if keep:
                listener.release()
            else:
                listener.close()
        taker = self._takers.pop(name, None)
        if taker is not None:
            taker.close()
        listen = self.addresses.pop(name)
        if not moves:
            self._beyond[name].close()
            del self._routes[name]
            self._drained.discard(name)
            for task in (self._asking.get(name), *(task for key, task in self._asking_address.items() if key[0] == name)):
                if task is not None:
                    task.cancel()
        relays = self.on_route(name)
        task = asyncio.get_running_loop().create_task(self._see_off(name, listen, relays, gone))
        self._gone_routes.add(task)
        task.add_done_callback(self._gone_routes.discard)

    async def _see_off(self, name: str, listen: Address, relays: Sequence[Relay], gone: Gone) -> None:
        began = monotonic()
        reset = await self._end(name, relays)
        if name not in self._routes and not self._on_route[name] and name not in self._ends:
            self._forget(name)
        gone(Ended(name, listen, len(relays), reset, monotonic() - began))

    def _forget(self, name: str) -> None:
        del self._on_route[name], self._unmet[name], self._shared[name], self._strangers[name]
        del self._beyond[name], self._agents[name], self._lingering[name]

    def knows(self, name: str) -> bool:
        """Whether there is a route of that name, or sessions of one that there was."""
        return name in self._on_route

    async def _end(self, name: str, relays: Sequence[Relay]) -> int:
        """Have sessions of a route end in order; return how many had to be reset because they took too long."""
        if self._opening:
            await asyncio.sleep(0)  # let them begin first
        ends = Ends(relay for relay in relays if relay in self._on_route[name])
        self._ends.setdefault(name, []).append(ends)
        try:
            slices = Slices()
            for relay in relays:
                relay.drain()
                await slices.pause()
            late = await ends.late(longest_drain(relay.route for relay in relays))
            for relay in late:
                relay.abort(EndedBy.GUARD, EndReason.DRAIN)
            await ends.late(_ABORTED_S)
            return len(late)
        finally:
            self._ends[name].remove(ends)
            if not self._ends[name]:
                del self._ends[name]

    async def drain(self, bound_s: float | None = None) -> None:
        """Stop: accept nothing more, let every session end in order, reset what is left after ``bound_s``.

        If another guard shares the addresses, it gets HAProxy's connections. None: the longest time the settings of the
        sessions' routes allow (three times ``disconnect_hold``, see ``hand_over`` and ``Relay.drain``, plus ``timeouts.close``).
        May be called again, or cut short with ``abort_all``.
        """
        async with self._changing:
            self._stopping = True
        for task in (*self._watching.values(), *self._asking.values(), *self._asking_address.values()):
            task.cancel()
        self._watching.clear()
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for drain in self._route_drains.values():
            drain.cancel()
        for beyond in self._beyond.values():
            beyond.close()
        if self._opening:
            await asyncio.sleep(0)  # let them begin first
        if not self._draining:
            self._draining = True
            self._end_sessions()
        if bound_s is None:
            bound_s = longest_drain((*self._routes.values(), *(relay.route for relay in self._relays.values())))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), bound_s)
        self.abort_all()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), _ABORTED_S)
        for guard in itertools.chain.from_iterable(self._next_guards.values()):
            guard.close()
        self._kernel.close()

    # One route, while the others go on

    def on_route(self, name: str) -> tuple[Relay, ...]:
        """Return the open sessions of a route, in any order."""
        return tuple(self._on_route.get(name, ()))

    def end_session(self, number: int) -> bool:
        """End a session as a drain does; return False if there is none of that number."""
        relay = self._relays.get(number)
        if relay is not None:
            relay.drain()
        return relay is not None

    def tap(self, name: str, tap: Witness | None) -> None:
        """Tell ``tap``, beside the recorder, what the sessions of a route carry from now on; None: nobody."""
        if tap is None:
            self._taps.pop(name, None)
        else:
            self._taps[name] = tap
        task = asyncio.get_running_loop().create_task(self._tell_of_tap(name))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell_of_tap(self, name: str) -> None:
        for at, relay in enumerate(self.on_route(name)):
            if at % _TOLD_AT_ONCE == 0:
                await asyncio.sleep(0)
            relay.tap(self._taps.get(name))

    def is_drained(self, name: str) -> bool:
        """Whether a route accepts nothing until ``resume_route``."""
        return name in self._drained

    def drain_route(self, name: str) -> "asyncio.Task[int]":
        """Accept nothing more on a route, and let its sessions end in order; the task returns how many had to be reset.

        Raises:
            OSError: its Unix socket cannot be taken out of the way, or is not the guard's own, or the route is gone; nothing has
                changed.
        """
        if name not in self._routes:
            raise OSError(errno.ENOENT, "there is no such route any more")
        if any(listener.given for listener in self._of_route(name)):
            raise OSError(errno.EPERM, "systemd opened its socket; stop the socket unit, and then the guard")
        for listener in self._of_route(name):
            listener.pause(Pause.DRAINED)
        self._drained.add(name)
        drain = self._route_drains.get(name)
        if drain is None:
            drain = self._route_drains[name] = asyncio.get_running_loop().create_task(self._drain_route(name))
            drain.add_done_callback(lambda _: self._route_drains.pop(name))
        return drain

    def _of_route(self, name: str) -> list[Listener]:
        return [listener for listener in self._listeners if listener.route == name]

    async def _drain_route(self, name: str) -> int:
        self._beyond[name].close()
        return await self._end(name, self.on_route(name))

    def resume_route(self, name: str) -> None:
        """Listen again on a route. Sessions that end go on ending.

        Raises:
            OSError: somebody else took the address; the route stays drained.
        """
        for listener in self._of_route(name):
            listener.resume(Pause.DRAINED)
        self._drained.discard(name)

    def take_no_more(self) -> None:
        """Accept no more sessions from other guards; several that stop together would pass theirs around."""
        for taker in self._takers.values():
            taker.close()
        self._takers.clear()

    def _end_sessions(self) -> None:
        """Hand sessions over to other guards if there are any, and end the rest."""
        self.take_no_more()
        if self._handover:
            self._next_guards = {name: next_guards(self._handover, str(at)) for name, at in self.addresses.items()}
        loop = asyncio.get_running_loop()
        for relay in tuple(self._relays.values()):
            if guards := self._next_guards.get(relay.route.name):
                self._leaving.append(loop.create_task(self._pass_on(relay, guards)))
            else:
                relay.drain()

    async def _pass_on(self, relay: Relay, guards: Sequence[NextGuard]) -> None:
        """Hand ``relay``'s connection over, or end it."""
        try:
            turn = relay.number % len(guards)  # spread the sessions over the guards, as the kernel will spread new connections
            if not await hand_over(relay, [*guards[turn:], *guards[:turn]]):
                relay.drain()
        except Exception as error:  # noqa: BLE001  our own bug, as in Leg.take
            relay.broke(error)

    def _take_over(self, name: str, handed: Handed, sock: socket.socket) -> None:
        """Resume a session of a guard that stops.

        Raises:
            NotTakenError: why not.
        """
        route = self._routes[name]
        if name in self._drained:
            raise NotTakenError("the route is drained")
        if not (self._has_room(name) or self._send_stranger_away(name)):
            raise NotTakenError("no more connections")
        number = next(self._numbers)
        relay = self._make_relay(route, number)
        relay.take_over(handed)
        self._observer.session_opened(route.name, number, peer_name(sock))
        self._begin(relay, sock)

    def abort_all(self) -> None:
        """Reset every connection now; a waiting ``drain`` returns."""
        for relay in tuple(self._relays.values()):
            relay.abort(EndedBy.GUARD, EndReason.DRAIN)

    def _accepted(self, name: str, sock: socket.socket, peer: str) -> None:
        number = next(self._numbers)
        self._observer.session_opened(name, number, peer)
        if len(self._unmet[name]) >= MOST_WITHOUT_HELLO:
            self._send_stranger_away(name)
        if self._has_room(name) or self._send_stranger_away(name):
            self._admit(name, number, sock)
        else:
            self._beyond[name].take(number, sock)

    def _has_room(self, name: str) -> bool:
        """Whether ``limits.connections`` allows one more. Those that are being turned away take no place, within a bound."""
        return len(self._on_route[name]) - self._strangers[name].uncounted < self._routes[name].connections

    def _send_stranger_away(self, name: str) -> bool:
        """End the connection that has been there longest without HELLO; False if HAProxy may still be about to say it.

        Whoever can reach the port can connect, and would otherwise fill ``limits.connections``.
        """
        now, unmet = monotonic(), self._unmet[name]
        for number, since in itertools.islice(unmet.items(), _LOOKED_AT):
            if now < since + SILENT_S:
                return False  # and so are the others
            relay = self._relays[number]
            if not _has_said_more(relay.haproxy.sock):
                break
        else:
            return False
        del unmet[number]
        self._on_route[name].discard(relay)  # its connection is gone in the loop's next turn
        self._observer.gave_way(name, number, GaveWay.NO_HELLO, relay.kept)
        relay.abort(EndedBy.GUARD, EndReason.LIMIT)
        return True

    def _short(self, name: str, why: str) -> None:
        """Connections wait because the guard is short of something: whoever has not said HELLO gives way."""
        self._observer.accept_failed(name, why)
        for route in self._unmet:
            for _ in range(_SENT_AWAY_AT_ONCE):
                if not self._send_stranger_away(route):
                    break

    # What all sessions hold back

    def queued(self, count: int) -> None:
        """Count bytes that wait on legs that are full."""
        self._total.add(count)

    def _holds_too_much(self) -> None:
        if not self._makes_room:
            self._makes_room = True
            asyncio.get_running_loop().call_soon(self._make_room)

    async def count_open(self) -> None:
        """Count what open NOTIFYs take; to be called every second, because ordinary ones are not counted one by one.

        Others have their turn in between.
        """
        before, count, slices = self._total.beside, 0, Slices()
        for name in list(self._on_route):
            if name in self._on_route:  # it may have ended meanwhile
                count += self._observer.tally(name).open_notifies
                await slices.pause()
        if self._total.beside == before:  # else sessions gave way meanwhile, whose NOTIFYs may be among those counted
            self._total.count_beside(OPEN_BYTES * count)
        self._make_room()

    def _make_room(self) -> None:
        """Have sessions give way, the one that keeps most first, until all of them keep no more than they may.

        Those beyond ``GIVE_WAY_AT_ONCE`` have their turn when others had theirs.
        """
        self._makes_room = False
        before = self._total.held + self._total.beside
        if not self._total.beyond:
            return
        kept_by = ((relay.kept + OPEN_BYTES * relay.session.open_notifies, number) for number, relay in self._relays.items())
        for kept, number in heapq.nlargest(GIVE_WAY_AT_ONCE, kept_by):
            if not kept or not self._total.beyond:
                return
            relay = self._relays[number]
            self._observer.gave_way(relay.route.name, number, GaveWay.TOTAL_BYTES, kept)
            given = OPEN_BYTES * relay.session.open_notifies
            relay.give_way()
            self._total.count_beside(max(self._total.beside - given, 0))
        if self._total.held + self._total.beside < before:
            self._holds_too_much()

    def _admit(self, name: str, number: int, sock: socket.socket, first: bytes = b"") -> None:
        """Begin the session ``number``; ``first``: what was read from its connection already."""
        try:
            relay = self._make_relay(self._routes[name], number)
        except Exception as error:  # noqa: BLE001  our own bug, as in Leg.take: this session, not the guard
            self._observer.internal_error(name, number, error)
            sock.close()
            self._refuse(name, number, EndReason.INTERNAL_ERROR)
            return
        relay.has_said(first)
        self._begin(relay, sock)

    def _make_relay(self, route: Route, number: int) -> Relay:
        strangers, spread = self._strangers[route.name], random.random()  # noqa: S311  no secret
        route_state = RouteState(
            number,
            *self._shared[route.name],
            strangers=strangers,
            crowd=self._crowd,
            lingering=self._lingering[route.name],
            spread=spread,
            total=self._total,
            met=partial(self._unmet[route.name].pop, number, None),
        )
        relay = Relay(route, route_state, self._agents[route.name], self._observer, self._make_session, self)
        relay.tap(self._taps.get(route.name))
        return relay

    def _begin(self, relay: Relay, sock: socket.socket) -> None:
        self._relays[relay.number] = relay
        self._on_route[relay.route.name].add(relay)
        self._empty.clear()
        if relay.begins:
            self._unlinked.add(relay.number)
            self._unmet[relay.route.name][relay.number] = monotonic()
        self._opening += 1
        self._count_new()
        # Not at once: other connections wait to be accepted, and a guard that hands a session over waits for the answer.
        asyncio.get_running_loop().call_soon(self._attach, relay, sock)

    def _refuse(self, name: str, number: int, reason: EndReason = EndReason.LIMIT) -> None:
        """Report a session that never began; its connection is closed."""
        self._observer.seen(name, number, [SessionEnded(EndedBy.GUARD, reason)])
        self._observer.session_closed(name, number)

    def _attach(self, relay: Relay, sock: socket.socket) -> None:
        self._opening -= 1
        try:
            relay.haproxy.begin(sock)
        except Exception as error:  # noqa: BLE001  as in Leg.take
            relay.broke(error)

    async def refuses(self, route: str, family: int, where: Place) -> str:
        """Return why ``route``, a name, must not dial ``where``; empty if it may.

        One route may be the agent of another, unless that leads back.
        """
        found = self.own_sockets.at(family, where)
        if found is None:
            return ""
        name, listen = found
        if name != route:
            agents = list({address for each in self._routes.values() for address in each.agent})
            places = dict(zip(agents, await asyncio.gather(*map(_if_known, agents)), strict=True))
            if not self.own_sockets.way(self._routes[name], route, self._routes, places):
                return ""
        return f"route {name} listens there ({listen}), so the guard would dial itself; give the agent's own address"

    def hand_over(self, number: int, raw: bytes) -> None:
        """Give the session ``number`` an ACK that came on another session's link."""
        relay = self._relays.get(number)
        if relay is not None:
            relay.step(relay.session.take_foreign, raw, monotonic())

    def reported(self, relay: Relay) -> None:
        """A session that is turned away takes no place from others any longer."""
        self._beyond[relay.route.name].fill()

    def linked(self, relay: Relay) -> None:
        """A session got an agent link."""
        self._unlinked.discard(relay.number)
        self._count_new()

    def _count_new(self) -> None:
        self._new += 1
        if self._new == NEW_ONES:
            self._new = 0
            look_at_new()

    def unread(self, sock: socket.socket) -> Unread:
        """Return what tells how much the peer of ``sock`` has not read."""
        return Unread(self._kernel, sock)

    def gone(self, relay: Relay) -> None:
        """Remove a session whose last connection is gone."""
        self._relays.pop(relay.number, None)
        self._unlinked.discard(relay.number)
        if not self._relays:
            self._empty.set()
        name = relay.route.name
        if not self.knows(name):  # it was sent away as a stranger, and others have been waited for
            return
        self._unmet[name].pop(relay.number, None)
        self._on_route[name].discard(relay)
        self._beyond[name].fill()
        for ends in self._ends.get(name, ()):
            ends.gone(relay)


async def _if_known(address: Address) -> Places:
    """Return what ``address`` stands for; nothing if it does not resolve, or the resolver is silent: nobody dials it then."""
    try:
        async with asyncio.timeout(PATIENCE_S * 2):
            return await resolve(address)
    except OSError:  # TimeoutError, too
        return ()
