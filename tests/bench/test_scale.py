"""The measurements at scale: idle and busy sessions, NOTIFYs that stay open, a flood, a long run."""

import json

import pytest

from tests.bench import __main__ as bench
from tests.bench import builds, scale
from tests.bench.measure import Length
from tests.bench.shapes import Shape
from tests.bench.test_page import data, shape
from tests.peers import missing

LENGTH_S = 0.3


@pytest.fixture
def build(monkeypatch):
    if not builds.LOAD.exists() or not builds.AGENT.exists():
        missing("the load generator of the bench is not built", "make rivals (it needs Go, or Debian's)")
    if not builds.guard("pure"):
        missing("the guard is not built", "make builds")
    monkeypatch.setattr(scale, "BUSY", Shape(5, 1))
    return "pure"


def seen():
    run = {"cpu_us": 10.0, "p99_us": 100.0}
    return {
        "build": "compiled",
        "busy": {"idle": 5000, "busy": 500, "alone": [run], "crowded": [{"cpu_us": 11.0, "p99_us": 300.0}]},
        "open": {"64": [1.0], "10064": [1.2], "20000": [1.5]},
        "growth": {"trips": 3_000_000, "rss_kib": [100, 104, 108, 108]},
    }


def test_there_is_a_row_of_every_figure():
    rows = {what: (goal, text) for what, goal, text in scale.rows(seen())}
    assert rows["CPU per round trip, 500 busy sessions beside 5,000 idle ones / beside none"] == ("-", "1.10 (1.10..1.10)")
    assert rows["p99, 500 busy sessions beside 5,000 idle ones / beside none"] == ("-", "3.00 (3.00..3.00)")
    assert rows["CPU per frame, 20,000 NOTIFYs open / 64"] == ("0.90..1.10", "1.50 (1.50..1.50)")
    assert "+8 KiB from the first to the last reading" in rows["RSS over 3,000,000 round trips"][1]
    assert len(rows) == 5


def test_the_figures_join_the_bench_and_outlive_the_next_bench(monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "DOCS", tmp_path)
    (tmp_path / bench.JSON).write_text(bench.dump(data(shapes={"1x1": shape(9.0)})))
    scale.join(seen())
    written = json.loads((tmp_path / bench.JSON).read_text())
    assert (written["scale"], list(written["shapes"])) == (seen(), ["1x1"])
    monkeypatch.setattr(bench, "run", lambda *asked: data())
    bench.main([])
    assert json.loads((tmp_path / bench.JSON).read_text())["scale"] == seen()


def test_sessions_that_rest_and_sessions_that_work_are_measured(build):
    assert scale.idle(build, 20)["kib"] >= 0
    told = scale.busy(build, 1, LENGTH_S, 20)
    assert (told["idle"], told["busy"]) == (20, 5)
    assert all(run["cpu_us"] > 0 for key in ("alone", "crowded") for run in told[key])


def test_notifys_that_stay_open_are_measured(build, monkeypatch):
    monkeypatch.setattr(scale, "HELD", (0, 500))
    assert {key: len(runs) for key, runs in scale.many_open(build, 1, LENGTH_S).items()} == {"64": 1, "564": 1}


def test_a_flood_is_measured(build):
    told = scale.flood(build, Length(1, 2, LENGTH_S, 0.05))
    assert [len(told[name]) for name in ("healthy", "anomalous")] == [2, 2]
    assert all(turn["cpu_us"] > 0 for name in ("healthy", "anomalous") for turn in told[name])
    assert len(told["more_kib"]) == 1
    assert told["lines_per_second"][0] > 0


def test_a_long_run_is_measured(build):
    told = scale.growth(build, 2, 500)
    assert told["trips"] == 1000
    assert len(told["rss_kib"]) == 3
