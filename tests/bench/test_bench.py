"""The load generator distinguishes right answers from wrong ones, its figures add up, and every candidate can be measured."""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

import spoe_guard.core
from tests.bench import __main__ as bench
from tests.bench import builds, lane, measure
from tests.bench.candidates import CANDIDATES, CONTEST, DIRECT, DROPMORE, Candidate, Guard, Place
from tests.bench.measure import Length
from tests.bench.peers import Agent, load
from tests.bench.process import environment, open_files, wait_for
from tests.bench.shapes import SHAPES, Shape
from tests.builds import COMPILED
from tests.peers import missing

LENGTH_S = 0.3
LONGER_S = 1.0  # for what has a CPU of this machine for itself in the bench, and here shares it with other tests
SHORT = ["-warm=50ms"]


@pytest.fixture(autouse=True)
def programs():
    if not builds.LOAD.exists() or not builds.AGENT.exists():
        missing("the load generator of the bench is not built", "make rivals (it needs Go, or Debian's)")
    open_files()


@pytest.fixture
def pure():
    if why := CANDIDATES["guard-pure-enforce"].lacks():
        missing("guard-pure-enforce", why)
    return "pure"


@pytest.fixture
def agent(tmp_path):
    with Agent(tmp_path) as agent:
        yield agent


@pytest.mark.parametrize("shape", SHAPES.values(), ids=lambda shape: shape.name)
def test_every_round_trip_is_answered_and_the_figures_add_up(agent, shape):
    seen = load(agent.address, shape, LENGTH_S, watch=[agent.process.pid], how=SHORT)
    assert seen["answered"] >= seen["round_trips"] > 0
    assert 0 < seen["p50_us"] <= seen["p99_us"] <= seen["p999_us"] <= seen["max_us"] * 1.01
    assert seen["seconds"] >= LENGTH_S
    assert 0 < seen["cpu_us"][str(agent.process.pid)] <= seen["seconds"] * 1.1e6


@pytest.mark.measure
def test_at_a_fixed_rate_a_stall_counts_for_each_notify_then_due(agent):
    def asked() -> dict[str, float]:
        return load(agent.address, Shape(1, 1), 1.0, how=["-rate=1000", "-warm=0s"])

    idle = agent.cpu_us()
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(asked)
        wait_for(lambda: agent.cpu_us() > idle + 1000, "the agent is at work")
        agent.process.send_signal(signal.SIGSTOP)
        time.sleep(0.7)  # so long the agent stalls
        agent.process.send_signal(signal.SIGCONT)
        seen = asking.result()
    assert seen["answered"] == pytest.approx(1000, rel=0.1)
    # One that waits for an answer before it counts would have seen a single slow one.
    assert seen["max_us"] > 690_000
    assert seen["p50_us"] > 10_000


def test_an_answer_with_a_stray_one_beside_it_is_found_out(tmp_path):
    with Agent(tmp_path, how=["-anomaly=stray"]) as agent, pytest.raises(AssertionError, match="NOTIFY that is not open"):
        load(agent.address, Shape(1, 1), LENGTH_S, how=SHORT)


def test_an_answer_without_fin_is_found_out(tmp_path):
    with Agent(tmp_path, how=["-anomaly=missing_fin"]) as agent, pytest.raises(AssertionError, match="not a whole ACK"):
        load(agent.address, Shape(1, 1), LENGTH_S, how=SHORT)


def test_what_the_agent_holds_is_answered_at_the_end(tmp_path):
    with Agent(tmp_path, how=["-hold=9"]) as agent:
        seen = load(agent.address, Shape(1, 10), LENGTH_S, how=SHORT, held=9)
    assert seen["unanswered"] == 0
    assert seen["answered"] > seen["round_trips"] > 0


def test_an_answer_that_never_comes_is_said(tmp_path):
    with Agent(tmp_path, how=["-hold=1"]) as agent:
        command = [builds.LOAD, f"-connect={agent.address}", "-time=100ms", "-warm=0s"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, env=environment(), check=False)
    assert done.returncode != 0
    assert "not answered within 5s, with 1 NOTIFYs open" in done.stderr


def test_many_a_second_are_sent_in_time(agent):
    seen = load(agent.address, Shape(2, 64), LENGTH_S, how=[*SHORT, "-rate=20000"])
    assert seen["answered"] == pytest.approx(20_000 * (LENGTH_S + 0.05), rel=0.1)


