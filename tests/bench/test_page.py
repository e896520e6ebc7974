"""The page and the plot depend on the figures alone."""

import xml.etree.ElementTree as ET

import pytest

from tests.bench import __main__ as bench
from tests.bench import goals, plots
from tests.bench.candidates import CONTEST, DIRECT
from tests.bench.goals import ENFORCE, LABELS, PURE, Goal
from tests.bench.page import page
from tests.bench.shapes import SHAPES

DROPMORE, RECORDER, OBSERVE = "guard-compiled-dropmore", "guard-compiled-recorder", "guard-compiled-observe"
WHAT = (
    "CPU per round trip, guard, compiled, enforce / HAProxy, mode tcp",
    "CPU per round trip, guard, compiled, profile dropmore / HAProxy, mode tcp",
    "CPU per round trip, guard, compiled, recorder on / HAProxy, mode tcp",
    "CPU per round trip, guard, compiled, enforce / nginx, stream",
    "CPU per round trip, guard, compiled, observe / guard, compiled, enforce",
    "scanner, a NOTIFY and its ACK, by NOTIFYs in flight",
    "the session's own code, without sockets, 1024 sessions / 1",
    "CPU per round trip, guard, pure, enforce / HAProxy, mode tcp",
    "p50 at half load, guard, compiled, enforce / HAProxy, mode tcp",
    "HAProxy under wrk, 64 connections, requests/s with the guard / without",
    "HAProxy under wrk, 64 connections, p99 with the guard / without",
    "round trips/s, 256x1, two workers / one",
    "RSS of an idle session",
    "CPU per session of one NOTIFY, connect to close, guard, compiled, enforce / HAProxy, mode tcp",
    "the longest turn of a session that reads 64 KiB of odd frames",
    "CPU per frame, 2x64, every ACK anomalous / none",
)
NOTHING = {"shapes": {}, "half_load": {}, "lane": [], "real": {}, "workers": {}, "idle": [], "sessions": {}, "flood": {}}


def data(**parts):
    return {
        "machine": {"CPU": "2 x one"},
        "versions": {"HAProxy": "2.6.12", "nginx": "-"},
        "settings": {"rounds": 3, "turns": 2, "turn_s": 0.3, "warm_s": 0.12, "wrk_s": 1, "cpus": 2, "minutes": 12.3},
        **NOTHING,
        **parts,
    }


def cpu(*values):
    return [{"cpu_us": value} for value in values]


def shape(guard_us, **others):
    """HAProxy at 10 us, the guard as told; the machine is twice as slow in the last of three turns."""
    seen = {"haproxy": 10.0, ENFORCE: guard_us, **others}
    return {name: cpu(value, value, 2 * value) for name, value in seen.items()}


def lane(**worse):
    best = {"1": 50.0, "64": 50.0, "10000": 50.0}
    return {"pair_ns": best, "step_us": {"1": 1.0, "1024": 1.3}, "turn_ms": {"runts": 2.0, "strays": 2.0}, **worse}


def whole():
    """All there is to measure, and each goal met exactly."""
    every = dict.fromkeys(SHAPES, shape(10.0, **{PURE: 16.0, OBSERVE: 10.3, DROPMORE: 10.5, RECORDER: 10.5, "nginx": 9.53}))
    at_half = {
        "haproxy": [{"p50_us": 100.0, "per_second": 99.0, "asked": 100}] * 2,
        ENFORCE: [{"p50_us": 100.0, "per_second": 99.0, "asked": 100}] * 2,
    }
    wrk = {DIRECT: [{"per_second": 100.0, "p99_us": 100.0}] * 2, ENFORCE: [{"per_second": 97.0, "p99_us": 115.0}] * 2}
    rate = {"haproxy": 100.0, "haproxy-two": 190.0, ENFORCE: 100.0, "guard-compiled-two": 180.0}
    return data(
        shapes=every,
        half_load=dict.fromkeys(SHAPES, at_half),
        lane=[lane()],
        real={"2.6": wrk, "3.2": wrk},
        workers={name: [{"per_second": value}] for name, value in rate.items()},
        idle=[{"sessions": 5000, "kib": 8.0}],
        sessions={"haproxy": cpu(100.0), "uvloop": cpu(140.0), ENFORCE: cpu(150.0)},
        flood={"healthy": cpu(1.0, 1.0), "anomalous": cpu(2.0, 4.0)},
    )


def row(seen, what):
    [found] = [each for each in goals.rows(seen) if each.what == what]
    return found


def lines(text):
    """The lines of the table of goals, by what each is about."""
    table = text.partition("## Goals")[2].partition("\n## ")[0]
    cells = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    return {first: rest for first, *rest in cells[1:]}


@pytest.mark.parametrize("seen", [data(), whole()], ids=["nothing", "everything"])
def test_the_table_has_exactly_these_rows_whatever_was_measured(seen):
    assert tuple(each.what for each in goals.rows(seen)) == WHAT
    assert tuple(lines(page(seen, ""))) == WHAT


