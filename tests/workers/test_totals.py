"""The sum of the counts of several processes."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from spoe_guard.core.terms.events import DialFailure
from spoe_guard.core.terms.tally import Tally
from spoe_guard.observe import snapshot
from spoe_guard.observe.stats import RouteStats
from spoe_guard.run.workers.totals import AllProcesses, Numbers, Totals
from spoe_guard.wire import frame
from tests.workers.turns import every_step_is_a_slice, turns_of

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


def says(stats: RouteStats, **process: float) -> Numbers:
    """As it comes over the channel."""
    return saying({"default": stats}, **process)


def saying(routes: Mapping[str, RouteStats], **process: float) -> Numbers:
    told = {name: json.dumps(snapshot.take(stats)).encode() for name, stats in routes.items()}
    return Numbers(process, sum(stats.open for stats in routes.values()), told)


def summed_up(totals: Totals, living: Iterable[Numbers]) -> None:
    asyncio.run(totals.sum_up(living))


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


def test_two_workers_are_summed_number_by_number():
    totals = Totals(["default"])
    summed_up(totals, [says(busy(1)), says(busy(10))])
    assert plain(totals.routes["default"]) == plain(busy(11))


MANY = 30
NAMES = [f"r{number}" for number in range(MANY)]


def all_of_them(scale: int) -> Numbers:
    return saying({name: busy(scale) for name in NAMES})


def test_a_sum_of_many_routes_is_seen_whole_or_not_at_all(monkeypatch):
    """Others have a turn between any two routes, and see what there was before until the last one is summed.

    They have it, too, while the sums of before are freed, one by one.
    """
    every_step_is_a_slice(monkeypatch)
    totals = Totals(NAMES)

    def counted() -> set[int]:
        return {stats.connections for stats in totals.routes.values()}

    async def main() -> None:
        await totals.sum_up([all_of_them(1)])
        before, seen = counted(), []
        turns, _ = await turns_of(totals.sum_up([all_of_them(2), all_of_them(3)]), lambda: seen.append(counted()))
        summing, after = seen.count(before), {busy(5).connections}
        assert summing > MANY
        assert seen == [before] * summing + [after] * (turns - summing)
        assert turns - summing >= MANY

    asyncio.run(main())


def test_what_was_told_again_is_not_summed_again():
    totals = Totals(NAMES)
    summed_up(totals, [all_of_them(1), all_of_them(2)])
    before = dict(totals.routes)
    changed = saying({name: busy(2 if name != NAMES[7] else 4) for name in NAMES})
    summed_up(totals, [all_of_them(1), changed])
    assert [name for name, stats in totals.routes.items() if stats is not before[name]] == [NAMES[7]]
    assert totals.routes[NAMES[7]].connections == busy(5).connections


def test_a_worker_that_dies_during_a_sum_is_counted_once(monkeypatch):
    every_step_is_a_slice(monkeypatch)
    totals = Totals(NAMES)
    dying, other = all_of_them(1), all_of_them(10)

    async def main() -> None:
        turns = []

        def look() -> None:
            turns.append(1)
            if len(turns) == MANY // 2:
                totals.close(dying)

        await turns_of(totals.sum_up([dying, other]), look)
        assert {stats.connections for stats in totals.routes.values()} == {busy(11).connections}
        await totals.sum_up([other])
        assert {stats.connections for stats in totals.routes.values()} == {busy(11).connections}
        assert {stats.open for stats in totals.routes.values()} == {busy(10).open}

    asyncio.run(main())


def test_a_sum_that_is_given_up_loses_no_counts(monkeypatch):
    every_step_is_a_slice(monkeypatch)
    totals = Totals(NAMES)
    other = all_of_them(10)

    async def main() -> None:
        await totals.sum_up([all_of_them(1), other])
        await totals.sum_up([other])
        totals.close(all_of_them(1))
        task = asyncio.get_running_loop().create_task(totals.sum_up([other]))
        for _ in range(MANY // 2):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait((task,))
        await totals.sum_up([other])
        assert {stats.connections for stats in totals.routes.values()} == {busy(11).connections}

    asyncio.run(main())


def test_a_route_that_goes_during_a_sum_stays_away(monkeypatch):
    """And one that comes back meanwhile does not get what its predecessor had counted in workers that are gone."""
    every_step_is_a_slice(monkeypatch)
    totals = Totals(NAMES)
    away, back = NAMES[1], NAMES[2]

    async def main() -> None:
        totals.close(all_of_them(1))
        await totals.sum_up([])
        task = asyncio.get_running_loop().create_task(totals.sum_up([all_of_them(10)]))
        for _ in range(MANY // 2):
            await asyncio.sleep(0)
        await totals.serve([name for name in NAMES if name not in {away, back}])
        await totals.serve([name for name in NAMES if name != away])
        await task
        assert away not in totals.routes
        assert totals.routes[back].connections == 0
        await totals.sum_up([all_of_them(10)])
        assert totals.routes[back].connections == busy(10).connections
        assert totals.routes[NAMES[0]].connections == busy(11).connections

    asyncio.run(main())


def test_many_new_routes_are_begun_with_turns_for_others(monkeypatch):
    every_step_is_a_slice(monkeypatch)
    totals = Totals(["default"])
    turns, _ = asyncio.run(turns_of(totals.serve(NAMES)))
    assert turns > MANY
    assert list(totals.routes) == NAMES


def test_a_gone_workers_counters_stay_and_its_gauges_go():
    totals = Totals(["default"])
    routes = totals.routes
    totals.close(says(busy(1)))
    totals.close(says(busy(10)))
    summed_up(totals, [])
    expected = busy(11)
    expected.open = 0
    for agent in expected.agents.values():
        agent.links = 0
    for name in snapshot.TALLY_NOW:
        setattr(expected.tally, name, 0)
    assert plain(totals.routes["default"]) == plain(expected)
    summed_up(totals, [says(busy(2))])
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
    summed_up(totals, [told[0], told[1]])
    assert (totals.routes["default"].agent_up, totals.routes["default"].agent_detail) == (False, "refused")
    summed_up(totals, [told[at] for at in order])
    assert (totals.routes["default"].agent_up, totals.routes["default"].agent_detail) == (True, "")
    later.agents[AGENTS[0]].tried(12.0, up=None)
    summed_up(totals, [told[1], says(later)])
    assert (totals.routes["default"].agent_up, totals.routes["default"].agent_detail) == (None, "")
    summed_up(totals, [told[0]])
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
    summed_up(totals, [says(resolved)])
    assert totals.routes["default"].agent_up is None
    summed_up(totals, [says(dialled), says(resolved)])
    assert totals.routes["default"].agents[AGENTS[0]].detail == "refused"


def test_each_address_is_up_or_down_by_itself():
    stats = [RouteStats(), RouteStats()]
    for at, each in enumerate(stats):
        each.serve(AGENTS)
        each.agents[AGENTS[at]].answered(10.0)
    stats[0].agents[AGENTS[1]].tried(11.0, up=False, detail="refused")
    totals = Totals(["default"])
    summed_up(totals, list(map(says, stats)))
    summed = totals.routes["default"]
    assert [(address, agent.up) for address, agent in summed.agents.items()] == [(AGENTS[0], True), (AGENTS[1], False)]
    assert (summed.agent_up, summed.agent_detail) == (True, f"{AGENTS[1]} refused")


def test_an_address_that_no_worker_serves_any_more_is_forgotten():
    totals = Totals(["default"])
    totals.close(says(busy(1)))
    after = busy(10)
    after.serve(["10.0.3.9:9000", AGENTS[1]])
    summed_up(totals, [says(after)])
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
    summed_up(totals, [says(workers[at]) for at in order])
    assert totals.routes["default"].oldest() == 2.5
    totals.close(says(workers[1]))
    summed_up(totals, [says(workers[0])])
    assert totals.routes["default"].oldest() == 0.5
    summed_up(totals, [])
    assert totals.routes["default"].oldest() == 0


def test_open_notifies_by_address_are_those_of_all_living_workers():
    workers = [busy(1), busy(1)]
    workers[0].open_on = lambda: {AGENTS[0]: 2, AGENTS[1]: 0}
    workers[1].open_on = lambda: {AGENTS[0]: 3, AGENTS[1]: 1}
    totals = Totals(["default"])
    summed_up(totals, list(map(says, workers)))
    assert totals.routes["default"].open_on() == {AGENTS[0]: 5, AGENTS[1]: 1}
    totals.close(says(workers[1]))
    summed_up(totals, [says(workers[0])])
    assert totals.routes["default"].open_on() == {AGENTS[0]: 2, AGENTS[1]: 0}


def test_notifies_given_to_an_address_include_those_of_workers_gone():
    workers = [busy(1), busy(1)]
    workers[0].given_to = lambda: {AGENTS[0]: 20, AGENTS[1]: 0}
    workers[1].given_to = lambda: {AGENTS[0]: 3, AGENTS[1]: 10}
    totals = Totals(["default"])
    summed_up(totals, list(map(says, workers)))
    before = totals.routes["default"].notifies_by_agent()
    assert {address: before[address] for address in AGENTS} == {AGENTS[0]: 23, AGENTS[1]: 10}
    totals.close(says(workers[1]))
    summed_up(totals, [says(workers[0])])
    assert totals.routes["default"].notifies_by_agent() == before


def test_what_the_processes_use_is_summed_and_cpu_time_never_falls():
    totals = Totals(["default"])
    used = {"process_cpu_seconds_total": 1000.0, "process_open_fds": 5000.0, "process_start_time_seconds": 1.0}
    summed_up(totals, [says(busy(1), **used), says(busy(1), **used)])
    found = {sample.name: sample.value for family in AllProcesses(totals).collect() for sample in family.samples}
    assert 2000.0 < found["process_cpu_seconds_total"] < 2900.0
    assert 10000.0 < found["process_open_fds"] < 14000.0
    assert found["process_start_time_seconds"] > 10.0  # the parent's
    totals.close(says(busy(1), **used))
    summed_up(totals, [says(busy(1), **used)])
    assert totals.process["process_cpu_seconds_total"] == 2000.0
    assert totals.process["process_open_fds"] == 5000.0
