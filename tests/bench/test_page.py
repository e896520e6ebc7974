"""The page and the plots are made from the figures, and from nothing else."""

import xml.etree.ElementTree as ET

import pytest

from tests.bench import __main__ as bench
from tests.bench import goals, plots
from tests.bench.candidates import CANDIDATES
from tests.bench.page import page

LABELS = {name: candidate.label for name, candidate in CANDIDATES.items()}


def told(cpu_us, latency=100.0):
    run = {"per_second": 1000.0, "p50_us": latency, "p99_us": 2 * latency, "p999_us": 3 * latency, "cpu_us": cpu_us}
    run |= {"agent_cpu_us": 4.0, "load_cpu_us": 5.0, "haproxy_cpu_us": 7.0}
    return {"runs": [run, run, {**run, "cpu_us": cpu_us * 2}], "most_kib": 2048}


def data(**shapes):
    half = {"direct": told(0.0, 10.0), "haproxy": told(10.0, 30.0), "guard-compiled-enforce": told(9.0, 25.0)}
    return {
        "machine": {"CPU": "2 x one"},
        "versions": {"HAProxy": "2.6.12"},
        "labels": LABELS,
        "settings": {"rounds": 3, "seconds": 2.0, "turns": 6, "turn_seconds": 0.4, "wrk_connections": 64},
        "shapes": shapes,
        "side_by_side": {},
        "half_load": {"1x1": {"rate": 500, "candidates": half}},
        "real": {"2.6": {"direct": told(0.0), "guard-pure-enforce": told(8.0)}},
    }


def shape(guard_us):
    return {"direct": told(0.0), "haproxy": told(10.0), "guard-compiled-enforce": told(guard_us)}


def test_the_page_has_every_shape_candidate_and_chapter():
    text = page(data(**{"1x1": shape(9.0), "2x64": shape(12.0)}), "A note.\n")
    rows = [line for line in text.splitlines() if line.startswith("| HAProxy, mode tcp |")]
    assert rows[0] == (
        "| HAProxy, mode tcp | 1,000 (1,000..1,000) | 100 (100..100) | 200 (200..200) | 300 (300..300) | 10.0 (10.0..20.0) "
        "| 1.00 (1.00..1.00) | 2.00 |"
    )
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# Benchmarks",
        "## Goals",
        "## By shape",
        "### 1x1",
        "### 2x64",
        "## Latency at half load",
        "### 1x1, 500 NOTIFYs/s",
        "## With real HAProxy",
        "## Notes",
    ]
    assert "| agent 4.00, load 5.00 |" in text
    assert text.endswith("## Notes\n\nA note.\n")


def test_a_row_has_as_many_cells_as_its_head():
    cells = 0
    for line in page(data(**{"1x1": shape(9.0)}), "").splitlines():
        if not line.startswith("|"):
            cells = 0
        elif cells:
            assert line.count("|") == cells, line
        else:
            cells = line.count("|")


@pytest.mark.parametrize(
    ("name", "guard_us", "met"), [("1x1", 10.0, True), ("1x1", 10.1, False), ("2x64", 13.0, True), ("2x64", 13.1, False)]
)
def test_a_goal_is_met_at_its_bound_and_missed_past_it(name, guard_us, met):
    [outcome] = [each for each in goals.outcomes(data(**{name: shape(guard_us)}), LABELS) if "per round trip" in each.what]
    assert outcome.met is met
    assert ("**no**" in page(data(**{name: shape(guard_us)}), "")) is not met


@pytest.mark.parametrize(("on", "met"), [(10.3, True), (10.4, False)])
def test_a_goal_of_a_few_percent_goes_by_what_was_seen_side_by_side(on, met):
    apart = {"guard-compiled-enforce": told(10.0), "guard-compiled-recorder": told(20.0)}
    seen = data(**{"1x1": apart}) | {
        "side_by_side": {"1x1": {"guard-compiled-enforce": [[10.0, 10.0]], "guard-compiled-recorder": [[on, on]]}}
    }
    [outcome] = [each for each in goals.outcomes(seen, LABELS) if "recorder" in each.what]
    assert (outcome.met, outcome.seen.median) == (met, on / 10)
    assert f"| {outcome.what} | <= 1.03 | {outcome.seen} |" in page(seen, "")


def test_what_is_added_at_half_load_is_set_against_what_haproxy_adds():
    added = [each for each in goals.outcomes(data(), LABELS) if "added" in each.what]
    assert [(each.what.split(" ")[0], each.seen.median) for each in added] == [("p50", 0.75), ("p99", 0.75)]


def test_a_goal_of_a_candidate_that_was_left_out_is_not_in_the_table():
    figures = data(**{"1x1": {"direct": told(0.0), "guard-pure-enforce": told(9.0)}})
    assert [each for each in goals.outcomes(figures, LABELS) if "1x1: guard" in each.what and "CPU" in each.what] == []
    assert "| guard, pure, enforce |" in page(figures, "")


@pytest.mark.parametrize("plot", [plots.cpu, plots.latency])
def test_the_same_figures_give_the_same_picture(plot):
    figures = data(**{"1x1": shape(9.0), "16x1": shape(12.0)})
    first = plot(figures)
    assert first == plot(figures)
    assert first != plot(data(**{"1x1": shape(8.0), "16x1": shape(12.0)})) or plot is plots.latency
    words = "".join(ET.fromstring(first).itertext())
    assert {"16x1", LABELS["haproxy"], LABELS["guard-compiled-enforce"]} <= {word.strip() for word in words.splitlines()}


def test_the_figures_are_written_with_no_more_digits_than_mean_something(tmp_path):
    bench.write(tmp_path, data(**{"1x1": shape(1 / 3)}))
    assert '"cpu_us": 0.333' in (tmp_path / "benchmarks.json").read_text()
    assert (tmp_path / "benchmarks.md").read_text().startswith("# Benchmarks")
    assert {path.name for path in tmp_path.iterdir()} >= {"benchmarks-cpu.svg", "benchmarks-latency.svg"}
