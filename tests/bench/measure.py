"""Measures every candidate in turn, again and again: A B C A B C, so that what the machine does meanwhile meets them all."""

import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from tests.bench.candidates import CANDIDATES, Place, Running
from tests.bench.peers import Agent, load
from tests.bench.shapes import Shape

Said = Callable[[str], None]


def places(cpus: Sequence[int]) -> dict[str, list[int]]:
    """Return the CPUs for the candidate, the agent and the load, of those there are.

    A candidate has one of its own; the ends share the other one where there are only two. With a single one nothing is pinned.
    """
    if len(cpus) < 2:
        return {"candidate": [], "agent": [], "load": []}
    return {"candidate": [cpus[-1]], "agent": [cpus[-2]], "load": [cpus[0]]}


PLACES: Final = places(sorted(os.sched_getaffinity(0)))


class Contest:
    """The candidates of that name, each with an agent of its own, for as long as ``with`` takes."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = list(names)
        self._stack = ExitStack()

    def __enter__(self) -> dict[str, tuple[Running, Agent]]:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        running = {}
        for name in self._names:
            (home := folder / name).mkdir()
            agent = self._stack.enter_context(Agent(home, PLACES["agent"]))
            candidate = CANDIDATES[name].start(Place(home, agent.address, PLACES["candidate"]))
            self._stack.callback(candidate.stop)
            running[name] = candidate, agent
        return running

    def __exit__(self, *raised: object) -> None:
        self._stack.close()


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
    with Contest(names) as running:
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for number in range(1, rounds + 1):
            for name, (candidate, agent) in running.items():
                seen = once(candidate, agent, shape, seconds, how)
                runs[name].append(seen)
                say(f"{shape.name:9}{name:24}{number:3}/{rounds} {line(seen)}")
        told = {}
        for name, (candidate, _) in running.items():
            candidate.check(sum(int(seen["answered"]) for seen in runs[name]))
            told[name] = {"runs": runs[name], "most_kib": candidate.most_kib}
        return told
