"""The sockets that a guard needs for other routes than it has: opened while those it has go on, or none of them.

A socket is told by its address and not by the name of its route: a route that gets another name keeps its socket, and two routes
may change places, without a moment in which nobody listens.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final

from spoe_guard.address import Address
from spoe_guard.net.bind import Bound, ListenError, place_of
from spoe_guard.net.own_sockets import OwnSockets
from spoe_guard.net.route import Route
from spoe_guard.slices import Slices

Bind = Callable[[Route, bool], Awaitable[list[Bound]]]  # whether to share the port with others

_SYSTEMDS: Final = (
    "systemd holds its socket, so whoever connects would wait there for ever; take it out of the socket unit, and stop and start "
    "both units"
)


class Opening:
    """What ``routes`` are to listen on, where ``listening`` is what there is, by the name of its route.

    ``idle``: those routes whose sockets do not listen now. ``shares``: whether all sockets share their ports with other guards.
    ``several``: they are of several processes, and share them among those.

    ``whose``, once ``open`` has returned: by the name of each route that needs no new socket, the route whose sockets it has:
    itself, or one that ends or goes elsewhere. ``opened``: by name, the sockets of all others. ``own``: all of both.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        listening: Mapping[str, Sequence[Bound]],
        idle: Collection[str] = (),
        *,
        shares: bool = False,
        several: bool = False,
    ) -> None:
        self.routes = routes
        self._listening = listening
        self._idle = idle
        self._shares = shares
        self._several = several
        self._admitted: list[Bound] = []
        self.whose: dict[str, str] = {}
        self.opened: dict[str, list[Bound]] = {}
        self.own = OwnSockets(())

    @property
    def is_needed(self) -> bool:
        """Whether anything begins or ends to listen, or listens for another route."""
        return len(self.routes) != len(self._listening) or not all(self.stays(route.name) for route in self.routes)

    def stays(self, name: str) -> bool:
        """Whether the route ``name`` goes on to listen where it does."""
        return self.whose.get(name) == name

    def sockets(self, name: str) -> Sequence[Bound]:
        """Return the sockets of one of the routes."""
        whose = self.whose.get(name)
        return self.opened[name] if whose is None else self._listening[whose]

    async def open(self, bind: Bind) -> None:
        """Open what is needed; it listens, and nobody accepts yet. What there is listens as before.

        Raises:
            ListenError: which route cannot listen, or stop to, and why; nothing has changed.
        """
        try:
            await self._open(bind)
        except BaseException:
            self.close()
            raise

    async def _open(self, bind: Bind) -> None:
        slices = Slices()
        await self._match(slices)
        given_on = set(self.whose.values())
        ports: defaultdict[int, list[Bound]] = defaultdict(list)  # of those that end
        for name, bounds in self._listening.items():
            if name not in given_on:
                if bounds[0].given:
                    raise ListenError(bounds[0].route, _SYSTEMDS, "stop to listen on")
                if bounds[0].address.path is None:
                    ports[bounds[0].address.port] += bounds
            await slices.pause()
        for route in self.routes:
            whose = self.whose.get(route.name)
            if whose is None:
                await self._open_one(route, bind, ports[route.listen.port] if route.listen.path is None else ())
            elif whose != route.name and whose in self._idle:
                self._admit(route, self._listening[whose])
            await slices.pause()
        for route in self.routes:
            for bound in self.sockets(route.name):
                self.own.add(bound, route.name)
            await slices.pause()

    async def _match(self, slices: Slices) -> None:
        """Find for each route the sockets that are at its address already, its own first."""
        free = dict(self._listening)
        others = []
        for route in self.routes:
            there = free.get(route.name)
            if there is not None and route.listen in _addresses(there[0]):
                self.whose[route.name] = route.name
                del free[route.name]
            else:
                others.append(route)
            await slices.pause()
        at = {address: name for name, bounds in free.items() for address in _addresses(bounds[0])}
        for route in others:
            if route.listen.path is None and route.listen.port == 0:  # the kernel is to choose another one
                continue
            name = at.get(route.listen)
            if name not in free and free:
                family, where = await place_of(route)
                name = next((name for name, bounds in free.items() if bounds[0].is_at(family, where)), None)
            if name in free:
                self.whose[route.name] = name
                del free[name]
            await slices.pause()

    async def _open_one(self, route: Route, bind: Bind, beside: Sequence[Bound]) -> None:
        """Open a socket for ``route``; ``beside``: sockets of the same port that end when it is in use, such as 0.0.0.0's.

        All of them may then share the port with others of this user that ask for it, as it is with ``share_listen``.
        """
        if not self._shares and not self._several:
            for bound in beside:
                bound.share()
        self.opened[route.name] = await bind(route, bool(beside) or self._shares)

    def _admit(self, route: Route, bounds: Sequence[Bound]) -> None:
        """Have sockets listen that are paused: the route that gets them is not."""
        for bound in bounds:
            try:
                bound.admit()
            except OSError as error:
                raise ListenError(route, error.strerror or str(error)) from None
            self._admitted.append(bound)

    def close(self) -> None:
        """Give up: close what was opened. Everything is as before."""
        for bound in self._admitted:
            bound.refuse()
        for bounds in self.opened.values():
            for bound in bounds:
                bound.close()


def _addresses(bound: Bound) -> tuple[Address, Address]:
    """Return what the settings of its route said, and what came of it."""
    return bound.route.listen, bound.address
