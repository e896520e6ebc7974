"""Starts the threads beside the event loop. The end of the process waits for none of them.

Why not ``asyncio.to_thread`` and ``loop.getaddrinfo``: the threads of asyncio's executor are waited for when the loop closes, so
one that hangs (a dead resolver or file server) keeps the process from ending; those of uvloop are four, shared by all.
"""

import asyncio
import functools
import sys
import threading
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

NO_THREAD: Final = (
    "the guard can start no thread; raise TasksMax= of the unit, pids.max of the container, or ulimit -u, or give it memory"
)


# For so long a thread may keep the loop from the interpreter. Python's own 5 ms would be added to every turn of the loop.
SWITCH_S: Final = 0.001


class NoThreadError(OSError):
    """No thread can be started. ``strerror`` is one line that names what to raise."""

    def __init__(self) -> None:
        super().__init__(None, NO_THREAD)


def start(call: Callable[[], object], name: str) -> threading.Thread:
    """Run ``call`` in a new thread, ``name`` for people.

    Raises:
        NoThreadError: the thread cannot be started.
    """
    sys.setswitchinterval(SWITCH_S)
    thread = threading.Thread(target=call, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:  # "can't start new thread", whatever the system's reason
        raise NoThreadError from None
    return thread


def in_thread(call: Callable[[], T], name: str) -> "asyncio.Future[T]":
    """Run ``call`` in a new thread, ``name`` for people, and return a future of what it returns or raises.

    Cancelling the future leaves the thread alone.

    Raises:
        NoThreadError: the thread cannot be started.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()
    outcome.add_done_callback(_seen)
    start(functools.partial(_run, call, loop, outcome), name)
    return outcome


def _run(call: Callable[[], T], loop: asyncio.AbstractEventLoop, outcome: "asyncio.Future[T]") -> None:
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001  whoever waits for the outcome is to have it
        _tell(loop, _fail, outcome, error)
    else:
        _tell(loop, _settle, outcome, result)
    finally:
        del outcome  # an error's traceback leads here, and it would lead to the error


def _seen(outcome: "asyncio.Future[T]") -> None:
    """Fetch the error: it is no bug if nobody waits for the outcome any more."""
    if not outcome.cancelled():
        outcome.exception()


def _tell(loop: asyncio.AbstractEventLoop, how: Callable[..., None], *arguments: object) -> None:
    try:
        loop.call_soon_threadsafe(how, *arguments)
    except RuntimeError:  # the loop is closed: nobody waits any more
        return


def _settle(outcome: "asyncio.Future[T]", result: T) -> None:
    if not outcome.done():
        outcome.set_result(result)


def _fail(outcome: "asyncio.Future[T]", error: BaseException) -> None:
    if not outcome.done():
        outcome.set_exception(error)
