"""``make bench`` (``python -m tests.bench``): measure the candidates in turn, and write docs/benchmarks.*."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.bench import builds, figures, goals, machine, measure, plots, real
from tests.bench.candidates import CANDIDATES
from tests.bench.page import CPU_PLOT, LATENCY_PLOT, page
from tests.bench.shapes import HALF_LOAD, SHAPES
from tests.peers import ROOT

DOCS: Final = ROOT / "docs"
NOTES: Final = Path(__file__).parent / "notes.md"
JSON: Final = "benchmarks.json"
ROUNDS, SECONDS = 7, 2.0


def write(folder: Path, data: dict[str, Any]) -> None:
    """Write figures, plots and page."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JSON).write_text(dump(data))
    (folder / CPU_PLOT).write_text(plots.cpu(data))
    (folder / LATENCY_PLOT).write_text(plots.latency(data))
    (folder / "benchmarks.md").write_text(page(data, NOTES.read_text() if NOTES.exists() else ""))


def dump(data: dict[str, Any]) -> str:
    """Return it as JSON, a run on each line, with no more digits than mean something."""

    def short(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: short(each) for key, each in value.items()}
        if isinstance(value, list):
            return [short(each) for each in value]
        return round(value, 3) if isinstance(value, float) else value

    return json.dumps(short(data), indent=1) + "\n"


def rate(told: figures.Told) -> float:
    """Return half of what that candidate carries when it is never let rest, in whole NOTIFYs a second."""
    return round(figures.of(told, "per_second").median / 2)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    names = lambda text: list(filter(None, text.split(",")))  # noqa: E731
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--shapes", type=names, default=[])
    parser.add_argument("--candidates", type=names, default=[])
    parser.add_argument("--out", type=Path, help="a folder; without it docs/, or .cache/bench/ for a part of the whole")
    asked = parser.parse_args(arguments)
    out = asked.out or (builds.HOME if asked.shapes or asked.candidates else DOCS)
    data = run(asked.candidates or list(CANDIDATES), asked.shapes or [*SHAPES, "real"], asked.rounds, asked.seconds)
    old = json.loads((out / JSON).read_text()) if (out / JSON).exists() else {}
    write(out, data | {"scale": old.get("scale", {})})
    print(f"written: {out}/benchmarks.md")
    return 0


def run(candidates: Sequence[str], shapes: Sequence[str], rounds: int, seconds: float) -> dict[str, Any]:
    """Return the figures, as benchmarks.json has them."""
    there = [name for name in candidates if available(name)]
    data: dict[str, Any] = {
        "machine": machine.describe(),
        "versions": machine.versions(),
        "labels": {name: candidate.label for name, candidate in CANDIDATES.items()},
        "settings": {
            "rounds": rounds,
            "seconds": seconds,
            "turns": measure.TURNS,
            "turn_seconds": measure.TURN_S,
            "wrk_connections": real.CONNECTIONS,
        },
    }
    told = data["shapes"] = {
        name: measure.contest(there, SHAPES[name], rounds, seconds, say) for name in shapes if name in SHAPES
    }
    close = [name for name in goals.SIDE_BY_SIDE if name in there]
    data["side_by_side"] = {name: measure.side_by_side(close, SHAPES[name], rounds, say) for name in told if len(close) > 1}
    data["half_load"] = {}
    for name in HALF_LOAD:
        if name in told and {"direct", "haproxy"} <= told[name].keys():
            at = rate(told[name]["haproxy"])
            contest = [each for each in there if each not in ("toxiproxy", "mitmproxy")]
            seen = measure.contest(contest, SHAPES[name], rounds, seconds, say, [f"-rate={at}"])
            data["half_load"][name] = {"rate": at, "candidates": seen}
    data["real"] = real.contest(there, rounds, seconds, say) if "real" in shapes else {}
    return data


def available(name: str) -> bool:
    """Say in one line what is left out, and why."""
    why = CANDIDATES[name].lacks()
    if why:
        say(f"left out: {CANDIDATES[name].label}: {why}")
    return not why


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
