"""The agents' names: looked up at the start, and again every few seconds for routes of which none resolved."""

import asyncio
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final

from spoe_guard.address import Address
from spoe_guard.core.terms.events import DialFailure
from spoe_guard.net.resolver import Places, resolve
from spoe_guard.net.route import Route
from spoe_guard.observe.logs import Log
from spoe_guard.observe.stats import RouteStats
from spoe_guard.slices import let_go
from spoe_guard.threads import NoThreadError

LOOK_UP_S: Final = 5.0  # for all names together, at the start and at a reload; later each dial resolves them again
BEGUN_AT_ONCE: Final = 16  # look-ups that begin in one turn of the loop
AGAIN_S: Final = 3.0  # between look-ups of the same name, a quarter more or less


Unresolved = Mapping[str, Mapping[str, str]]  # why, by the name of the route and by agent address


@dataclass(frozen=True, slots=True)
class LookedUp:
    """``places``: what the addresses that resolve stand for, each with its address family; ``faults``: why the others do not."""

    places: Mapping[Address, Places]
    faults: Mapping[Address, str]

    def unresolved(self, routes: Iterable[Route]) -> Unresolved:
        """Return the routes of which no agent address resolves."""
        return {
            route.name: {str(address): self.faults[address] for address in route.agent}
            for route in routes
            if route.agent and all(address in self.faults for address in route.agent)
        }

    def say(self, routes: Iterable[Route], log: Log) -> None:
        """Log each address that does not resolve."""
        reason = DialFailure.UNRESOLVED.value
        for route in routes:
            for address in route.agent:
                if address in self.faults:
                    log.say("warning", "agent_unreachable", route=route.name, reason=reason, detail=self.faults[address])


async def look_up(routes: Iterable[Route]) -> LookedUp:
    """Resolve the agent addresses of ``routes``, all at the same time. An agent need not be up: it may start later.

    Others have their turn while they are begun.
    """
    addresses = list(dict.fromkeys(address for route in routes for address in route.agent))
    looking: list[asyncio.Task[Places | str]] = []
    async with asyncio.TaskGroup() as group:
        for at, address in enumerate(addresses, 1):
            looking.append(group.create_task(_resolved(address, LOOK_UP_S)))
            if at % BEGUN_AT_ONCE == 0:
                await asyncio.sleep(0)
    both = [(address, each.result()) for address, each in zip(addresses, looking, strict=True)]
    return LookedUp(
        {address: each for address, each in both if not isinstance(each, str)},
        {address: each for address, each in both if isinstance(each, str)},
    )


async def _resolved(address: Address, within_s: float) -> Places | str:
    """Return what ``address`` stands for, or why it does not resolve."""
    try:
        async with asyncio.timeout(within_s):
            return await resolve(address) or f"'{address}': the name has no address"
    except TimeoutError:
        return f"'{address}': no answer from the resolver in {within_s:g} s"
    except NoThreadError as error:
        return f"'{address}': the name cannot be looked up: {error.strerror}"
    except OSError as error:
        return f"'{address}': the name does not resolve: {error.strerror}"


class Names:
    """The routes of which no agent's name resolved at the start. They are down, and looked up again until one does.

    ``states``: by route name, where that is noted; routes that are not in it are only logged. ``log``: where it is said that a
    name resolves now; None: nowhere.
    """

    def __init__(self, routes: Sequence[Route], states: Mapping[str, RouteStats], log: Log | None) -> None:
        self._routes = {route.name: route for route in routes}
        self._states = states
        self._log = log
        self._missing: set[str] = set()

    async def use(self, routes: Sequence[Route]) -> None:
        """Take on new settings, whose new names have been looked up. Others have their turn while those of before are freed."""
        before, self._routes = list(self._routes.values()), {route.name: route for route in routes}
        agents = {route.name: route.agent for route in routes}
        self._missing -= {route.name for route in before if agents.get(route.name) != route.agent}
        await let_go(before)

    def note(self, unresolved: Unresolved) -> None:
        """Note routes of which no agent's name resolves, and why."""
        self._missing.update(unresolved)
        for name, faults in unresolved.items():
            if name in self._states:
                self._states[name].unresolved(monotonic(), faults)

    async def look_up(self) -> None:
        """Look up all names, and those of routes of which none resolves again and again."""
        routes = tuple(self._routes.values())
        unresolved = (await look_up(routes)).unresolved(routes)
        now = self._routes  # a reload may have come
        stay = {route.name for route in routes if route.name in now and now[route.name].agent == route.agent}
        self.note({name: faults for name, faults in unresolved.items() if name in stay})
        await self.keep()

    async def keep(self) -> None:
        """Look the noted routes up again, all at the same time, until a name of each resolves."""
        while self._missing:
            await asyncio.sleep(AGAIN_S * random.uniform(0.75, 1.25))  # noqa: S311  no secret
            await asyncio.gather(*map(self._again, sorted(self._missing)))

    async def _again(self, name: str) -> None:
        route = self._routes.get(name)
        if route is None:
            return
        looked_up = await look_up([route])
        if looked_up.places:
            self._found(route)
        elif self._is_missing(route):
            self.note(looked_up.unresolved([route]))

    def _found(self, route: Route) -> None:
        if not self._is_missing(route):
            return
        self._missing.discard(route.name)
        if route.name in self._states:
            self._states[route.name].resolved()
        if self._log is not None:
            self._log.say("info", "agent_resolved", route=route.name, agent=", ".join(map(str, route.agent)))

    def _is_missing(self, route: Route) -> bool:
        """Return whether ``route`` waits for a name to resolve; a reload may have given it another agent meanwhile."""
        return route.name in self._missing and self._routes[route.name].agent == route.agent
