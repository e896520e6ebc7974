"""Python's garbage collector, which must not keep NOTIFYs waiting.

What ends here is freed with the last reference to it, because nothing that it refers to refers to it. So there is next to nothing
to collect. But to find that out the collector by itself looks at all objects now and then: with 10,000 sessions for some 400 ms,
in which nobody is served. Here it does not. It looks at new objects only, before they are many. At all of them it looks where
they are few, or where there is more in memory than can be explained: something that refers to itself was left behind.

Source: CPython, ``gc_collect_generations`` in Modules/gcmodule.c, ``_Py_GetAllocatedBlocks`` in
Objects/obmalloc.c; proc(5), statm.
"""

import gc
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

# Sessions and links that begin until what is new is looked at: 0.2 ms. CPython does so when there are 700 objects more than
# before, but where sessions end as fast as others begin there are never more, and all 10,000 sessions become new ones.
NEW_ONES: Final = 16

# Sessions up to which all objects are looked at every ``EVERY_S``: it takes 1 ms or 2. If it takes longer than ``LONG_S``, as
# behind a reload of 1,000 routes, what is there is left out of the next ones.
FEW: Final = 32
EVERY_S: Final = 60.0
LONG_S: Final = 0.005

# Blocks of memory, of 100 bytes or so, that may be there more than after the last look at all objects: in any case, for each
# route (what is remembered of it grows, as its history), for each session more, and for each 16 bytes more that sessions keep of
# their peers. A session takes 160 to 200: what more of them may take is rounded up, and what fewer leave free is rounded down.
SPARE: Final = 300_000
OF_A_ROUTE: Final = 1000
OF_A_SESSION: Final = 300
OF_A_SESSION_LESS: Final = 100
BYTES_A_BLOCK: Final = 16

# CPython counts the blocks page by page, in one go: with 10,000 sessions for 5 to 20 ms. So they are counted where the process
# has got that much more memory, in bytes, since they were counted last.
COUNT_AGAIN: Final = 4 << 20
_STATM: Final = Path("/proc/self/statm")  # pages; the sixth number is that of data and stacks

# Looks at the newest objects, by CPython itself, until those that are a little older are looked at, too. By default it is 10, and
# such a look takes 4 ms to 5; no object is looked at more often for it.
_YOUNG_LOOKS: Final = 3
_NEVER: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Load:
    """What explains the memory of a process: ``kept``, bytes that sessions keep of their peers, and for open NOTIFYs."""

    routes: int
    sessions: int
    kept: int


@dataclass(frozen=True, slots=True)
class Found:
    """What a look at all objects has found because memory was missing: how many objects, in how many seconds."""

    objects: int
    seconds: float


def look_at_new() -> None:
    """Collect among what is new: 0.01 ms for each session that is."""
    gc.collect(1)


def memory() -> int | None:
    """Return how many bytes the process has for data, used or not; None where the kernel does not say."""
    try:
        return int(_STATM.read_text().split()[5]) * resource.getpagesize()
    except OSError:
        return None


class Collector:
    """Decides when to collect. ``began`` when everything is set up; from then on ``look`` every second."""

    def __init__(self) -> None:
        self._next = 0.0  # look at all objects but those that are left out, if sessions are few
        self._blocks = 0  # after the last look at all of them
        self._then = Load(0, 0, 0)
        self._memory: int | None = None  # when blocks were counted last

    def begin(self, load: Load) -> None:
        """Exclude all existing objects, modules and settings above all, from collection; none is looked at by itself any more."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(gc.get_threshold()[0], _YOUNG_LOOKS, _NEVER)
        self._next = monotonic() + EVERY_S
        self._note(load)

    def look(self, load: Load) -> Found | None:
        """Collect among what is new, or all there is, if sessions are few, or memory is missing: then return what was found."""
        if load.sessions <= FEW and monotonic() >= self._next:
            if self._collect().seconds > LONG_S:
                gc.freeze()
            self._next = monotonic() + EVERY_S
            return None
        look_at_new()
        if not self._has_grown() or sys.getallocatedblocks() - self._blocks <= self.explained(load):
            return None
        gc.unfreeze()
        found = self._collect()
        gc.freeze()
        self._note(load)
        return found

    def explained(self, load: Load) -> int:
        """Return how many blocks more than at the last look at all objects there may be without one."""
        sessions, kept = load.sessions - self._then.sessions, load.kept - self._then.kept
        of_sessions = sessions * (OF_A_SESSION if sessions > 0 else OF_A_SESSION_LESS)
        return SPARE + OF_A_ROUTE * load.routes + of_sessions + max(kept, 0) // BYTES_A_BLOCK

    def _has_grown(self) -> bool:
        """Return whether there may be more blocks than when they were counted last; they are counted then, and that is noted."""
        now = memory()
        if now is not None and self._memory is not None and now - self._memory < COUNT_AGAIN:
            return False
        self._memory = now
        return True

    def _collect(self) -> Found:
        began = monotonic()
        return Found(gc.collect(), monotonic() - began)

    def _note(self, load: Load) -> None:
        self._blocks, self._memory, self._then = sys.getallocatedblocks(), memory(), load