def test_with_sessions_each_notify_has_a_connection_of_its_own(pure, agent, tmp_path):
    guard = Guard(Place(tmp_path, agent.address), pure)
    try:
        seen = load(guard.address, Shape(4, 1), LENGTH_S, how=[*SHORT, "-sessions"])
        guard.check(seen["answered"])
        frames = guard.metrics()
    finally:
        guard.stop()
    assert seen["answered"] >= seen["round_trips"] > 10
    assert seen["unanswered"] == 0
    for kind in ("haproxy_hello", "agent_hello", "haproxy_disconnect", "agent_disconnect"):
        assert frames[f"frames_total.{kind}"] == seen["answered"]


@pytest.mark.parametrize(
    ("how", "found"),
    [("-anomaly=stray", "NOTIFY that is not open"), ("-anomaly=missing_fin", "not a whole ACK"), ("-hold=1", "not answered")],
)
def test_with_sessions_a_wrong_answer_and_a_missing_one_are_found_out(tmp_path, how, found):
    with Agent(tmp_path, how=[how]) as agent, pytest.raises(AssertionError, match=found):
        load(agent.address, Shape(1, 1), LENGTH_S, how=[*SHORT, "-sessions"])


@pytest.mark.parametrize("how", [["-rate=10"], ["-idle"], ["-in-flight=2"]])
def test_what_does_not_go_with_sessions_is_refused(how):
    done = subprocess.run([builds.LOAD, "-sessions", *how], capture_output=True, text=True, timeout=20, check=False)
    assert "-sessions goes with" in done.stderr


@pytest.mark.parametrize("name", CANDIDATES)
def test_a_candidate_is_measured(name):
    candidate = CANDIDATES[name]
    if why := candidate.lacks():
        missing(candidate.label, why)
    shape = Shape(4, 2 if candidate.pipelines else 1)
    turns = measure.contest([name], shape, Length(1, 2, LONGER_S, 0.05), print)[name]
    assert len(turns) == 2
    assert all(turn["per_second"] > 0 and turn["p99_us"] >= turn["p50_us"] > 0 for turn in turns)
    assert all((turn["cpu_us"] > 0) == (name != DIRECT) for turn in turns)


@pytest.mark.parametrize("how", [{"route": DROPMORE}, {"mode": "observe"}, {"records": True}, {"workers": 2}], ids=str)
def test_a_guard_of_each_kind_sees_what_was_asked_and_nothing_wrong(pure, agent, tmp_path, how):
    guard = Guard(Place(tmp_path, agent.address), pure, **how)
    try:
        seen = load(guard.address, Shape(4, 1), LENGTH_S, how=SHORT)
        guard.check(seen["answered"])
        with pytest.raises(AssertionError):
            guard.check(seen["answered"] + 1)
    finally:
        guard.stop()


def test_an_anomaly_is_found_out(pure, tmp_path):
    with Agent(tmp_path, how=["-anomaly=stray"]) as agent:
        guard = Guard(Place(tmp_path, agent.address), pure)
        try:
            load(guard.address, Shape(1, 1), LENGTH_S, how=SHORT)  # the guard drops what is stray
            with pytest.raises(AssertionError, match="anomalies_total"):
                guard.check_sound()
        finally:
            guard.stop()


def test_all_candidates_take_turns_forth_and_back_in_rounds_of_new_processes(monkeypatch):
    seen, answered, checked = [], Counter(), {}
    once = measure.once

    def noted(candidate, agent, *how, **more):
        turn = once(candidate, agent, *how, **more)
        seen.append((bool(candidate.pids), agent.process.pid))
        answered[candidate.address] += turn["answered"]
        monkeypatch.setattr(candidate, "check", lambda notifies: checked.update({candidate.address: notifies}))
        return turn

    monkeypatch.setattr(measure, "once", noted)
    told = measure.contest([DIRECT, "haproxy"], Shape(1, 1), Length(2, 2, LENGTH_S, 0.05), print)
    assert [proxied for proxied, _ in seen] == [False, True, True, False] * 2
    agents = [agent for _, agent in seen]
    assert (agents[0], agents[1]) == (agents[3], agents[2])
    assert len(set(agents)) == 4
    assert [turn["cpu_us"] for turn in told[DIRECT]] == [0.0] * 4
    assert len(told["haproxy"]) == 4
    assert all(turn["cpu_us"] > 0 for turn in told["haproxy"])
    assert len(checked) == 4
    assert checked == answered


def test_a_guard_that_saw_something_else_is_found_out(pure, monkeypatch):
    once = measure.once
    monkeypatch.setattr(measure, "once", lambda *how, **more: once(*how, **more) | {"answered": 1})
    with pytest.raises(AssertionError, match="notify"):
        measure.contest(["guard-pure-enforce"], Shape(1, 1), Length(1, 1, LENGTH_S, 0.05), print)


