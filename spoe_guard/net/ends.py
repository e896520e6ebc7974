"""Waits for sessions to end that were told to."""

import asyncio
import contextlib
from collections.abc import Iterable

from spoe_guard.net.relay import Relay


class Ends:
    """Some sessions of one route. ``gone`` is to be called for each session of the route that is gone."""

    def __init__(self, relays: Iterable[Relay]) -> None:
        self._left = set(relays)
        self._over = asyncio.Event()
        self._look()

    def gone(self, relay: Relay) -> None:
        """A session is gone, one of these or another."""
        self._left.discard(relay)
        self._look()

    async def late(self, bound_s: float) -> list[Relay]:
        """Wait for the last one, at most so long; return those that are left."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), bound_s)
        return list(self._left)

    def _look(self) -> None:
        if not self._left:
            self._over.set()
