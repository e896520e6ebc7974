"""The sum of the counts of several processes."""

import json
from collections import Counter
from typing import Any

import pytest

from spoe_guard.core.terms.tally import Tally
from spoe_guard.observe import snapshot
from spoe_guard.observe.stats import RouteStats
from spoe_guard.run.workers.totals import AllProcesses, Totals
from spoe_guard.wire import frame


def busy(scale: int) -> RouteStats:
    """Every number that is summed is another one, times ``scale``."""
    stats = RouteStats()
    stats.tally.frames_to_agent[frame.NOTIFY] = 7 * scale
    stats.tally.frames_to_haproxy[frame.ACK] = 11 * scale
    for at, name in enumerate((*snapshot.TALLY_COUNTS, *snapshot.TALLY_NOW), 100):
        setattr(stats.tally, name, at * scale)
    for at, name in enumerate((*snapshot.COUNTS, *snapshot.NOW), 200):
        setattr(stats, name, at * scale)
    for at, name in enumerate(snapshot.BY_LABELS, 300):
        getattr(stats, name)["some", name] = at * scale
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
    return {name: 0 if name in without else value for name, value in taken.items()}


def numbers_of(kind: type) -> list[str]:
    """By name."""
    return [name for name in dir(kind()) if not name.startswith("_") and not callable(getattr(kind(), name))]


@pytest.mark.parametrize(
    ("of", "tables"),
    [
        (
            numbers_of(RouteStats),
            (snapshot.COUNTS, snapshot.NOW, snapshot.BY_LABELS, snapshot.BUCKETS, snapshot.LAST_TRY, ("tally",)),
        ),
        (numbers_of(Tally), (snapshot.TALLY_COUNTS, snapshot.TALLY_NOW, snapshot.TALLY_BUCKETS)),
    ],
    ids=["route", "tally"],
)
def test_every_number_there_is_has_its_place_in_the_sum(of, tables):
    assert sorted(name for table in tables for name in table) == sorted(of)


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
    expected.open = expected.links = 0
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
    failed.agent_tried(10.0, up=False, detail="refused")
    later.agent_tried(11.0, up=True)
    totals = Totals(["default"])
    told = [says(each) for each in (never, failed, later)]
    totals.sum_up([told[0], told[1]])
    assert (totals.routes["default"].agent_up, totals.routes["default"].agent_detail) == (False, "refused")
    totals.sum_up([told[at] for at in order])
    assert (totals.routes["default"].agent_up, totals.routes["default"].agent_detail) == (True, "")
    later.forget_agent(12.0)
    totals.sum_up([told[1], says(later)])
    assert (totals.routes["default"].agent_up, totals.routes["default"].agent_detail) == (None, "")
    totals.sum_up([told[0]])
    assert totals.routes["default"].agent_up is None


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
