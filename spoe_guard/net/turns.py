"""Who handles more of its last read next: fair between routes, and between the connections of a route.

A read that is not ordinary is handled in slices: ``FRAMES_A_TURN`` and ``BYTES_A_TURN`` in ``core/incoming/walker.py``. What a
slice leaves waits here, and one turn of the event loop spends a bounded time on all that waits. While anything does, a new read
that is not ordinary joins the queue at once: otherwise a thousand connections would each have a slice in the same turn.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Final, Protocol

# Of one turn of the loop, for all that waits. A slice is not cut short: with it no connection holds the loop for more than 2 ms,
# compiled. A request of another route meets two to four such turns: with 1 ms here its median was 1 ms longer.
BUDGET_S: Final = 0.00025


class Waiting(Protocol):
    """A connection with received bytes that its session has not handled: a leg."""

    def turn(self) -> None:
        """Handle a slice of them, and call ``Turns.wait`` again if more are left. It must not raise."""


class Turns:
    """The queue of one event loop. ``clock`` returns seconds; only differences count."""

    def __init__(self, budget_s: float = BUDGET_S, clock: Callable[[], float] = monotonic) -> None:
        self._budget_s = budget_s
        self._clock = clock
        self._routes: dict[str, deque[Waiting]] = {}  # none of them empty; the route whose turn is next comes first
        self._scheduled = False

    @property
    def busy(self) -> bool:
        """Whether anybody waits."""
        return bool(self._routes)

    def wait(self, route: str, leg: Waiting) -> None:
        """Let ``leg`` have a turn, behind the others of its ``route``; it must not wait already."""
        self._routes.setdefault(route, deque()).append(leg)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        end = self._clock() + self._budget_s
        while self._routes:
            route = next(iter(self._routes))
            legs = self._routes.pop(route)
            leg = legs.popleft()
            if legs:
                self._routes[route] = legs  # behind the other routes
            leg.turn()
            if self._clock() >= end:
                break
        self._scheduled = bool(self._routes)
        if self._scheduled:
            asyncio.get_running_loop().call_soon(self._turn)