def test_half_load_is_half_of_what_haproxy_carried_in_the_same_round(monkeypatch):
    monkeypatch.setattr(measure, "HALF_LOAD", ("haproxy", DIRECT))
    length = Length(2, 2, 1.0, 0.05)  # beside other tests LENGTH_S may pass without one round trip
    told, halved = measure.contest_and_half_load([DIRECT, "haproxy"], Shape(1, 1), length, print)
    for first in (0, 2):
        carried = statistics.mean(turn["per_second"] for turn in told["haproxy"][first : first + 2])
        for name in ("haproxy", DIRECT):
            turns = halved[name][first : first + 2]
            assert [turn["asked"] for turn in turns] == [round(carried / 2)] * 2
            assert all(turn["per_second"] < 1.5 * turn["asked"] for turn in turns)  # also behind a pause: what was due comes late


def test_without_haproxy_there_is_no_half_load():
    told, halved = measure.contest_and_half_load([DIRECT], Shape(1, 1), Length(1, 1, LENGTH_S, 0.05), print)
    assert list(told) == [DIRECT]
    assert halved == {}


def test_one_that_cannot_start_takes_the_others_with_it(monkeypatch):
    begun = []

    def start(place):
        begun.append(running := CANDIDATES["haproxy"].start(place))
        return running

    def fail(place):
        raise TimeoutError

    monkeypatch.setitem(CANDIDATES, "well", Candidate("well", start))
    monkeypatch.setitem(CANDIDATES, "ill", Candidate("ill", fail))
    with pytest.raises(TimeoutError), measure.together(["well", "ill"]):
        raise AssertionError("they are not all there")
    [running] = begun
    assert running.process.process.poll() is not None


@pytest.mark.parametrize(
    ("cpus", "alone", "candidate", "agent", "load"),
    [
        ([3], 1, [], [], []),
        ([0, 1], 1, [1], [0], [0]),
        ([0, 1, 2, 3], 1, [3], [2], [0]),
        ([0, 1], 2, [], [], []),
        ([0, 1, 2], 2, [1, 2], [0], [0]),
        ([0, 1, 2, 3], 2, [2, 3], [1], [0]),
    ],
)
def test_a_candidate_has_cpus_for_itself_where_that_leaves_one(cpus, alone, candidate, agent, load):
    assert measure.places(cpus, alone) == {"candidate": candidate, "agent": agent, "load": load}


def test_all_threads_and_processes_of_a_candidate_are_where_they_belong():
    last = measure.CPUS[-1]
    if len(measure.CPUS) < 2:
        pytest.skip("a single CPU: nothing could be anywhere else")
    with measure.started("haproxy-two", {"candidate": [last], "agent": [], "load": []}) as (candidate, _):
        wait_for(lambda: len(candidate.process.tasks()) > 1, "its second thread")
        assert all(os.sched_getaffinity(task) == {last} for task in candidate.process.tasks())


def test_a_part_of_the_whole_leaves_the_page_alone(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bench.builds, "HOME", tmp_path / "part")
    monkeypatch.setattr(bench, "DOCS", tmp_path / "docs")
    assert bench.main(["--rounds=1", "--turns=1", f"--seconds={LONGER_S}", "--shapes=1x1", f"--candidates={DIRECT},haproxy"]) == 0
    assert not (tmp_path / "docs").exists()
    written = json.loads((tmp_path / "part/benchmarks.json").read_text())
    assert list(written["shapes"]) == ["1x1"]
    assert list(written["shapes"]["1x1"]) == [DIRECT, "haproxy"]
    assert written["half_load"] == written["real"] == {}
    assert "1x1" in capsys.readouterr().out


def test_the_whole_has_every_part_and_writes_the_page(monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "DOCS", tmp_path)
    seen = []
    for part, nothing in (("lane", []), ("real", {}), ("workers", {}), ("idle", []), ("sessions", {}), ("flood", {})):
        monkeypatch.setitem(bench.PARTS, part, lambda length, say, part=part, nothing=nothing: seen.append(part) or nothing)
        monkeypatch.setitem(bench.NEEDED, part, [])
    monkeypatch.setattr(bench, "by_shape", lambda data, names, shapes, length: seen.append((list(names), list(shapes))))
    monkeypatch.setattr(bench, "available", lambda name: True)
    monkeypatch.setattr(bench, "open_files", lambda: 20_000)
    assert bench.main([]) == 0
    assert seen == [(list(CONTEST), list(SHAPES)), "lane", "real", "workers", "idle", "sessions", "flood"]
    assert (tmp_path / "benchmarks.md").exists()


