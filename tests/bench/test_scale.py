"""What is measured at scale: sessions that rest or work, NOTIFYs that stay open, a flood, a long run."""

import pytest

from tests.bench import __main__ as bench
from tests.bench import builds, scale
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
        "idle": {"sessions": 5000, "kib": 9.3},
        "busy": {"idle": 5000, "busy": 500, "alone": [run], "crowded": [{"cpu_us": 11.0, "p99_us": 300.0}]},
        "open": {"64": [1.0], "10064": [1.2], "20000": [1.5]},
        "flood": {"2x64": {"ratios": [2.5], "more_kib": 12, "lines_per_second": 9.0}},
        "growth": {"trips": 3_000_000, "rss_kib": [100, 104, 108, 108]},
    }


def test_the_page_has_a_row_of_every_figure(tmp_path):
    bench.write(tmp_path, data(**{"1x1": shape(9.0)}) | {"scale": seen()})
    _, _, rest = (tmp_path / "benchmarks.md").read_text().partition("\n## Scale\n")
    rows = dict(line.strip("| ").split(" | ", 1) for line in rest.splitlines() if line.startswith("| "))
    assert rows["RSS per session, 5,000 idle"] == "<= 10 KiB | 9.30 KiB"
    assert rows["CPU per round trip, 500 busy sessions beside 5,000 idle ones / beside none"].startswith("- | 1.10")
    assert rows["p99, 500 busy sessions beside 5,000 idle ones / beside none"].startswith("- | 3.00")
    assert rows["CPU per frame, 20,000 NOTIFYs open / 64"].startswith("0.90..1.10 | 1.50")
    assert rows["CPU per frame, each of the agent's anomalous / none, 2x64"].startswith("<= 3 | 2.50")
    assert "+8 KiB from the first to the last reading" in rows["RSS over 3,000,000 round trips"]


def test_sessions_that_rest_and_sessions_that_work_are_measured(build):
    assert scale.idle(build, 20)["kib"] >= 0
    told = scale.busy(build, 1, LENGTH_S, 20)
    assert (told["idle"], told["busy"]) == (20, 5)
    assert all(run["cpu_us"] > 0 for key in ("alone", "crowded") for run in told[key])


def test_notifys_that_stay_open_are_measured(build, monkeypatch):
    monkeypatch.setattr(scale, "HELD", (0, 500))
    assert {key: len(runs) for key, runs in scale.many_open(build, 1, LENGTH_S).items()} == {"64": 1, "564": 1}


def test_a_flood_is_measured(build, monkeypatch):
    monkeypatch.setattr(scale, "FLOODED", (Shape(2, 4),))
    assert scale.flood(build, 1, LENGTH_S)["2x4"]["ratios"][0] > 0


def test_a_long_run_is_measured(build):
    told = scale.growth(build, 2, 500)
    assert told["trips"] == 1000
    assert len(told["rss_kib"]) == 3
