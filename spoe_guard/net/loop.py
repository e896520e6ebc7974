"""The event loop: uvloop, or asyncio's own if uvloop cannot be imported or is not wanted; and what its timers need."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

# uvloop's timers count whole milliseconds and may fire early: a shorter one would fire again and again.
SHORTEST_TIMER_S: Final = 0.001

VARIABLE: Final = "SPOE_GUARD_LOOP"  # "asyncio" disables uvloop; anything else is the default


def loop_name() -> str:
    """Return ``uvloop`` or ``asyncio``, whichever ``run`` uses; the label value of ``spoe_guard_build_info``."""
    return "asyncio" if _uvloop_factory() is None else "uvloop"


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` to its end on a new event loop and return what it returns."""
    with asyncio.Runner(loop_factory=_uvloop_factory()) as runner:
        return runner.run(main)


def _uvloop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if os.environ.get(VARIABLE) == "asyncio":
        return None
    try:
        import uvloop  # noqa: PLC0415  a platform without it still runs the guard
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
