"""The agents of one route: which of several addresses to dial first, and who is told what came of each dial."""

from collections.abc import Container
from time import monotonic
from typing import Protocol

from spoe_guard.address import Address
from spoe_guard.core.conversation.ledger import Ledger
from spoe_guard.core.terms.events import DialFailure, LinkLoss
from spoe_guard.net.dial import DialError, Dialled, Refuses, dial
from spoe_guard.net.route import Route
from spoe_guard.net.standing import Link, Standing, in_order


class DialObserver(Protocol):
    """Who is told of each dial, and of what it means for a route with several addresses."""

    def agent_dialled(self, route: str, agent: str, reason: DialFailure | None, detail: str) -> None:
        """``agent``, an address, was dialled; ``reason``: why that failed, None if it did not. ``detail``: for people."""

    def agent_silent(self, route: str, agent: str, detail: str) -> None:
        """``agent``, one address of several, let NOTIFYs pass their deadline: it is passed over. ``detail``: for people."""

    def agent_moved(self, route: str, before: str, after: str, why: str) -> None:
        """With `balance: first` new links go to the address ``after`` from now on; ``why``: empty if it is back."""


class Asks(Protocol):
    """Has an address asked by the guard itself, until it answers."""

    def __call__(self, address: Address, *, at_once: bool) -> None:
        """``at_once``: first now, otherwise after a pause."""


