"""Medians, quartiles and ratios over turns. Pure."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Turn = Mapping[str, float]  # what was seen in one turn of one candidate, by name


@dataclass(frozen=True)
class Spread:
    """The median of some values, with the quartiles: half of them lie from ``q1`` to ``q3``."""

    median: float
    q1: float
    q3: float

    def __str__(self) -> str:
        return self.written(3)

    def written(self, digits: int) -> str:
        """Return it with that many digits, as ``number`` writes them."""
        return "{} ({}..{})".format(*(number(value, digits) for value in (self.median, self.q1, self.q3)))


def number(value: float, digits: int = 3) -> str:
    """Write that many digits of it, and all of those before the point."""
    before = len(str(int(abs(value))))
    return f"{value:,.{max(digits - before, 0)}f}"


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of at least one value."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, q1, q3)


def of(turns: Sequence[Turn], key: str) -> Spread:
    """Return the spread of that figure over the turns of a candidate."""
    return spread([turn[key] for turn in turns])


def ratio(mine: Sequence[Turn], other: Sequence[Turn], key: str) -> Spread:
    """Return by how much the one has more of it than the other, turn by turn: what a turn had to bear, both had."""
    return spread([turn[key] / its[key] for turn, its in zip(mine, other, strict=True)])
