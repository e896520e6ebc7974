"""Counts the turns that others have while something is done in slices. They are counted, not timed."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from spoe_guard import slices

T = TypeVar("T")


def every_step_is_a_slice(monkeypatch: Any) -> None:
    """On a fast machine a slice has several steps otherwise."""
    monkeypatch.setattr(slices, "SLICE_S", -1.0)


async def turns_of(work: Coroutine[Any, Any, T], look: Callable[[], object] = lambda: None) -> tuple[int, T]:
    """Return how many turns others had until it was done, and what it returned. ``look`` is called in each of them."""
    counted, task = 0, asyncio.get_running_loop().create_task(work)
    while not task.done():
        counted += 1
        look()
        await asyncio.sleep(0)
    return counted, task.result()
