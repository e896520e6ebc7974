"""Long work on the event loop, in slices: between two of them the loop does what else is due."""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from spoe_guard.collector import look_at_new

SLICE_S: Final = 0.001


class Slices:
    """Work that began now. ``clock`` returns seconds; only differences count."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._began = clock()  # the slice under way
        self._before_s = 0.0  # what the slices before it took

    async def pause(self) -> None:
        """Let others have their turn, if this one has lasted for ``SLICE_S``. To be called after each short step.

        Before that the garbage collector looks at what is new: where as much is let go it would not by itself, and later at all
        that the work has made in one go.
        """
        took_s = self._clock() - self._began
        if took_s >= SLICE_S:
            look_at_new()
            await asyncio.sleep(0)
            self._before_s += took_s
            self._began = self._clock()

    @property
    def spent_s(self) -> float:
        """For how many seconds the loop was held, others' turns not counted."""
        return self._before_s + self._clock() - self._began


async def let_go(things: list[Any]) -> None:
    """Empty the list, one by one: a thousand things of which each has a hundred of its own take long to be freed together."""
    slices = Slices()
    while things:
        things.pop()
        await slices.pause()