def test_without_measurements_the_table_says_not_measured_and_nothing_is_met():
    assert all(rest[1:] == ["not measured", "-"] for rest in lines(page(data(), "")).values())


def test_with_everything_measured_and_within_its_bounds_all_goals_are_met():
    found = {each.what: each.met for each in goals.rows(whole())}
    assert found == dict.fromkeys(WHAT[:-1], True) | {WHAT[-1]: None}
    assert {rest[2] for rest in lines(page(whole(), "")).values()} == {"yes", "-"}


@pytest.mark.parametrize(
    ("part", "worse", "missed"),
    [
        ("shapes", {"256x1": shape(10.01)}, {WHAT[0]: ["256x1"]}),
        ("shapes", {"64x1": shape(10.0, **{DROPMORE: 10.51})}, {WHAT[1]: ["64x1"]}),
        ("shapes", {"1x1": shape(10.0, **{DROPMORE: 99.0})}, {}),
        ("shapes", {"256x1": shape(10.0, **{RECORDER: 10.51})}, {WHAT[2]: ["256x1"]}),
        ("shapes", {"16x1": shape(10.0, nginx=9.5)}, {WHAT[3]: ["16x1"]}),
        ("shapes", {"2x64": shape(10.0, **{OBSERVE: 10.31})}, {WHAT[4]: ["2x64"]}),
        ("lane", [lane(pair_ns={"1": 9.0, "64": 51.0, "10000": 9.0})], {WHAT[5]: ["64"]}),
        ("lane", [lane(step_us={"1": 1.0, "1024": 1.31})], {WHAT[6]: [""]}),
        ("lane", [lane(turn_ms={"runts": 2.0, "strays": 2.01})], {WHAT[14]: ["strays"]}),
        ("shapes", {"16x1": shape(10.0, **{PURE: 16.1})}, {WHAT[7]: ["16x1"]}),
        (
            "half_load",
            {"4x16": {"haproxy": [{"p50_us": 9.9, "per_second": 1, "asked": 1}], ENFORCE: [{"p50_us": 10.0}]}},
            {WHAT[8]: ["4x16"]},
        ),
        (
            "real",
            {"3.2": {DIRECT: [{"per_second": 100.0, "p99_us": 100.0}], ENFORCE: [{"per_second": 96.9, "p99_us": 99.0}]}},
            {WHAT[9]: ["3.2"]},
        ),
        (
            "real",
            {"2.6": {DIRECT: [{"per_second": 100.0, "p99_us": 100.0}], ENFORCE: [{"per_second": 199.0, "p99_us": 115.1}]}},
            {WHAT[10]: ["2.6"]},
        ),
        ("workers", {ENFORCE: [{"per_second": 100.1}]}, {WHAT[11]: [""]}),
        ("idle", [{"sessions": 5000, "kib": 8.1}], {WHAT[12]: [""]}),
        ("sessions", {ENFORCE: cpu(150.1)}, {WHAT[13]: [""]}),
        ("flood", {"anomalous": cpu(99.0, 99.0)}, {}),
    ],
)
def test_a_goal_is_missed_past_its_bound_where_it_is_missed(part, worse, missed):
    seen = whole()
    seen[part] = {**seen[part], **worse} if isinstance(worse, dict) else worse
    assert {each.what: each.missed for each in goals.rows(seen) if each.missed} == missed
    for what, rest in lines(page(seen, "")).items():
        assert (rest[2] == "**no**") == (what in missed)
        assert all(f"**{where}: " in rest[1] for where in missed.get(what, []) if where)
        assert ("**" in rest[1]) == (what in missed)


def test_the_median_decides_and_not_a_single_turn():
    turns = {"haproxy": cpu(10.0, 10.0, 10.0, 10.0), ENFORCE: cpu(9.0, 10.0, 10.0, 90.0)}
    assert row(data(shapes={"1x1": turns}), WHAT[0]).missed == []
    assert row(data(shapes={"1x1": {**turns, ENFORCE: cpu(9.0, 10.1, 10.1, 10.1)}}), WHAT[0]).missed == ["1x1"]


def test_a_goal_measured_in_part_is_not_called_met():
    seen = whole()
    del seen["shapes"]["1024x1"]
    assert row(seen, WHAT[0]).met is None
    cells = lines(page(seen, ""))[WHAT[0]]
    assert cells[1].endswith("; not measured: 1024x1")
    assert cells[2] == "-"


def test_latency_at_a_load_that_haproxy_did_not_carry_is_left_out():
    seen = whole()
    turns = seen["half_load"]["2x64"]
    seen["half_load"]["2x64"] = {**turns, "haproxy": [{"p50_us": 900.0, "per_second": 94.0, "asked": 100}] * 2}
    assert "2x64" not in row(seen, WHAT[8]).seen
    assert row(seen, WHAT[8]).met is None


def test_two_workers_stand_beside_what_haproxy_reaches_there():
    cells = lines(page(whole(), ""))[WHAT[11]]
    assert cells[:2] == [
        ">= 1.80",
        "1.800 (1.800..1.800); 2 CPUs for all, load and agent; HAProxy, two threads / one: 1.900 (1.900..1.900)",
    ]


