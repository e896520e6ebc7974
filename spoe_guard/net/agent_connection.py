"""One dial of an agent and, if it succeeds, the connection. A session can replace it."""

import asyncio
from collections.abc import Container
from typing import Protocol

from spoe_guard.address import Address
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.events import DialFailure
from spoe_guard.net.agents import Agents
from spoe_guard.net.dial import DialError
from spoe_guard.net.leg import Leg, LegOwner
from spoe_guard.net.route import Route


class AgentConnectionOwner(LegOwner, Protocol):
    """What an agent connection calls: its relay."""

    route: Route
    agents: Agents

    def to_avoid(self) -> Container[Address]:
        """Return the addresses whose links ended a moment ago with NOTIFYs that go to another."""

    def unreachable(self, link: "AgentConnection", reason: DialFailure, detail: str) -> None:
        """The agent could not be dialled."""


class AgentConnection:
    """Dials the agent of ``relay`` as soon as it is created. ``leg`` carries bytes once ``made`` of the relay was called.

    ``number``: of the session's link that it serves. ``address``: the agent's; while it is dialled, the one that is tried.
    ``answered``: AGENT-HELLO came.
    """

    __slots__ = ("_relay", "_task", "address", "answered", "leg")

    def __init__(self, relay: "AgentConnectionOwner", number: int, loop: asyncio.AbstractEventLoop) -> None:
        self.leg = Leg(relay, Side.AGENT, number)
        self.address: Address = relay.route.agent[0]
        self.answered = False
        self._relay = relay
        self._task: asyncio.Task[None] | None = loop.create_task(self._reach())

    @property
    def dialling(self) -> bool:
        """Whether neither ``made`` nor ``unreachable`` of the relay was called yet."""
        return self._task is not None

    def give_up(self) -> None:
        """Stop dialling; the relay is not notified any more."""
        self.leg.abort()
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _reach(self) -> None:
        try:
            sock, _ = await self._relay.agents.reach(self._relay.route, self, self._relay.to_avoid())
            self._task = None
            self.leg.begin(sock)
        except DialError as error:
            self._task = None
            self._relay.unreachable(self, error.reason, error.detail)
        except Exception as error:  # noqa: BLE001  our own bug, as in Leg.take
            self._task = None
            self._relay.broke(error)
