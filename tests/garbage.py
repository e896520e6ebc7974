"""What only Python's garbage collector could free, because it refers to itself."""

import contextlib
import gc
from collections import Counter
from collections.abc import Iterator
from types import FrameType

from spoe_guard.net.guard import Guard

OURS = "spoe_guard."
PEERS = ("spoe_guard.lab.", "spoe_guard.wire.frame.")  # peers of the tests, and frames, which they keep, too


def left() -> Counter[str]:
    """Collect, and return how many objects of each of the guard's own types, and frames of its code, had to be collected.

    A guard, which is one with its parts, stays as long as its process; one that a test has let go of is not looked at.
    """
    guards = [each for each in gc.get_objects() if isinstance(each, Guard)]
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
    finally:
        gc.set_debug(0)
        guards.clear()
    names = [_name(each) for each in gc.garbage]
    gc.garbage.clear()
    gc.collect()
    return Counter(name for name in names if name.startswith(OURS) and not name.startswith(PEERS))


def _name(found: object) -> str:
    if isinstance(found, FrameType):
        return f"{found.f_globals.get('__name__')}, line {found.f_lineno}"
    return f"{type(found).__module__}.{type(found).__qualname__}"


@contextlib.contextmanager
def nothing_for_the_collector() -> Iterator[None]:
    """Keep the collector from running, and see at the end that it would find nothing of the guard's."""
    gc.collect()
    gc.disable()
    try:
        yield
        found = left()
        assert not found, found
    finally:
        gc.enable()