def test_a_part_that_cannot_be_measured_here_is_left_out(monkeypatch, capsys):
    monkeypatch.setitem(CANDIDATES, measure.ENFORCE, Candidate("the guard", lambda place: None, lambda: "make builds"))
    data = bench.run([part for part in bench.PARTS if part != "shapes"], [], [], Length(1, 1))
    assert not any(data[part] for part in bench.PARTS)
    assert capsys.readouterr().out.count("left out: the guard: make builds") == len(bench.PARTS) - 1


def test_a_shape_beyond_the_limit_of_open_files_is_left_out(capsys):
    assert not bench.fits(1024, 2048)
    assert "ulimit" in capsys.readouterr().out
    assert bench.fits(1024, 4096)


@pytest.mark.parametrize("what", ["shapes", "candidates", "parts"])
def test_an_unknown_name_is_refused(what, capsys):
    with pytest.raises(SystemExit):
        bench.main([f"--{what}=nonsense"])
    assert "nonsense" in capsys.readouterr().err


def lane_answers(monkeypatch, answer):
    monkeypatch.setattr(bench.builds, "guard", lambda build: ([sys.executable], builds.HOME))
    done = subprocess.CompletedProcess([], 0, stdout=json.dumps(answer), stderr="")
    monkeypatch.setattr(bench.subprocess, "run", lambda *command, **how: done)


def test_what_the_lane_says_is_taken_once_a_round(monkeypatch):
    lane_answers(monkeypatch, {"compiled": True, "pair_ns": {"1": 20.0}, "step_us": {"1": 0.5}})
    assert bench.lane(Length(3), print) == [{"pair_ns": {"1": 20.0}, "step_us": {"1": 0.5}}] * 3


def test_a_lane_that_is_not_there_is_left_out(monkeypatch, capsys):
    lane_answers(monkeypatch, {"lacks": "ImportError: no lane"})
    assert bench.lane(Length(3), print) == []
    assert "ImportError: no lane" in capsys.readouterr().out


def test_a_lane_of_another_build_is_found_out(monkeypatch):
    lane_answers(monkeypatch, {"compiled": False, "pair_ns": {}, "step_us": {}})
    with pytest.raises(AssertionError, match="not the compiled build"):
        bench.lane(Length(1), print)


def test_the_lane_is_asked_in_the_build_and_not_in_the_checkout(monkeypatch):
    if why := CANDIDATES[measure.ENFORCE].lacks():
        missing("the compiled build", why)
    run, where = subprocess.run, []

    def asked(command, **how):
        where.append(run([*command[:-2], "-c", "import tests.bench.lane, spoe_guard; print(spoe_guard.__file__)"], **how).stdout)
        return run(command, **how)

    monkeypatch.setattr(bench.subprocess, "run", asked)
    bench.lane(Length(1), print)
    assert where[-1].startswith(str(builds.GUARDS / "compiled"))


def test_a_lane_says_why_it_cannot_be_measured(monkeypatch):
    monkeypatch.setattr(spoe_guard.core, "lane", None, raising=False)
    monkeypatch.delattr(spoe_guard.core, "lane")
    monkeypatch.setitem(sys.modules, "spoe_guard.core.lane", None)
    assert "spoe_guard.core.lane" in lane.measured()["lacks"]


def test_a_lane_is_measured_with_each_number_in_flight_and_of_sessions(monkeypatch):
    monkeypatch.setattr(lane, "pair_ns", lambda in_flight: in_flight + 0.5)
    monkeypatch.setattr(lane, "step_us", lambda sessions: sessions + 0.25)
    monkeypatch.setattr(lane, "longest_turn_ms", lambda read, *, from_agent: len(read) + 0.125 if from_agent else 0.0)
    seen = lane.measured()
    turns = seen.pop("turn_ms")
    assert seen == {
        "compiled": COMPILED,
        "pair_ns": {"1": 1.5, "64": 64.5, "10000": 10_000.5},
        "step_us": {"1": 1.25, "1024": 1024.25},
    }
    assert turns.pop("one ACK of bad booleans") == 16_379.125
    assert [turn == 0.0 for turn in turns.values()] == [name.endswith(("HAProxy", "message")) for name in turns]
    assert all(0.9 * lane.READ_BYTES < turn <= lane.READ_BYTES + 0.125 for turn in turns.values() if turn)


def test_the_longest_turn_is_that_of_the_quieter_flood(monkeypatch):
    now = iter([0.0, 1.0, 10.0, 12.0, 20.0, 23.0, 30.0, 30.5, 40.0, 41.0, 50.0, 50.25])
    monkeypatch.setattr(lane, "FLOODS", 2)
    monkeypatch.setattr(lane, "time", SimpleNamespace(perf_counter=lambda: next(now)))
    assert lane.longest_turn_ms(bytes(4 * 150), from_agent=True) == 1000.0  # of the quieter flood
    assert not [*now]
