"""The load generator tells right answers from wrong ones, its figures add up, and every candidate can be measured."""

import json
import signal
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.bench import builds, measure
from tests.bench.candidates import CANDIDATES
from tests.bench.peers import Agent, load
from tests.bench.process import environment, wait_for
from tests.bench.shapes import SHAPES, Shape
from tests.peers import missing

LENGTH_S = 0.3
SHORT = ["-warm=50ms"]


@pytest.fixture(autouse=True)
def programs():
    if not builds.LOAD.exists() or not builds.AGENT.exists():
        missing("the load generator of the bench is not built", "make rivals (it needs Go, or Debian's)")


@pytest.fixture
def agent(tmp_path):
    with Agent(tmp_path) as agent:
        yield agent


@pytest.mark.parametrize("shape", SHAPES.values(), ids=lambda shape: shape.name)
def test_every_round_trip_is_answered_and_the_figures_add_up(agent, shape):
    seen = load(agent.address, shape, LENGTH_S, watch=[agent.process.pid], how=SHORT)
    assert seen["answered"] >= seen["round_trips"] > 0
    assert 0 < seen["p50_us"] <= seen["p99_us"] <= seen["p999_us"] <= seen["max_us"] * 1.01
    assert LENGTH_S <= seen["seconds"] < LENGTH_S * 3
    assert 0 < seen["cpu_us"][str(agent.process.pid)] <= seen["seconds"] * 1.1e6


def test_at_a_fixed_rate_so_many_are_sent_and_a_stall_counts_for_each_that_was_due(agent):
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


@pytest.mark.parametrize("name", CANDIDATES)
def test_a_candidate_is_measured(name):
    if why := CANDIDATES[name].lacks():
        missing(CANDIDATES[name].label, why)
    told = measure.contest([name], Shape(4, 2), 2, LENGTH_S, print, SHORT)[name]
    assert len(told["runs"]) == 2
    assert all(run["per_second"] > 0 for run in told["runs"])
    assert all((run["cpu_us"] > 0) == (name != "direct") for run in told["runs"])
    assert (told["most_kib"] > 1024) == (name != "direct")


def test_candidates_run_there_and_back_each_time_as_a_new_process(monkeypatch):
    seen = []
    once = measure.once

    def noted(candidate, agent, *how):
        seen.append((candidate.pids, agent.process.pid))
        return once(candidate, agent, *how)

    monkeypatch.setattr(measure, "once", noted)
    measure.contest(["direct", "haproxy"], Shape(1, 1), 2, LENGTH_S, print, SHORT)
    assert [bool(pids) for pids, _ in seen] == [False, True, True, False]
    assert len({agent for _, agent in seen}) == 4
    assert seen[1][0] != seen[2][0]


def test_side_by_side_all_are_there_at_once_and_have_their_turns_there_and_back(monkeypatch):
    seen, answered, checked = [], Counter(), {}
    once = measure.once

    def noted(candidate, agent, *how):
        turn = once(candidate, agent, *how)
        seen.append((bool(candidate.pids), agent.process.pid))
        answered[candidate.address] += turn["answered"]
        monkeypatch.setattr(candidate, "check", lambda notifies: checked.update({candidate.address: notifies}))
        return turn

    monkeypatch.setattr(measure, "once", noted)
    monkeypatch.setattr(measure, "TURNS", 2)
    told = measure.side_by_side(["direct", "haproxy"], Shape(1, 1), 2, print, LENGTH_S, SHORT)
    assert [proxied for proxied, _ in seen] == [False, True, True, False] * 2
    agents = [agent for _, agent in seen]
    assert (agents[0], agents[1]) == (agents[3], agents[2])
    assert len(set(agents)) == 4
    assert told["direct"] == [[0.0, 0.0], [0.0, 0.0]]
    assert all(turn > 0 for turns in told["haproxy"] for turn in turns)
    assert len(checked) == 4
    assert checked == answered


def test_side_by_side_a_guard_that_saw_something_else_is_found_out(monkeypatch):
    if why := CANDIDATES["guard-pure-enforce"].lacks():
        missing("guard-pure-enforce", why)
    once = measure.once
    monkeypatch.setattr(measure, "once", lambda *how: once(*how) | {"answered": 1})
    with pytest.raises(AssertionError, match="notify"):
        measure.side_by_side(["guard-pure-enforce"], Shape(1, 1), 1, print, LENGTH_S, SHORT)


@pytest.mark.parametrize(
    ("cpus", "candidate", "agent", "load"), [([3], [], [], []), ([0, 1], [1], [0], [0]), ([0, 1, 2, 3], [3], [2], [0])]
)
def test_a_candidate_has_a_cpu_for_itself_where_there_are_two(cpus, candidate, agent, load):
    assert measure.places(cpus) == {"candidate": candidate, "agent": agent, "load": load}


def test_a_part_of_the_whole_leaves_the_page_alone(tmp_path, capsys):
    from tests.bench import __main__ as bench

    arguments = ["--rounds", "1", "--seconds", "0.2", "--shapes", "1x1", "--candidates", "direct,haproxy", "--out", str(tmp_path)]
    assert bench.main(arguments) == 0
    written = json.loads((tmp_path / "benchmarks.json").read_text())
    assert list(written["shapes"]) == list(written["half_load"]) == ["1x1"]
    assert list(written["shapes"]["1x1"]) == ["direct", "haproxy"]
    assert written["side_by_side"] == {}
    assert "1x1" in capsys.readouterr().out
