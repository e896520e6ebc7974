"""Long work on the event loop, in slices: between two of them the loop does what else is due."""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Final

SLICE_S: Final = 0.001


class Slices:
    """Work that began now. ``clock`` returns seconds; only differences count."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._began = clock()

    async def pause(self) -> None:
        """Let others have their turn, if this one has lasted for ``SLICE_S``. To be called after each short step."""
        if self._clock() - self._began >= SLICE_S:
            await asyncio.sleep(0)
            self._began = self._clock()
