"""Plays the shapes and says what a byte of each costs: in work, which is counted, or in time, which is measured."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tests.cost.shapes import FRAMES, GROWING, OPENED, TORN, Shape
from tests.cost.work import COPIED

SIZES = (1 << 10, 1 << 14, 1 << 18, 1 << 20)
FEW = (1 << 10, 1 << 14, 1 << 16)  # for every test run; the last of them where something grows

# Work for each byte, whatever the size. The shortest frame has four, and what an Effort pays for are 16 items.
MOST_A_BYTE = 40.0
# From one size to the next the work for a byte may grow so much: tables and heaps grow by logarithms.
MOST_GROWTH = 1.5
# Up to here growth is not looked at: what a session does only once something is full, such as to give up the oldest NOTIFY.
LITTLE = 8.0
# For these an Effort bounds the work of a byte, and that is all: they ask for as much as they can get. (In small reads a
# payload is copied again with each, which counts once it is longer than a thousand of them.)
PAID_FOR = frozenset(
    name
    for name in GROWING | TORN
    if name.removeprefix("in one read: ").startswith(
        ("pieces that may be", "ACKs within ACKs", "a payload within a frame, in small")
    )
)
# Of what is torn, what an Effort may have saved up.
SAVED_UP = 60_000
# And the work of one step: a turn, and in any case one frame, here as long as all that is sent.
MOST_A_TURN = 24_000
A_BYTE_OF_A_FRAME = 1.25
# Work of one step that settles NOTIFYs, however many are open: a table that grows is made anew.
MOST_A_STEP = 40_000
MOST_A_STEP_EACH = 4  # and beside it for each of them
# Frames of which only the beginning is read, however long they are; the work for that, and how often all of it is copied.
READ_IN_PART = frozenset(name for name in GROWING if name.endswith(" of many keys"))
MOST_A_FRAME = 24_000
COPIES = 6
# And those of which so many actions are read, be they in order or not.
LISTS = frozenset(
    name
    for name in GROWING
    if name in {"an ACK of many actions", "an ACK malformed at its end", "a payload within a frame"}
    or name.startswith(("an ACK of bad", "an ACK of NULL", "an ACK of stray", "an ACK of long", "an ACK of process"))
)
MOST_A_LIST = 120_000

SHAPES = {**FRAMES, **GROWING, **TORN, **OPENED}


@dataclass(frozen=True)
class Cost:
    """What ``size`` bytes cost in all, and the dearest step. Work, or nanoseconds."""

    size: int
    total: int
    step: int

    @property
    def a_byte(self) -> float:
        return self.total / self.size


def few(name: str) -> tuple[int, ...]:
    """The sizes at which every test run plays the shape of that name."""
    return FEW[:-1] if name in FRAMES else FEW


def played(shape: Shape, size: int, spent: Callable[[], int], unit: int = 1) -> Cost:
    """Play ``shape``; ``spent`` returns what was spent so far, in parts of which a unit has so many."""
    _, steps = shape(size)
    total = dearest = 0
    for step in steps:
        before = spent()
        step()
        cost = spent() - before
        total += cost
        dearest = max(dearest, cost)
    return Cost(size, total // unit, dearest // unit)


def measured(shape: Shape, size: int, rounds: int = 3) -> Cost:
    """The same in nanoseconds, the best of some rounds."""
    return min((played(shape, size, time.perf_counter_ns) for _ in range(rounds)), key=lambda cost: cost.total)


def faults(name: str, costs: Sequence[Cost]) -> list[str]:
    """What is wrong with the work of a shape at several sizes."""
    saved = SAVED_UP if name in TORN else 0
    found = [f"{name}: {cost.a_byte:.1f} a byte at {cost.size}" for cost in costs if cost.total > saved + MOST_A_BYTE * cost.size]
    for less, more in pairwise(costs):
        if name not in PAID_FOR and more.a_byte > max(LITTLE, MOST_GROWTH * less.a_byte):
            found.append(f"{name}: {less.a_byte:.1f} a byte at {less.size}, {more.a_byte:.1f} at {more.size}")
    dear = [cost for cost in costs if cost.step > _most_a_step(name, cost.size)]
    return found + [f"{name}: a step of {cost.step} at {cost.size}" for cost in dear]


def _most_a_step(name: str, size: int) -> float:
    if name in TORN:
        return MOST_A_TURN + A_BYTE_OF_A_FRAME * size
    if name in OPENED:
        return MOST_A_STEP + MOST_A_STEP_EACH * size / 32
    if name in LISTS:
        return MOST_A_LIST + COPIES * size / COPIED
    return MOST_A_FRAME + COPIES * size / COPIED if name in READ_IN_PART else math.inf


def line(name: str, costs: Iterable[Cost]) -> str:
    return f"{name:54}" + "".join(f"{cost.a_byte:9.2f}" for cost in costs)
