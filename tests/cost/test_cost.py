"""What a byte costs does not grow with what came before it: counted in steps of core and wire, not in time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import __main__ as bench
from tests.builds import COMPILED
from tests.cost import measure
from tests.cost.table import (
    A_BYTE_OF_A_FRAME,
    GROWING,
    LISTS,
    LITTLE,
    MOST_A_BYTE,
    MOST_A_FRAME,
    MOST_A_LIST,
    MOST_A_TURN,
    MOST_GROWTH,
    OPENED,
    READ_IN_PART,
    SAVED_UP,
    SHAPES,
    TORN,
    Cost,
    faults,
    few,
    measured,
)
from tests.peers import ROOT

FIXED = {**os.environ, "PYTHONHASHSEED": "0"}  # where the search for a NOTIFY begins depends on it
pytestmark = pytest.mark.timeout(600)  # seven seconds of one core, which others may want too
counted = pytest.mark.skipif(COMPILED, reason="work is counted in the source")


def costs(*asked: str) -> dict[str, list[Cost]]:
    """What ``python -m tests.cost`` counts, in a process of its own: it rewrites core and wire as they are imported."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.cost", "--json", "--few", *asked], cwd=ROOT, env=FIXED, capture_output=True, check=False
    )
    assert run.returncode in (0, 1), run.stderr.decode()
    return {name: [Cost(*cost) for cost in row] for name, row in json.loads(run.stdout)["costs"].items()}


@pytest.fixture(scope="module")
def at_few_sizes() -> dict[str, list[Cost]]:
    return costs()


@counted
@pytest.mark.parametrize("name", SHAPES)
def test_no_byte_costs_more_where_there_are_more(name: str, at_few_sizes: dict[str, list[Cost]]) -> None:
    assert [cost.size for cost in at_few_sizes[name]] == list(few(name))
    assert all(cost.total > 0 for cost in at_few_sizes[name])
    assert faults(name, at_few_sizes[name]) == []


@counted
def test_what_is_counted_is_the_same_each_time(at_few_sizes: dict[str, list[Cost]]) -> None:
    again = costs("deadline", "ACKs within")
    assert len(again) == 6
    assert again == {name: at_few_sizes[name] for name in again}


GOOD = [Cost(1024, 5000, 100), Cost(16384, 80000, 100)]
WRONG = {
    "too much a byte": [Cost(1024, int(1024 * MOST_A_BYTE) + 1, 1)],
    "more where there is more": [Cost(1024, 10_000, 1), Cost(16384, int(16 * 10_000 * MOST_GROWTH) + 1, 1)],
    "much where there was little": [Cost(1024, 10, 1), Cost(16384, int(16384 * LITTLE) + 1, 1)],
}


@pytest.mark.parametrize("how", WRONG)
def test_a_cost_out_of_proportion_is_a_fault(how: str) -> None:
    assert faults(next(iter(GROWING)), GOOD) == []
    assert len(faults(next(iter(GROWING)), WRONG[how])) == 1


def test_a_step_that_settles_too_many_is_a_fault() -> None:
    dear = [Cost(1024, 1024, 1_000_000)]
    assert len(faults(next(iter(OPENED)), dear)) == 1
    assert faults("ACKs behind a break", dear) == []


def test_a_frame_that_is_read_for_too_long_is_a_fault() -> None:
    assert (len(READ_IN_PART), len(LISTS)) == (3, 8)
    for name in READ_IN_PART:
        assert faults(name, [Cost(1024, 1024, MOST_A_FRAME)]) == []
        assert len(faults(name, [Cost(1024, 1024, MOST_A_FRAME + 1024)])) == 1
    for name in LISTS:
        assert faults(name, [Cost(1024, 1024, MOST_A_LIST)]) == []
        assert len(faults(name, [Cost(1024, 1024, MOST_A_LIST + 1024)])) == 1


def test_a_turn_of_a_torn_stream_that_takes_long_is_a_fault() -> None:
    name, size = next(iter(TORN)), 1024
    step = int(MOST_A_TURN + A_BYTE_OF_A_FRAME * size)
    total = int(SAVED_UP + MOST_A_BYTE * size)
    assert faults(name, [Cost(size, total, step)]) == []
    assert len(faults(name, [Cost(size, total, step + 1)])) == 1
    assert len(faults(name, [Cost(size, total + 1, step)])) == 1


def test_what_was_measured_joins_the_figures_of_the_bench(tmp_path: Path) -> None:
    figures = json.loads((bench.DOCS / bench.JSON).read_text())
    (tmp_path / bench.JSON).write_text(json.dumps(figures))
    row = measure._row(measured(SHAPES["agent: runts"], 1024, 1))
    measure.join({"build": "pure", "rows": {"runts": [row]}}, tmp_path)
    written = json.loads((tmp_path / bench.JSON).read_text())
    assert written["cost"]["rows"]["runts"][0][0] == 1024
    assert row[1] > 0
    assert written["shapes"].keys() == figures["shapes"].keys()
    assert "| runts |" in (tmp_path / "benchmarks.md").read_text()
