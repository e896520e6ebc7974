"""The event loop: uvloop, or asyncio's own if uvloop cannot be imported or is not wanted; its signals, and what timers need."""

import asyncio
import os
import signal
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


def add_signal_handler(number: signal.Signals, call: Callable[..., object], *arguments: object) -> None:
    """Call it on the running loop, once for each signal ``number``, until ``remove_signal_handler``.

    uvloop's own method may call twice for a signal that comes while the loop takes up another one (``Loop._invoke_signals``): a
    SIGTERM close behind a SIGHUP would count as two, and a second one ends the sessions. So there Python's handler calls, for
    which uvloop wakes up.
    """
    loop = asyncio.get_running_loop()
    if isinstance(loop, asyncio.SelectorEventLoop):
        loop.add_signal_handler(number, call, *arguments)
        return
    signal.signal(number, lambda _number, _frame: loop.call_soon_threadsafe(call, *arguments))
    signal.siginterrupt(number, False)  # noqa: FBT003  as both loops do


def remove_signal_handler(number: signal.Signals) -> None:
    """Give the signal back its default."""
    if not asyncio.get_running_loop().remove_signal_handler(number):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def _uvloop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if os.environ.get(VARIABLE) == "asyncio":
        return None
    try:
        import uvloop  # noqa: PLC0415  a platform without it still runs the guard
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
