"""``make bench`` (``python -m tests.bench``): measure the candidates side by side, and write docs/benchmarks.*."""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from tests.bench import builds, goals, machine, measure, plots, real, scale
from tests.bench.candidates import CANDIDATES, CONTEST
from tests.bench.measure import CPUS, ENFORCE, Length, Said
from tests.bench.page import CPU_PLOT, page
from tests.bench.process import environment, open_files
from tests.bench.shapes import SHAPES
from tests.peers import ROOT

DOCS: Final = ROOT / "docs"
NOTES: Final = Path(__file__).parent / "notes.md"
JSON: Final = "benchmarks.json"
SPARE_FILES: Final = 200
LANE_S: Final = 300.0


def write(folder: Path, data: dict[str, Any]) -> None:
    """Write figures, plot and page."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JSON).write_text(dump(data))
    (folder / CPU_PLOT).write_text(plots.cpu(data))
    (folder / "benchmarks.md").write_text(page(data, NOTES.read_text() if NOTES.exists() else ""))


def dump(data: dict[str, Any]) -> str:
    """Return it as JSON, a turn on each line, with no more digits than mean something."""

    def short(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: short(each) for key, each in value.items()}
        if isinstance(value, list):
            return [short(each) for each in value]
        return round(value, 3) if isinstance(value, float) else value

    def lines(value: Any, indent: str) -> str:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        if not any(isinstance(each, (dict, list)) for each in inner):
            return json.dumps(value)
        deeper = indent + " "
        if isinstance(value, list):
            return "[\n" + ",\n".join(deeper + lines(each, deeper) for each in value) + f"\n{indent}]"
        items = (f"{deeper}{json.dumps(key)}: {lines(each, deeper)}" for key, each in value.items())
        return "{\n" + ",\n".join(items) + f"\n{indent}}}"

    return lines(short(data), "") + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    usual = Length()
    parser.add_argument("--rounds", type=int, default=usual.rounds, help="of new processes")
    parser.add_argument("--turns", type=int, default=usual.turns, help="in each round")
    parser.add_argument("--seconds", type=float, default=usual.turn_s, help="that a turn counts")
    for what, all_of_them in (("shapes", SHAPES), ("candidates", CANDIDATES), ("parts", PARTS)):
        parser.add_argument(f"--{what}", type=_some(all_of_them), default=[], help=", ".join(all_of_them))
    parser.add_argument("--out", type=Path, help="a folder; without it docs/, or .cache/bench/ for a part of the whole")
    asked = parser.parse_args(arguments)
    whole = not (asked.shapes or asked.candidates or asked.parts)
    out = asked.out or (DOCS if whole else builds.HOME)
    length = Length(asked.rounds, asked.turns, asked.seconds)
    began = time.monotonic()
    data = run(asked.parts or (list(PARTS) if whole else ["shapes"]), asked.candidates or CONTEST, asked.shapes or SHAPES, length)
    data["settings"]["minutes"] = (time.monotonic() - began) / 60
    old = json.loads((out / JSON).read_text()) if (out / JSON).exists() else {}
    write(out, data | {part: old.get(part, {}) for part in ("scale", "cost")})
    for row in goals.rows(data):
        if row.missed:
            say(f"missed: {row.what}, {row.goal}: {', '.join(f'{where} {row.seen[where]}'.strip() for where in row.missed)}")
    say(f"written, after {data['settings']['minutes']:.1f} minutes: {out}/benchmarks.md")
    return 0


def _some(names: Iterable[str]) -> Callable[[str], list[str]]:
    """Return what takes some of those names, with commas."""
    known = list(names)

    def taken(text: str) -> list[str]:
        asked = [name for name in text.split(",") if name]
        if unknown := set(asked) - set(known):
            raise argparse.ArgumentTypeError(f"none of {', '.join(known)}: {', '.join(sorted(unknown))}")
        return asked

    return taken


def run(parts: Iterable[str], candidates: Iterable[str], shapes: Iterable[str], length: Length) -> dict[str, Any]:
    """Return the figures, as benchmarks.json has them; a part that was not asked for is empty."""
    files = open_files()
    fitting = [name for name in shapes if fits(SHAPES[name].connections, files)]
    there = [name for name in candidates if available(name)]
    data: dict[str, Any] = {
        "machine": machine.describe(),
        "versions": machine.versions(),
        "settings": asdict(length) | {"wrk_s": real.WRK_S, "cpus": len(CPUS)},
        "shapes": {},
        "half_load": {},
        "lane": [],
        "real": {},
        "workers": {},
        "idle": [],
        "sessions": {},
        "flood": {},
    }
    for part in parts:
        if part == "shapes":
            by_shape(data, there, fitting, length)
        elif all(available(name) for name in NEEDED[part]):
            data[part] = PARTS[part](length, say)
    return data


def by_shape(data: dict[str, Any], names: Sequence[str], shapes: Iterable[str], length: Length) -> None:
    for name in shapes:
        shape = SHAPES[name]
        fitting = [each for each in names if shape.in_flight == 1 or CANDIDATES[each].pipelines]
        data["shapes"][name], half = measure.contest_and_half_load(fitting, shape, length, say)
        if half:
            data["half_load"][name] = half


def sessions(length: Length, say: Said) -> measure.Turns:
    return measure.contest(["haproxy", "uvloop", ENFORCE], goals.SESSIONS_SHAPE, length, say, ["-sessions"])


def workers(length: Length, say: Said) -> measure.Turns:
    """One and two of them, on two CPUs of their own where that leaves one for the ends, else on all there are."""
    names = [*goals.WORKERS.values(), *goals.WORKERS]
    return measure.contest(names, goals.WORKERS_SHAPE, length, say, at=measure.places(CPUS, 2))


def idle(length: Length, say: Said) -> list[dict[str, float]]:
    seen = [scale.idle("compiled") for _ in range(length.rounds)]
    say(f"idle: {', '.join('{kib:.2f} KiB'.format_map(each) for each in seen)}")
    return seen


def flood(length: Length, say: Said) -> dict[str, Any]:
    say("a flood of anomalies")
    return scale.flood("compiled", length)


def lane(length: Length, say: Said) -> list[dict[str, Any]]:
    """Return what tests/bench/lane.py says in so many new processes of the compiled build; nothing if it cannot be asked."""
    found = builds.guard("compiled")
    assert found
    command, home = found
    # In a folder of its own: beside the checkout's spoe_guard, Python would find that one, and not the one that was compiled.
    (folder := builds.HOME / "lane").mkdir(parents=True, exist_ok=True)
    (link := folder / "tests").unlink(missing_ok=True)
    link.symlink_to(ROOT / "tests")
    cpus = measure.PLACES["candidate"]
    pinned = ["taskset", "--cpu-list", ",".join(map(str, cpus))] if cpus else []
    runs = []
    for _ in range(length.rounds):
        done = subprocess.run(
            [*pinned, command[0], "-m", "tests.bench.lane"],
            cwd=home,
            env=environment() | {"PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
            timeout=LANE_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        seen = json.loads(done.stdout)
        if "lacks" in seen:
            say(f"left out: scanner, and growth with sessions: {seen['lacks']}")
            return []
        assert seen.pop("compiled"), "this is not the compiled build"
        say(f"lane: {seen}")
        runs.append(seen)
    return runs


PARTS: Final[dict[str, Callable[[Length, Said], Any]]] = {
    "shapes": lambda length, say: None,  # it has a choice of shapes and candidates: see run
    "lane": lane,
    "real": lambda length, say: real.contest(real.BETWEEN, length, say),
    "workers": workers,
    "idle": idle,
    "sessions": sessions,
    "flood": flood,
}
NEEDED: Final = {part: ["haproxy", ENFORCE] if part in ("workers", "sessions") else [ENFORCE] for part in PARTS}


def fits(connections: int, files: int) -> bool:
    """Say in one line what is left out because a proxy, which has two sockets for each connection, may not open so many files."""
    enough = 2 * connections + SPARE_FILES <= files
    if not enough:
        say(f"left out: {connections} connections: at most {files} open files (ulimit -Hn)")
    return enough


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
