"""The agents of one route: which of several addresses to dial first, and who is told what came of each dial."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final, Protocol

from spoe_guard.address import Address
from spoe_guard.core.conversation.backoff import pause_s
from spoe_guard.core.terms.events import DialFailure
from spoe_guard.net.dial import DialError, Dialled, Refuses, dial

# An address that failed is passed over for a sixteenth of the time it has failed for, if there is another one.
SHORTEST_S: Final = 0.25
LONGEST_S: Final = 5.0


class DialObserver(Protocol):
    """Who is told of each dial."""

    def agent_dialled(self, route: str, agent: str, reason: DialFailure | None, detail: str) -> None:
        """``agent``, an address, was dialled; ``reason``: why that failed, None if it did not. ``detail``: for people."""


@dataclass(slots=True)
class _Failing:
    since: float
    retry_at: float


class Agents:
    """The agents of ``route``, shared by its sessions. Times are monotonic seconds.

    ``refuses``: says which places are the guard's own, and not to be dialled.
    """

    def __init__(self, route: str, observer: DialObserver, refuses: Refuses | None = None) -> None:
        self._route = route
        self._observer = observer
        self._refuses = refuses
        self._failing: dict[Address, _Failing] = {}

    async def reach(self, addresses: Sequence[Address], within_s: float) -> Dialled:
        """Return a connection to the first of ``addresses`` that can be reached; those that failed of late come last.

        Raises:
            DialError: none could be reached.
        """
        return await dial(self._in_order(addresses), within_s, self._tried, self._refuses)

    def failed(self, address: Address) -> None:
        """An agent that was connected did not answer HELLO: try another one first, if there is one."""
        now = monotonic()
        known = self._failing.setdefault(address, _Failing(now, now))
        spread = random.random()  # noqa: S311  no secret
        known.retry_at = now + pause_s(now - known.since, spread, SHORTEST_S, LONGEST_S)

    def answered(self, address: Address) -> None:
        """AGENT-HELLO came from that address."""
        self._failing.pop(address, None)

    def _in_order(self, addresses: Sequence[Address]) -> list[Address]:
        now = monotonic()
        for gone in self._failing.keys() - set(addresses):  # from before a reload
            del self._failing[gone]
        paused = {address for address, known in self._failing.items() if now < known.retry_at}
        return sorted(addresses, key=paused.__contains__)

    def _tried(self, address: Address, error: DialError | None) -> None:
        if error is None:
            self._observer.agent_dialled(self._route, str(address), None, "")
            return
        if error.reason is not DialFailure.OWN_LIMIT:
            self.failed(address)
        self._observer.agent_dialled(self._route, str(address), error.reason, error.detail)