class Agents:
    """The agents of a route, shared by its sessions. Times are monotonic seconds.

    ``refuses``: says which places are the guard's own, and not to be dialled. ``ask``: None if nobody asks an address that has
    failed, and dials have to find out.
    """

    def __init__(
        self,
        route: Route,
        observer: DialObserver,
        refuses: Refuses | None = None,
        ask: Asks | None = None,
    ) -> None:
        self._observer = observer
        self._refuses = refuses
        self._ask = ask
        self._known: dict[Address, Standing] = {}
        self.use(route)

    def use(self, route: Route) -> None:
        """Serve ``route`` from now on; of addresses that it has no more nothing is kept, once no link goes there."""
        self._route = route
        self._several = len(route.agent) > 1
        for gone in self._known.keys() - set(route.agent):
            if not self._known[gone].used:
                del self._known[gone]
        self._first = next(filter(self._is_well, route.agent), route.agent[0])

    def serves_others(self, route: Route) -> bool:
        """Whether ``route`` has other addresses than the route served so far."""
        return route.agent != self._route.agent

    async def reach(self, route: Route, link: Link | None = None, avoid: Container[Address] = ()) -> Dialled:
        """Return a connection to the first address of ``route`` that can be reached, in the order that its settings ask for.

        ``link`` counts from now on as a connection to the address that is tried, until ``ended``; None: a health check.
        ``avoid``: addresses that come behind others that are well.

        Raises:
            DialError: none could be reached.
        """
        now = monotonic()
        for address in route.agent:
            self._of(address)
        asked = self._ask is not None and not route.config.observe
        balance = route.balance if link is not None else "first"
        order = in_order(route.agent, self._known, now, balance, avoid, asked=asked)
        rest = iter(order)

        def tried(address: Address, error: DialError | None) -> None:
            self.tried(address, error)
            if link is not None and error is not None:
                self._make(link, next(rest, None))

        if link is not None:
            self._make(link, next(rest))
        try:
            return await dial(order, route.config.connect_s, tried, self._refuses)
        except BaseException:
            if link is not None:
                self.ended(link)
            raise

    async def check(self, address: Address, within_s: float) -> Dialled:
        """Return a connection to that address alone; ``tried`` is to be told what comes of it.

        Raises:
            DialError: it cannot be reached.
        """
        return await dial([address], within_s, refuses=self._refuses)

    def tried(self, address: Address, error: DialError | None) -> None:
        """``address`` was dialled: it failed as ``error`` says, or is connected, which is no answer yet."""
        if error is None:
            self._observer.agent_dialled(self._route.name, str(address), None, "")
            return
        self._observer.agent_dialled(self._route.name, str(address), error.reason, error.detail)
        if error.reason is not DialFailure.OWN_LIMIT:
            self.failed(address, error.reason.value)

    # What is known of an address

    def open_on(self, address: Address) -> int:
        """Return how many NOTIFYs the agent at ``address`` has in hand."""
        known = self._known.get(address)
        return known.open_notifies if known is not None else 0

    def given_to(self, address: Address) -> int:
        """Return how many NOTIFYs the agent at ``address`` was given since there is something known of it."""
        known = self._known.get(address)
        return known.given if known is not None else 0

    def is_down(self, address: Address) -> bool:
        """Whether the address has failed since it last answered."""
        return not self._is_well(address)

    def any_well(self, route: Route) -> bool:
        """Whether one of the addresses of ``route`` has not failed since it last answered."""
        return any(map(self._is_well, route.agent))

    def failed(self, address: Address, why: str) -> None:
        """An address could not be dialled, or did not answer HELLO: try another one first, if there is one."""
        self._of(address).failed(monotonic())
        self._now_down(address, why)

    def silent(self, link: Link, since: float, detail: str) -> None:
        """NOTIFYs on ``link`` passed their deadline, and its agent has sent nothing on it since ``since``.

        If it has on no other connection, it counts as failed where there are several addresses. ``detail``: for people.
        """
        standing = self._of(link.address)
        if not self._several or standing.down or standing.heard_since(since):
            return
        standing.silent(monotonic())
        self._observer.agent_silent(self._route.name, str(link.address), detail)
        self._now_down(link.address, LinkLoss.DEADLINE.value)

    def in_doubt(self, address: Address) -> None:
        """A link to ``address`` ended while its agent had work, or before HELLO: the guard asks it now, if there are several."""
        if self._several and self._ask is not None:
            self._ask(address, at_once=True)

    def answered(self, address: Address) -> None:
        """AGENT-HELLO came from that address."""
        self._of(address).answered(monotonic())
        if self._route.balance == "first" and self._is_well(address):
            self._turn_to_first("")

    def answered_check(self, address: Address) -> bool:
        """AGENT-HELLO came in answer to the guard's own check; return whether the address is back, or was never away."""
        back = self._of(address).may_return(monotonic())
        if back:
            self.answered(address)
        return back

    # What a link's owner reports

    def connected(self, link: Link, ledger: Ledger | None) -> None:
        """``link`` is connected; ``ledger``: its open NOTIFYs, None if they are not known."""
        self._of(link.address).links[link] = ledger

    def met(self, link: Link) -> None:
        """AGENT-HELLO came on ``link``, or nobody waits for it any longer."""
        self._of(link.address).making.pop(link, None)

    def ended(self, link: Link) -> None:
        """``link`` is no longer dialled, or its connection is gone. May be called again."""
        standing = self._known.get(link.address)
        if standing is not None:
            standing.ended(link)

    # Inside

    def _make(self, link: Link, address: Address | None) -> None:
        self.ended(link)
        if address is not None:
            link.address = address
            self._of(address).making[link] = monotonic()

    def _of(self, address: Address) -> Standing:
        return self._known.setdefault(address, Standing())

    def _is_well(self, address: Address) -> bool:
        known = self._known.get(address)
        return known is None or not known.down

    def _now_down(self, address: Address, why: str) -> None:
        if not self._several:
            return
        if self._route.balance == "first" and address == self._first:
            self._turn_to_first(why)
        if self._ask is not None:
            self._ask(address, at_once=False)

    def _turn_to_first(self, why: str) -> None:
        """Tell if new links go to another address than before; while all are down nothing changes."""
        first = next(filter(self._is_well, self._route.agent), self._first)
        if first != self._first:
            before, self._first = self._first, first
            self._observer.agent_moved(self._route.name, str(before), str(first), why)
