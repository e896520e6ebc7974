"""Many sessions, many open NOTIFYs, a long run.

``make bench-scale`` (``python -m tests.bench.scale``) measures what takes longer than ``make bench`` may; its figures join those
in docs/benchmarks.json. Idle sessions and the flood are measured by ``make bench``.
"""

import argparse
import json
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.bench import builds, figures, machine
from tests.bench.candidates import Guard, Place
from tests.bench.measure import PLACES, Length, once, there_and_back
from tests.bench.peers import Agent, load
from tests.bench.process import environment, open_files
from tests.bench.shapes import Shape

IDLE: Final = 5000  # sessions
BUSY: Final = Shape(500, 1)
WINDOW: Final = 64  # NOTIFYs open beyond those that the agent keeps open
HELD: Final = (0, 100, 10_000, 20_000 - WINDOW)
FLOODED: Final = Shape(2, 64)
TRIPS: Final = 1_000_000
TIMES: Final = 20
LONG_S: Final = 600.0


@contextmanager
def guarded(build: str, *how: str) -> Iterator[tuple[Guard, Agent]]:
    """A guard of that build, in enforce, in front of an agent with those flags."""
    with tempfile.TemporaryDirectory() as folder, Agent(Path(folder), PLACES["agent"], how) as agent:
        guard = Guard(Place(Path(folder), agent.address, PLACES["candidate"]), build, "enforce")
        try:
            yield guard, agent
        finally:
            guard.stop()


def rss_kib(guard: Guard) -> int:
    assert guard.process
    return guard.process.memory("VmRSS")


@contextmanager
def resting(guard: Guard, sessions: int) -> Iterator[None]:
    """So many sessions that have shaken hands and say nothing."""
    command = [builds.LOAD, f"-connect={guard.address}", f"-connections={sessions}", "-idle"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()) as load_:
        assert load_.stdout
        assert load_.stdout.readline() == b"idle\n"
        assert guard.metrics()["connections_active"] == sessions
        yield
        load_.communicate(timeout=60)
    assert load_.returncode == 0


def idle(build: str, sessions: int = IDLE) -> dict[str, float]:
    """Return what a session takes that rests, both of its sockets, in KiB."""
    with guarded(build) as (guard, _):
        before = rss_kib(guard)
        with resting(guard, sessions):
            after = rss_kib(guard)
        return {"sessions": sessions, "kib": (after - before) / sessions}


def busy(build: str, rounds: int, seconds: float, sessions: int = IDLE) -> dict[str, Any]:
    """Return what busy sessions cost and take (microseconds), round by round, beside none and beside so many idle ones."""
    seen: dict[str, list[dict[str, float]]] = {"alone": [], "crowded": []}
    with guarded(build) as alone, guarded(build) as crowded, resting(crowded[0], sessions):
        there = crowded[0].metrics()["connections_active"]
        for _ in range(rounds):
            for key, (guard, agent) in (("alone", alone), ("crowded", crowded)):
                run = once(guard, agent, BUSY, seconds)
                seen[key].append({"cpu_us": run["cpu_us"], "p99_us": run["p99_us"]})
    return {"idle": round(there), "busy": BUSY.connections, **seen}


def many_open(build: str, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Return CPU per frame in microseconds, round by round, by how many NOTIFYs are open at any time."""
    seen: dict[str, list[float]] = {str(held + WINDOW): [] for held in HELD}
    for _ in range(rounds):
        for held in HELD:
            with guarded(build, f"-hold={held}") as (guard, agent):
                run = once(guard, agent, Shape(1, held + WINDOW), seconds, held=held)
                seen[str(held + WINDOW)].append(run["cpu_us"] / 2)
    return seen


def flood(build: str, length: Length) -> dict[str, Any]:
    """Return what FLOODED costs where each frame of the agent is anomalous (and repaired) and where none is, turn by turn.

    Also: how much more memory the one took (KiB), and its log lines a second.
    """
    told: dict[str, Any] = {"healthy": [], "anomalous": [], "more_kib": [], "lines_per_second": []}
    for _ in range(length.rounds):
        with guarded(build) as healthy, guarded(build, "-anomaly=missing_fin") as anomalous:
            began = time.monotonic()
            both = {"healthy": healthy, "anomalous": anomalous}
            for number in range(1, length.turns + 1):
                for name in there_and_back(list(both), number):
                    told[name].append({"cpu_us": once(*both[name], FLOODED, length.turn_s, [length.warm])["cpu_us"]})
            healthy[0].check_sound()
            assert anomalous[0].metrics()["anomalies_total"] > 0
            well, flooded = (guard.process for guard, _ in (healthy, anomalous))
            assert well
            assert flooded
            told["more_kib"].append(flooded.memory("VmHWM") - well.memory("VmHWM"))
            lines = len(re.findall(r'"event": ?"anomaly"', flooded.log()))
            told["lines_per_second"].append(lines / (time.monotonic() - began))
    return told


def growth(build: str, times: int = TIMES, trips: int = TRIPS) -> dict[str, Any]:
    """Return the RSS (KiB) after each of so many times so many round trips, the first of which warm it up."""
    with guarded(build) as (guard, _):
        seen = []
        for _ in range(times + 1):
            load(guard.address, Shape(2, 64), LONG_S, cpus=PLACES["load"], how=[f"-count={trips}"])
            seen.append(rss_kib(guard))
        return {"trips": times * trips, "rss_kib": seen}


def rows(scale: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Return the rows of a table: what, goal, seen."""
    crowd = scale["busy"]
    for key, name in (("cpu_us", "CPU per round trip"), ("p99_us", "p99")):
        ratios = [mine[key] / its[key] for mine, its in zip(crowd["crowded"], crowd["alone"], strict=True)]
        yield (
            f"{name}, {crowd['busy']} busy sessions beside {crowd['idle']:,} idle ones / beside none",
            "-",
            str(figures.spread(ratios)),
        )
    few, *more = scale["open"]
    for count in more:
        ratios = [mine / its for mine, its in zip(scale["open"][count], scale["open"][few], strict=True)]
        yield f"CPU per frame, {int(count):,} NOTIFYs open / {few}", "0.90..1.10", str(figures.spread(ratios))
    rss = scale["growth"]["rss_kib"]
    # Halves, not ends: what a single reading happens to be says less.
    half = len(rss) // 2
    drift = statistics.median(rss[half:]) - statistics.median(rss[:half])
    seen = f"{rss[-1] - rss[0]:+,} KiB from the first to the last reading, {drift:+,.0f} KiB between the medians of the halves"
    yield f"RSS over {scale['growth']['trips']:,} round trips", "none beyond noise", seen


def join(scale: dict[str, Any]) -> None:
    """Write them beside the figures of the bench, where there are any."""
    from tests.bench import __main__ as bench

    if (where := bench.DOCS / bench.JSON).exists():
        where.write_text(bench.dump(json.loads(where.read_text()) | {"scale": scale}))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scale")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--millions", type=int, default=TIMES, help="round trips of the long run")
    asked = parser.parse_args()
    open_files()
    build = "compiled" if builds.guard("compiled") else "pure"
    scale = {
        "build": build,
        "version": machine.guard(build),
        "busy": busy(build, asked.rounds, asked.seconds),
        "open": many_open(build, asked.rounds, asked.seconds),
        "growth": growth(build, asked.millions),
    }
    for row in rows(scale):
        print(" | ".join(row))
    join(scale)


if __name__ == "__main__":
    main()
