"""Medians, spreads and ratios of interleaved runs. Pure."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Spread:
    """The median of some runs, with the lowest and the highest of them."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{number(self.median)} ({number(self.low)}..{number(self.high)})"


def number(value: float) -> str:
    """Write three digits of it, and all of those before the point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of at least one value."""
    return Spread(statistics.median(values), min(values), max(values))


Told = dict[str, Any]  # of one candidate in one shape: its runs, in order, and most_kib


def of(told: Told, key: str) -> Spread:
    """Return the spread of that figure over the runs of a candidate."""
    return spread([run[key] for run in told["runs"]])


def ratio(told: Told, other: Told, key: str) -> Spread:
    """Return by how much the one has more of it than the other, round by round: what a round had to bear, both had."""
    return spread([mine[key] / its[key] for mine, its in zip(told["runs"], other["runs"], strict=True)])


def turns_ratio(mine: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> Spread:
    """Return by how much the one has more than the other over the rounds, each of which is the median of its turns' ratios."""
    return spread(
        [statistics.median([mine / its for mine, its in zip(*turns, strict=True)]) for turns in zip(mine, other, strict=True)]
    )


def added(told: Told, direct: Told, key: str) -> Spread:
    """Return what the one has more of it than nothing in between, round by round."""
    return spread([mine[key] - its[key] for mine, its in zip(told["runs"], direct["runs"], strict=True)])
