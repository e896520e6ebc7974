"""The sum of the counts of several processes."""

import asyncio
import json
from collections import Counter
from typing import Any

import pytest

from spoe_guard import slices
from spoe_guard.core.terms.events import DialFailure
from spoe_guard.core.terms.tally import Tally
from spoe_guard.observe import snapshot
from spoe_guard.observe.pieces import Pieces
from spoe_guard.observe.stats import RouteStats
from spoe_guard.run.workers.totals import AllProcesses, Totals
from spoe_guard.wire import frame

AGENTS = ("10.0.3.7:9000", "10.0.3.8:9000")


def busy(scale: int) -> RouteStats:
    """Every number that is summed is another one, times ``scale``."""
    stats = RouteStats()
    stats.serve(AGENTS)
    stats.tally.frames_to_agent[frame.NOTIFY] = 7 * scale
    stats.tally.frames_to_haproxy[frame.ACK] = 11 * scale
    for at, name in enumerate((*snapshot.TALLY_COUNTS, *snapshot.TALLY_NOW), 100):
        setattr(stats.tally, name, at * scale)
    for at, name in enumerate((*snapshot.COUNTS, *snapshot.NOW), 200):
        setattr(stats, name, at * scale)
    for at, name in enumerate(snapshot.BY_LABELS, 300):
        getattr(stats, name)["some", name] = at * scale
    for agent in AGENTS:
        stats.agents[agent].dials = stats.agents[agent].links = 3 * scale
        stats.agents[agent].failed_notifies = 5 * scale
        stats.agents[agent].failures["refused",] = 2 * scale
    for name, owner in (("hold_buckets", stats), ("ack_buckets", stats.tally)):
        buckets = getattr(owner, name)
        for at in range(len(buckets)):
            buckets[at] = (at + 1) * scale
    return stats


def says(stats: RouteStats, **process: float) -> dict[str, Any]:
    """As it comes over the channel."""
    return json.loads(json.dumps({"routes": {"default": snapshot.take(stats)}, "process": process}))


def plain(stats: RouteStats, *without: str) -> dict[str, Any]:
    taken = snapshot.take(stats)
    taken |= {name: Counter(dict(taken[name])) for name in snapshot.BY_LABELS}
    taken["agents"] = [(address, agent | {"failures": dict(agent["failures"])}) for address, agent in taken["agents"].items()]
    return {name: 0 if name in without else value for name, value in taken.items()}


def numbers_of_a_tally() -> list[str]:
    """By name; those that are settings left out."""
    names = [name for name in dir(Tally()) if not name.startswith("_") and not callable(getattr(Tally(), name))]
    return [name for name in names if name != "late_after"]


@pytest.mark.parametrize(
    ("of", "tables"),
    [
        (
            RouteStats.__slots__,
            (snapshot.COUNTS, snapshot.NOW, snapshot.BY_LABELS, snapshot.BUCKETS, snapshot.OTHERS, ("tally",)),
        ),
        (numbers_of_a_tally(), (snapshot.TALLY_COUNTS, snapshot.TALLY_NOW, snapshot.TALLY_BUCKETS)),
    ],
    ids=["route", "tally"],
)
def test_every_number_there_is_has_its_place_in_the_sum(of, tables):
    assert sorted(name for table in tables for name in table) == sorted(of)


@pytest.mark.parametrize("count", [0, 1, 30])
def test_numbers_of_many_routes_are_told_in_steps_with_turns_for_others(monkeypatch, count):
    """The turns are counted, not timed."""
    monkeypatch.setattr(slices, "SLICE_S", -1.0)  # on a fast machine a slice has several steps
    routes, text = {f'"{number}"': busy(number) for number in range(count)}, Pieces()

    async def turns() -> int:
        counted, task = 0, asyncio.get_running_loop().create_task(snapshot.add_all(routes, text))
        while not task.done():
            counted += 1
            await asyncio.sleep(0)
        return counted

    assert asyncio.run(turns()) > count
    taken = {name: snapshot.take(stats) for name, stats in routes.items()}
    assert json.loads(b"".join(text.taken())) == json.loads(json.dumps(taken))


def test_two_workers_are_summed_number_by_number():
    totals = Totals(["default"])
    totals.sum_up([says(busy(1)), says(busy(10))])
    assert plain(totals.routes["default"]) == plain(busy(11))


def test_a_gone_workers_counters_stay_and_its_gauges_go():
    totals = Totals(["default"])
    routes = totals.routes
    totals.close(says(busy(1)))
    totals.close(says(busy(10)))
    totals.sum_up([])
    expected = busy(11)
    expected.open = 0
    for agent in expected.agents.values():
        agent.links = 0
    for name in snapshot.TALLY_NOW:
        setattr(expected.tally, name, 0)
    assert plain(totals.routes["default"]) == plain(expected)
    totals.sum_up([says(busy(2))])
    assert totals.routes["default"].connections == busy(13).connections
    assert totals.routes["default"].open == busy(2).open
    assert totals.routes is routes


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_agent_up_is_what_the_last_try_of_any_worker_saw(order):
    never, failed, later = RouteStats(), RouteStats(), RouteStats()
    for stats in (never, failed, later):
        stats.serve(AGENTS[:1])
    failed.agents[AGENTS[0]].tried(10.0, up=False, detail="refused")
    later.agents[AGENTS[0]].answered(11.0)
    totals = Totals(["default"])
    told = [says(each) for each in (never, failed, later)]
    totals.sum_up([told[0], told[1]])
    assert (totals.routes["default"].agent_up, totals.routes["default"].agent_detail) == (False, "refused")
    totals.sum_up([told[at] for at in order])
    assert (totals.routes["default"].agent_up, totals.routes["default"].agent_detail) == (True, "")
    later.agents[AGENTS[0]].tried(12.0, up=None)
    totals.sum_up([told[1], says(later)])
    assert (totals.routes["default"].agent_up, totals.routes["default"].agent_detail) == (None, "")
    totals.sum_up([told[0]])
    assert totals.routes["default"].agent_up is None


