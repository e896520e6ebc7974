"""Measures every candidate in turn, there and back: A B C C B A, so that what the machine does meanwhile meets them all.

Each time it is a new process: where its memory lies is luck that it keeps, and is worth as much as what some goals are about.
"""

import os
import statistics
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from tests.bench.candidates import CANDIDATES, Place, Running
from tests.bench.peers import Agent, load
from tests.bench.shapes import Shape

Said = Callable[[str], None]
# Side by side: how often each has its turn in a round, and how long. Many short turns, because what the machine does changes from
# one second to the next; not shorter, because each begins with new connections and what those need is to be there (WARM).
TURNS: Final = 6
TURN_S: Final = 0.4
WARM: Final = ("-warm=250ms",)


def places(cpus: Sequence[int]) -> dict[str, list[int]]:
    """Return the CPUs for the candidate, the agent and the load, of those there are.

    A candidate has one of its own; the ends share the other one where there are only two. With a single one nothing is pinned.
    """
    if len(cpus) < 2:
        return {"candidate": [], "agent": [], "load": []}
    return {"candidate": [cpus[-1]], "agent": [cpus[-2]], "load": [cpus[0]]}


PLACES: Final = places(sorted(os.sched_getaffinity(0)))


@contextmanager
def started(name: str) -> Iterator[tuple[Running, Agent]]:
    """A new process of the candidate of that name, with an agent of its own, for as long as ``with`` takes."""
    with tempfile.TemporaryDirectory() as folder, Agent(home := Path(folder), PLACES["agent"]) as agent:
        candidate = CANDIDATES[name].start(Place(home, agent.address, PLACES["candidate"]))
        try:
            yield candidate, agent
        finally:
            candidate.stop()


def there_and_back(names: Sequence[str], number: int) -> Iterable[str]:
    """Return whose turn it is in the round of that number, which count from 1."""
    return names if number % 2 else reversed(names)


def once(
    candidate: Running, agent: Agent, shape: Shape, seconds: float, how: Sequence[str] = (), held: int = 0
) -> dict[str, float]:
    """Return one measurement: round trips per second, latencies and CPU per round trip in microseconds."""
    pids = candidate.pids
    seen = load(candidate.address, shape, seconds, cpus=PLACES["load"], watch=[*pids, agent.process.pid], how=how, held=held)
    trips = seen["round_trips"]
    return {
        "answered": seen["answered"],
        "per_second": trips / seen["seconds"],
        **{key: seen[key] for key in ("mean_us", "p50_us", "p99_us", "p999_us", "max_us")},
        "cpu_us": sum(seen["cpu_us"][str(pid)] for pid in pids) / trips,
        "agent_cpu_us": seen["cpu_us"][str(agent.process.pid)] / trips,
        "load_cpu_us": seen["own_cpu_us"] / trips,
    }


def line(seen: dict[str, float]) -> str:
    return f"{seen['per_second']:10.0f}/s {seen['cpu_us']:8.2f} us CPU, p99 {seen['p99_us']:8.0f} us"


def contest(
    names: Sequence[str], shape: Shape, rounds: int, seconds: float, say: Said, how: Sequence[str] = ()
) -> dict[str, Any]:
    """Return, for each candidate, its runs in order and the most memory it took (KiB)."""
    told: dict[str, Any] = {name: {"runs": [], "most_kib": 0} for name in names}
    for number in range(1, rounds + 1):
        for name in there_and_back(names, number):
            with started(name) as (candidate, agent):
                seen = once(candidate, agent, shape, seconds, how)
                candidate.check(int(seen["answered"]))
                told[name]["runs"].append(seen)
                told[name]["most_kib"] = max(told[name]["most_kib"], candidate.most_kib)
            say(f"{shape.name:9}{name:24}{number:3}/{rounds} {line(seen)}")
    return told


def side_by_side(
    names: Sequence[str], shape: Shape, rounds: int, say: Said, seconds: float = TURN_S, warm: Sequence[str] = WARM
) -> dict[str, list[list[float]]]:
    """Return, for each candidate, the CPU per round trip of each turn of each round, in microseconds.

    All are there at once, each with an agent of its own, and have short turns: for ratios of a few percent, for which runs that
    are seconds apart are too far apart. Each round has new processes.
    """
    told: dict[str, list[list[float]]] = {name: [] for name in names}
    for number in range(1, rounds + 1):
        with ExitStack() as all_of_them:
            there = {name: all_of_them.enter_context(started(name)) for name in there_and_back(names, number)}
            turns: dict[str, list[float]] = {name: [] for name in names}
            answered = dict.fromkeys(names, 0)
            for turn in range(1, TURNS + 1):
                for name in there_and_back(names, turn):
                    seen = once(*there[name], shape, seconds, warm)
                    turns[name].append(seen["cpu_us"])
                    answered[name] += int(seen["answered"])
            for name, (candidate, _) in there.items():
                candidate.check(answered[name])
                told[name].append(turns[name])
                say(f"{shape.name:9}{name:24}{number:3}/{rounds} {statistics.median(turns[name]):8.2f} us CPU, side by side")
    return told