def test_new_sessions_stand_beside_what_the_event_loop_takes():
    assert lines(page(whole(), ""))[WHAT[13]][1].endswith("; blind uvloop / HAProxy, mode tcp: 1.400 (1.400..1.400)")


@pytest.mark.parametrize(
    ("goal", "written"), [(Goal(1.0), "<= 1.00"), (Goal(8, "KiB"), "<= 8.00 KiB"), (Goal(0.97, least=True), ">= 0.97")]
)
def test_a_goal_is_written_with_its_bound_and_unit(goal, written):
    assert str(goal) == written


def test_the_page_has_every_chapter_and_a_row_for_each_shape():
    text = page(whole(), "A note.\n")
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# Benchmarks",
        "## Goals",
        "## CPU per round trip",
        "## Where the time goes",
    ]
    assert "CPU: 2 x one; HAProxy: 2.6.12\n" in text  # and nothing of what is not there
    assert text.endswith("## Where the time goes\n\nA note.\n")
    assert "| 16x1 | 10.0 (10.0..15.0) us | 0.95 (0.95..0.95) | 1.00 (1.00..1.00) |" in text
    assert [line.split(" | ")[0] for line in text.splitlines() if " us | " in line] == [f"| {name}" for name in SHAPES]


def test_a_shape_without_haproxy_or_a_rival_has_no_ratio_to_it():
    text = page(data(shapes={"1x1": {ENFORCE: cpu(9.0)}, "2x64": shape(12.0)}), "")
    assert "| 1x1 | - | 9.00 (9.00..9.00) us |" in text
    assert "| 2x64 | 10.0 (10.0..15.0) us | 1.20 (1.20..1.20) |" in text


@pytest.mark.parametrize("seen", [data(), data(shapes={"1x1": shape(9.0)}), whole()], ids=["nothing", "a part", "everything"])
def test_a_row_has_as_many_cells_as_its_head(seen):
    cells = 0
    for line in page(seen, "").splitlines():
        if not line.startswith("|"):
            cells = 0
        elif cells:
            assert line.count("|") == cells, line
        else:
            cells = line.count("|")


def test_the_same_figures_give_the_same_picture_and_others_another():
    seen = {"1x1": shape(9.0), "16x1": shape(12.0)}
    first = plots.cpu(data(shapes=seen))
    assert first == plots.cpu(data(shapes=seen))
    assert first != plots.cpu(data(shapes={**seen, "1x1": shape(8.0)}))
    words = {word.strip() for word in "".join(ET.fromstring(first).itertext()).splitlines()}
    assert {"1x1", "16x1", LABELS[ENFORCE]} <= words
    assert LABELS[PURE] not in words


def test_every_candidate_has_looks_of_its_own():
    assert set(plots.LOOKS) == set(CONTEST) - {"haproxy"}
    assert len(set(plots.LOOKS.values())) == len(plots.LOOKS)


def test_the_figures_are_written_with_no_more_digits_than_mean_something(tmp_path):
    bench.write(tmp_path, data(shapes={"1x1": shape(1 / 3)}))
    written = (tmp_path / "benchmarks.json").read_text()
    assert '    {"cpu_us": 0.333},\n' in written
    assert (tmp_path / "benchmarks.md").read_text().startswith("# Benchmarks")
    assert {path.name for path in tmp_path.iterdir()} == {"benchmarks.json", "benchmarks.md", "benchmarks-cpu.svg"}


def test_what_a_byte_costs_is_a_chapter_where_it_was_measured():
    rows = {"runts": [[1024, 700.25, 0.05], [1 << 20, 701.0, 0.2]]}
    text = page(data(cost={"build": "compiled", "rows": rows}), "")
    assert "| | 1 KiB | 1 MiB | longest step |" in text.replace("|  |", "| |")
    assert "| runts | 700.2 ns | 701.0 ns | 0.20 ms |" in text
    assert "What a byte costs" not in page(data(), "")


def test_what_a_look_at_many_routes_takes_is_a_chapter():
    told = {"cpu": [[80.0, 10.0], [72.0, 0.0]], "longest": [[21.5, 20.0]], "bytes": 9_000_000}
    reload = {"cpu": [[120.0, 0.0]], "longest": [[3.0, 0.0]]}
    fleet = {
        "routes": 1000,
        "sessions": 10_000,
        "load": {"pure": 1.5},
        "collections": {"pure": {"0": [80, 0.4], "1": [640, 2.13]}},
        "pure": {"/metrics": told, "/api/status": told, "reload": reload},
    }
    text = page(data(fleet=fleet), "")
    assert "1,000 routes and 10,000 sessions" in text
    assert "for 2.1 ms at most" in text
    assert "meanwhile: pure 1.5." in text
    assert "| /metrics | 71 ms | 1.5 ms | - | - | 9,000,000 |" in text
    assert "| both looks together | 142 ms | - | - | - | - |" in text
    assert "| reload | 120 ms | 3.0 ms | - | - | - |" in text
    assert "## 1,000 routes" not in page(data(), "")