def test_a_name_that_resolves_for_one_worker_hides_no_later_dial():
    dialled, resolved = RouteStats(), RouteStats()
    for stats in (dialled, resolved):
        stats.serve(AGENTS)
        stats.unresolved(10.0, {address: f"'{address}': unknown" for address in AGENTS})
        assert stats.failures(DialFailure.UNRESOLVED) == 2
        assert [agent.detail for agent in stats.agents.values()] == [f"unresolved: '{address}': unknown" for address in AGENTS]
    dialled.agents[AGENTS[0]].tried(10.5, up=False, detail="refused")
    resolved.resolved()
    totals = Totals(["default"])
    totals.sum_up([says(resolved)])
    assert totals.routes["default"].agent_up is None
    totals.sum_up([says(dialled), says(resolved)])
    assert totals.routes["default"].agents[AGENTS[0]].detail == "refused"


def test_each_address_is_up_or_down_by_itself():
    stats = [RouteStats(), RouteStats()]
    for at, each in enumerate(stats):
        each.serve(AGENTS)
        each.agents[AGENTS[at]].answered(10.0)
    stats[0].agents[AGENTS[1]].tried(11.0, up=False, detail="refused")
    totals = Totals(["default"])
    totals.sum_up(list(map(says, stats)))
    summed = totals.routes["default"]
    assert [(address, agent.up) for address, agent in summed.agents.items()] == [(AGENTS[0], True), (AGENTS[1], False)]
    assert (summed.agent_up, summed.agent_detail) == (True, f"{AGENTS[1]} refused")


def test_an_address_that_no_worker_serves_any_more_is_forgotten():
    totals = Totals(["default"])
    totals.close(says(busy(1)))
    after = busy(10)
    after.serve(["10.0.3.9:9000", AGENTS[1]])
    totals.sum_up([says(after)])
    assert {address: agent.dials for address, agent in totals.routes["default"].agents.items()} == {
        AGENTS[1]: 33,
        "10.0.3.9:9000": 0,
    }


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_oldest_notify_is_that_of_any_living_worker(order):
    workers = [busy(1), busy(1)]
    workers[0].oldest = lambda: 0.5
    workers[1].oldest = lambda: 2.5
    totals = Totals(["default"])
    totals.sum_up([says(workers[at]) for at in order])
    assert totals.routes["default"].oldest() == 2.5
    totals.close(says(workers[1]))
    totals.sum_up([says(workers[0])])
    assert totals.routes["default"].oldest() == 0.5
    totals.sum_up([])
    assert totals.routes["default"].oldest() == 0


def test_open_notifies_by_address_are_those_of_all_living_workers():
    workers = [busy(1), busy(1)]
    workers[0].open_on = lambda: {AGENTS[0]: 2, AGENTS[1]: 0}
    workers[1].open_on = lambda: {AGENTS[0]: 3, AGENTS[1]: 1}
    totals = Totals(["default"])
    totals.sum_up(list(map(says, workers)))
    assert totals.routes["default"].open_on() == {AGENTS[0]: 5, AGENTS[1]: 1}
    totals.close(says(workers[1]))
    totals.sum_up([says(workers[0])])
    assert totals.routes["default"].open_on() == {AGENTS[0]: 2, AGENTS[1]: 0}


def test_notifies_given_to_an_address_include_those_of_workers_gone():
    workers = [busy(1), busy(1)]
    workers[0].given_to = lambda: {AGENTS[0]: 20, AGENTS[1]: 0}
    workers[1].given_to = lambda: {AGENTS[0]: 3, AGENTS[1]: 10}
    totals = Totals(["default"])
    totals.sum_up(list(map(says, workers)))
    before = totals.routes["default"].notifies_by_agent()
    assert {address: before[address] for address in AGENTS} == {AGENTS[0]: 23, AGENTS[1]: 10}
    totals.close(says(workers[1]))
    totals.sum_up([says(workers[0])])
    assert totals.routes["default"].notifies_by_agent() == before


def test_what_the_processes_use_is_summed_and_cpu_time_never_falls():
    totals = Totals(["default"])
    used = {"process_cpu_seconds_total": 1000.0, "process_open_fds": 5000.0, "process_start_time_seconds": 1.0}
    totals.sum_up([says(busy(1), **used), says(busy(1), **used)])
    found = {sample.name: sample.value for family in AllProcesses(totals).collect() for sample in family.samples}
    assert 2000.0 < found["process_cpu_seconds_total"] < 2900.0
    assert 10000.0 < found["process_open_fds"] < 14000.0
    assert found["process_start_time_seconds"] > 10.0  # the parent's
    totals.close(says(busy(1), **used))
    totals.sum_up([says(busy(1), **used)])
    assert totals.process["process_cpu_seconds_total"] == 2000.0
    assert totals.process["process_open_fds"] == 5000.0
