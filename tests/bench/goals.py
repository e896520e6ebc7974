"""What the guard must reach (ratios in one run), and what it did. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from tests.bench import figures
from tests.bench.figures import Spread

ENFORCE: Final = "guard-compiled-enforce"
OBSERVE: Final = "guard-compiled-observe"
PURE: Final = "guard-pure-enforce"
RECORDER: Final = "guard-compiled-recorder"


@dataclass(frozen=True)
class Ratio:
    """CPU per round trip of one candidate against another, in some shapes (none: in all)."""

    mine: str
    other: str
    most: float
    shapes: tuple[str, ...] = ()


CPU: Final = (
    Ratio(ENFORCE, "haproxy", 1.00, ("1x1", "16x1", "64x1", "256x1", "16x1-8k")),
    Ratio(ENFORCE, "haproxy", 1.10, ("4x16",)),
    Ratio(ENFORCE, "haproxy", 1.30, ("2x64",)),
    Ratio(ENFORCE, "nginx", 1.10, ("16x1",)),
    Ratio(ENFORCE, "mitmproxy", 0.25),
    Ratio(ENFORCE, "toxiproxy", 0.60),
    Ratio(PURE, "haproxy", 1.30, ("16x1",)),
)
CLOSE: Final = (Ratio(OBSERVE, ENFORCE, 1.02), Ratio(RECORDER, ENFORCE, 1.03))  # seen side by side
SIDE_BY_SIDE: Final = tuple(dict.fromkeys(name for goal in CLOSE for name in (goal.other, goal.mine)))
ADDED: Final = 1.00  # p50 and p99 that the guard adds at half load, against what HAProxy adds


@dataclass(frozen=True)
class Outcome:
    """One row of the table. ``most``: the ratio that was to be reached."""

    what: str
    most: float
    seen: Spread

    @property
    def met(self) -> bool:
        return self.seen.median <= self.most


def outcomes(data: dict[str, Any], labels: dict[str, str]) -> Iterator[Outcome]:
    """Return what came of each goal for which there are figures. ``labels``: of candidates, for people."""
    for goal in CPU:
        for shape, told in data["shapes"].items():
            if (not goal.shapes or shape in goal.shapes) and {goal.mine, goal.other} <= told.keys():
                what = f"CPU per round trip, {shape}: {labels[goal.mine]} / {labels[goal.other]}"
                yield Outcome(what, goal.most, figures.ratio(told[goal.mine], told[goal.other], "cpu_us"))
    for goal in CLOSE:
        for shape, turns in data["side_by_side"].items():
            if {goal.mine, goal.other} <= turns.keys():
                what = f"CPU per round trip, {shape}, side by side: {labels[goal.mine]} / {labels[goal.other]}"
                yield Outcome(what, goal.most, figures.turns_ratio(turns[goal.mine], turns[goal.other]))
    for shape, half in data["half_load"].items():
        told = half["candidates"]
        if {ENFORCE, "haproxy", "direct"} <= told.keys():
            for key, name in (("p50_us", "p50"), ("p99_us", "p99")):
                what = f"{name} added at half load, {shape}: {labels[ENFORCE]} / {labels['haproxy']}"
                yield Outcome(what, ADDED, _added(told, key))


def _added(told: dict[str, figures.Told], key: str) -> Spread:
    """Return the medians' ratio: what is added in a single round may be next to nothing, and a ratio of it anything."""
    mine, its = (figures.added(told[name], told["direct"], key) for name in (ENFORCE, "haproxy"))
    return Spread(mine.median / its.median, mine.low / its.median, mine.high / its.median)
