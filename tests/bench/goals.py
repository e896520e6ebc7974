"""The guard's goals and its results: the rows of the table, each from turns that were measured side by side. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.bench import figures
from tests.bench.candidates import CANDIDATES, DIRECT
from tests.bench.figures import Spread, Turn
from tests.bench.lane import IN_FLIGHT, SESSIONS
from tests.bench.measure import ENFORCE, HALF_LOAD
from tests.bench.real import CONNECTIONS, VERSIONS
from tests.bench.shapes import SHAPES

HAPROXY: Final = "haproxy"
PURE: Final = "guard-pure-enforce"
CARRIED: Final = 0.95  # of what was asked at half load HAProxy must have carried so much for its latency to mean anything
EVERY: Final = tuple(SHAPES)
WORKERS: Final = {"haproxy-two": HAPROXY, "guard-compiled-two": ENFORCE}  # by the one with two, the one with one
WORKERS_SHAPE: Final = SHAPES["256x1"]
SESSIONS_SHAPE: Final = SHAPES["16x1"]

LABELS: Final = {name: candidate.label for name, candidate in CANDIDATES.items()}

Data = Mapping[str, Any]
Seen = dict[str, Spread]  # by where: a shape, a version, a number; "" where there is one only


@dataclass(frozen=True)
class Goal:
    """A bound that the median must keep. ``least``: it must not be less, else not more."""

    bound: float
    unit: str = ""
    least: bool = False

    def met(self, seen: Spread) -> bool:
        return seen.median >= self.bound if self.least else seen.median <= self.bound

    def __str__(self) -> str:
        return f"{'>=' if self.least else '<='} {figures.number(self.bound)}{self.unit and ' ' + self.unit}"


@dataclass(frozen=True)
class Row:
    """``goal`` None: only said; ``where``: all there is to see; ``seen``: what was seen; ``beside``: what to know with it."""

    what: str
    goal: Goal | None
    where: Sequence[str]
    seen: Seen
    beside: str = ""

    @property
    def missed(self) -> list[str]:
        """Where it was not met."""
        return [where for where, seen in self.seen.items() if self.goal and not self.goal.met(seen)]

    @property
    def met(self) -> bool | None:
        """None: there is no goal, or it was not missed but not everything was measured either."""
        if self.goal is None or (not self.missed and set(self.where) - self.seen.keys()):
            return None
        return not self.missed


@dataclass(frozen=True)
class Cpu:
    """CPU per round trip of one candidate against another."""

    mine: str
    other: str
    most: float
    shapes: tuple[str, ...] = EVERY

    def row(self, data: Data) -> Row:
        seen = {}
        for shape in self.shapes:
            turns = data["shapes"].get(shape, {})
            if {self.mine, self.other} <= turns.keys():
                seen[shape] = figures.ratio(turns[self.mine], turns[self.other], "cpu_us")
        return Row(f"CPU per round trip, {LABELS[self.mine]} / {LABELS[self.other]}", Goal(self.most), self.shapes, seen)


def rows(data: Data) -> Iterator[Row]:
    """Return every row, in the table's order, also those for which there are no figures. ``data``: as in benchmarks.json."""
    yield Cpu(ENFORCE, HAPROXY, 1.00).row(data)
    for name in ("guard-compiled-dropmore", "guard-compiled-recorder"):
        yield Cpu(name, HAPROXY, 1.05, ("64x1", "256x1")).row(data)
    yield Cpu(ENFORCE, "nginx", 1.05, ("16x1", "64x1", "256x1")).row(data)
    yield Cpu("guard-compiled-observe", ENFORCE, 1.03).row(data)
    yield from _lane(data["lane"])
    yield Cpu(PURE, HAPROXY, 1.60, ("16x1",)).row(data)
    yield _half_load(data)
    yield from _real(data)
    yield _workers(data)
    yield from _sessions(data)


def _lane(runs: Sequence[Data]) -> Iterator[Row]:
    seen = {where: figures.spread([run["pair_ns"][where] for run in runs]) for where in map(str, IN_FLIGHT) if runs}
    yield Row("scanner, a NOTIFY and its ACK, by NOTIFYs in flight", Goal(50, "ns"), [*map(str, IN_FLIGHT)], seen)
    few, many = map(str, SESSIONS)
    grown = {"": figures.spread([run["step_us"][many] / run["step_us"][few] for run in runs])} if runs else {}
    yield Row(f"the session's own code, without sockets, {many} sessions / {few}", Goal(1.30), [""], grown)


def carried(turns: Sequence[Turn]) -> float:
    """Return the part of what was asked that was answered in time."""
    return figures.spread([turn["per_second"] / turn["asked"] for turn in turns]).median


def _half_load(data: Data) -> Row:
    its, mine = HALF_LOAD
    seen = {
        shape: figures.ratio(turns[mine], turns[its], "p50_us")
        for shape, turns in data["half_load"].items()
        if turns and carried(turns[its]) >= CARRIED
    }
    return Row(f"p50 at half load, {LABELS[mine]} / {LABELS[its]}", Goal(1.00), EVERY, seen)


def _real(data: Data) -> Iterator[Row]:
    there = {version: turns for version, turns in data["real"].items() if {DIRECT, ENFORCE} <= turns.keys()}
    for key, name, goal in (
        ("per_second", "requests/s", Goal(0.97, least=True)),
        ("p99_us", "p99", Goal(1.15)),
    ):
        seen = {version: figures.ratio(turns[ENFORCE], turns[DIRECT], key) for version, turns in there.items()}
        yield Row(f"HAProxy under wrk, {CONNECTIONS} connections, {name} with the guard / without", goal, VERSIONS, seen)


def _workers(data: Data) -> Row:
    told = data["workers"]
    seen = {two: figures.ratio(told[two], told[one], "per_second") for two, one in WORKERS.items() if two in told}
    beside = f"{data['settings']['cpus']} CPUs for all, load and agent"
    if "haproxy-two" in seen:
        beside += f"; HAProxy, two threads / one: {seen['haproxy-two'].written(4)}"
    mine = {"": seen["guard-compiled-two"]} if "guard-compiled-two" in seen else {}
    return Row(f"round trips/s, {WORKERS_SHAPE.name}, two workers / one", Goal(1.80, least=True), [""], mine, beside)


def _sessions(data: Data) -> Iterator[Row]:
    idle = {"": figures.spread([run["kib"] for run in data["idle"]])} if data["idle"] else {}
    yield Row("RSS of an idle session", Goal(8, "KiB"), [""], idle)
    told = data["sessions"]
    new = {"": figures.ratio(told[ENFORCE], told[HAPROXY], "cpu_us")} if told else {}
    what = f"CPU per session of one NOTIFY, connect to close, {LABELS[ENFORCE]} / {LABELS[HAPROXY]}"
    blind = figures.ratio(told["uvloop"], told[HAPROXY], "cpu_us").written(4) if told else ""
    yield Row(what, Goal(1.50), [""], new, blind and f"{LABELS['uvloop']} / {LABELS[HAPROXY]}: {blind}")
    runs = data["lane"]
    longest = {name: figures.spread([run["turn_ms"][name] for run in runs]) for name in (runs[0]["turn_ms"] if runs else ())}
    yield Row("the longest turn of a session that reads 64 KiB of odd frames", Goal(2, "ms"), [*longest] or [""], longest)
    flood = data["flood"]
    anomalous = {"": figures.ratio(flood["anomalous"], flood["healthy"], "cpu_us")} if flood else {}
    yield Row("CPU per frame, 2x64, every ACK anomalous / none", None, [""], anomalous)
