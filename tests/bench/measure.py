"""Measures candidates side by side: all there at once, in short turns there and back, A B C C B A.

What the machine does changes from one second to the next, so turns are short, and what is compared is compared turn by turn. Each
round has new processes: where a process's memory lies is luck that it keeps, and is worth as much as what some goals are about.
"""

import os
import statistics
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.candidates import CANDIDATES, Place, Running
from tests.bench.peers import Agent, load
from tests.bench.shapes import Shape

Said = Callable[[str], None]
Turns = dict[str, list[dict[str, float]]]  # by candidate, in order
Places = Mapping[str, Sequence[int]]
ENFORCE: Final = "guard-compiled-enforce"
HALF_LOAD: Final = ("haproxy", ENFORCE)  # whose latency is compared where half of what the first one carries is asked


@dataclass(frozen=True)
class Length:
    """How many rounds of new processes, how many turns each has in a round, and how long a turn counts, behind a warm part."""

    rounds: int = 4
    turns: int = 2
    turn_s: float = 0.3
    warm_s: float = 0.12

    @property
    def warm(self) -> str:
        """For the load generator."""
        return f"-warm={self.warm_s}s"


def places(cpus: Sequence[int], alone: int = 1) -> dict[str, list[int]]:
    """Return the CPUs for the candidate, the agent and the load, of those there are.

    A candidate has ``alone`` of its own; the ends share the other one where only one is left. Where none is left nothing is
    pinned.
    """
    if len(cpus) <= alone:
        return {"candidate": [], "agent": [], "load": []}
    return {"candidate": list(cpus[-alone:]), "agent": [cpus[-alone - 1]], "load": [cpus[0]]}


CPUS: Final = sorted(os.sched_getaffinity(0))
PLACES: Final = places(CPUS)


@contextmanager
def started(name: str, at: Places = PLACES) -> Iterator[tuple[Running, Agent]]:
    """A new process of the candidate of that name, with an agent of its own, for as long as ``with`` takes."""
    with tempfile.TemporaryDirectory() as folder, Agent(home := Path(folder), at["agent"]) as agent:
        candidate = CANDIDATES[name].start(Place(home, agent.address))
        try:
            if candidate.process and at["candidate"]:
                candidate.process.pin(at["candidate"])
            yield candidate, agent
        finally:
            candidate.stop()


@contextmanager
def together(names: Sequence[str], at: Places = PLACES) -> Iterator[dict[str, tuple[Running, Agent]]]:
    """All of them. They start at the same time, on all CPUs, and stop so: Python takes a good part of a round to start."""
    with ExitStack() as stack:
        with ThreadPoolExecutor(len(CPUS)) as pool:
            begun = {name: pool.submit(stack.enter_context, started(name, at)) for name in names}
        there = {name: each.result() for name, each in begun.items()}
        yield there
        for candidate, _ in there.values():
            if candidate.process:
                candidate.process.ask_to_stop()


def there_and_back(names: Sequence[str], number: int) -> Iterable[str]:
    """Return the order of the turn, or round, of that number, which count from 1."""
    return names if number % 2 else reversed(names)


def once(
    candidate: Running,
    agent: Agent,
    shape: Shape,
    seconds: float,
    how: Sequence[str] = (),
    held: int = 0,
    at: Places = PLACES,
) -> dict[str, float]:
    """Return one measurement: round trips per second, latencies and CPU per round trip in microseconds."""
    pids = candidate.pids
    seen = load(candidate.address, shape, seconds, cpus=at["load"], watch=[*pids, agent.process.pid], how=how, held=held)
    trips = seen["round_trips"]
    return {
        "answered": seen["answered"],
        "per_second": trips / seen["seconds"],
        **{key: seen[key] for key in ("p50_us", "p99_us")},
        "cpu_us": sum(seen["cpu_us"][str(pid)] for pid in pids) / trips,
        "agent_cpu_us": seen["cpu_us"][str(agent.process.pid)] / trips,
        "load_cpu_us": seen["own_cpu_us"] / trips,
    }


class Round:
    """Candidates that are there at once, each with an agent of its own, and how much each has been asked."""

    def __init__(self, there: Mapping[str, tuple[Running, Agent]], shape: Shape, length: Length, at: Places) -> None:
        self._there = there
        self._shape = shape
        self._length = length
        self._at = at
        self._answered = dict.fromkeys(there, 0)

    def turns(self, names: Sequence[str], how: Sequence[str] = ()) -> Turns:
        """Return what was seen in each turn of each of them."""
        told: Turns = {name: [] for name in names}
        for number in range(1, self._length.turns + 1):
            for name in there_and_back(names, number):
                flags = [self._length.warm, *how]
                seen = once(*self._there[name], self._shape, self._length.turn_s, flags, at=self._at)
                self._answered[name] += int(seen.pop("answered"))
                told[name].append(seen)
        return told

    def check(self) -> None:
        """Raise AssertionError where a guard saw another number of NOTIFYs than were answered, or anything wrong with them."""
        for name, (candidate, _) in self._there.items():
            candidate.check(self._answered[name])


@contextmanager
def a_round(names: Sequence[str], shape: Shape, length: Length, at: Places = PLACES) -> Iterator[Round]:
    """New processes of all of them, which are checked at the end."""
    with together(names, at) as there:
        begun = Round(there, shape, length, at)
        yield begun
        begun.check()


def contest(names: Sequence[str], shape: Shape, length: Length, say: Said, how: Sequence[str] = (), at: Places = PLACES) -> Turns:
    """Return the turns of each of them over all rounds."""
    return _contest(names, shape, length, say, how, at, half=False)[0]


def contest_and_half_load(names: Sequence[str], shape: Shape, length: Length, say: Said) -> tuple[Turns, Turns]:
    """Return the same, and the turns of HALF_LOAD at half of what HAProxy carries, which say what was asked (NOTIFYs/s)."""
    return _contest(names, shape, length, say, (), PLACES, half=set(HALF_LOAD) <= set(names))


def _contest(
    names: Sequence[str], shape: Shape, length: Length, say: Said, how: Sequence[str], at: Places, *, half: bool
) -> tuple[Turns, Turns]:
    told: Turns = {name: [] for name in names}
    halved: Turns = {name: [] for name in HALF_LOAD} if half else {}
    for number in range(1, length.rounds + 1):
        with a_round(names, shape, length, at) as begun:
            seen = begun.turns(names, how)
            _note(told, seen, f"{shape.name:9}{number:3}/{length.rounds} ", say)
            if half:
                rate = round(statistics.median(turn["per_second"] for turn in seen[HALF_LOAD[0]]) / 2)
                rested = begun.turns(HALF_LOAD, [f"-rate={rate}"])
                for turn in (each for turns in rested.values() for each in turns):
                    turn["asked"] = rate
                _note(halved, rested, f"{shape.name:9}{number:3}/{length.rounds} half load ", say)
    return told, halved


def _note(told: Turns, seen: Turns, head: str, say: Said) -> None:
    for name, turns in seen.items():
        told[name] += turns
        cpu, per_second, p50 = (statistics.median(turn[key] for turn in turns) for key in ("cpu_us", "per_second", "p50_us"))
        say(f"{head}{name:24}{cpu:8.2f} us CPU {per_second:10.0f}/s, p50 {p50:8.0f} us")
