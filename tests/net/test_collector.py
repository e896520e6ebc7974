"""No look of Python's garbage collector at all objects keeps a NOTIFY waiting, and memory is bounded all the same."""

import contextlib
import gc
import math
import sys
from dataclasses import replace

import pytest

from spoe_guard import collector as module
from spoe_guard.collector import FEW, NEW_ONES, Collector, Load
from tests.net.stage import DEADLINE_S, Stage, until

MANY = Load(routes=1, sessions=FEW + 1, kept=0)
ALL, NEW = 2, 1  # generations


@pytest.fixture
def collector():
    """One that has begun with MANY; afterwards the process collects as before."""
    thresholds = gc.get_threshold()
    made = Collector()
    made.begin(MANY)
    yield made
    gc.set_threshold(*thresholds)
    gc.collect()
    gc.freeze()


@pytest.fixture
def always_counted(monkeypatch):
    """Memory is looked at each time, whether the process has more of it or not."""
    monkeypatch.setattr(module, "COUNT_AGAIN", -math.inf)


@contextlib.contextmanager
def looks():
    """Yield the generations that are looked at meanwhile."""
    seen = []

    def note(phase, info):
        if phase == "start":
            seen.append(info["generation"])

    gc.callbacks.append(note)
    try:
        yield seen
    finally:
        gc.callbacks.remove(note)


def test_no_look_at_all_objects_begins_by_itself(collector):
    with looks() as seen:
        kept = [[[] for _ in range(10)] for _ in range(20_000)]
        collector.look(MANY)
    assert len(kept) == 20_000
    assert seen.count(NEW) > 50
    assert ALL not in seen


def test_what_was_there_at_the_start_is_not_looked_at(collector):
    assert gc.get_freeze_count() > 10_000
    assert len(gc.get_objects()) < 10_000


async def test_sessions_and_links_are_looked_at_before_they_are_many():
    async with Stage() as stage:  # where nothing is collected by itself
        with looks() as seen:
            for count in range(1, NEW_ONES + 1):
                await stage.haproxy()
                await stage.agent()
                await until(lambda count=count: stage.recorder.count("link opened") == count)
        assert seen == [NEW, NEW]  # half of what began are links


@pytest.mark.parametrize(("sessions", "looked_at"), [(FEW, ALL), (FEW + 1, NEW)])
def test_all_objects_are_looked_at_every_minute_where_sessions_are_few(collector, monkeypatch, sessions, looked_at):
    now = module.monotonic()
    monkeypatch.setattr(module, "monotonic", lambda: now)
    load = replace(MANY, sessions=sessions)
    with looks() as seen:
        now += module.EVERY_S - 1
        collector.look(load)
        now += 2
        collector.look(load)
        collector.look(load)
    assert seen == [NEW, looked_at, NEW]


@pytest.mark.parametrize(("long_s", "left_out"), [(-1.0, True), (DEADLINE_S, False)])
def test_what_took_long_is_left_out_of_the_next_look(collector, monkeypatch, long_s, left_out):
    monkeypatch.setattr(module, "LONG_S", long_s)
    monkeypatch.setattr(module, "EVERY_S", 0.0)  # so that it is time
    collector.begin(replace(MANY, sessions=0))
    before, kept = gc.get_freeze_count(), [[] for _ in range(1000)]
    collector.look(replace(MANY, sessions=0))
    assert len(kept) == 1000
    assert (gc.get_freeze_count() >= before + 1000) is left_out


@pytest.mark.usefixtures("always_counted")
@pytest.mark.parametrize("load", [MANY, replace(MANY, sessions=FEW)], ids=["many", "few"])
def test_memory_is_bounded_where_something_refers_to_itself(collector, monkeypatch, load):
    """Also where sessions are few, and what there is was left out because it took long to look at."""
    monkeypatch.setattr(module, "SPARE", 10_000)
    collector.begin(load)
    before, most, looked_at, objects = sys.getallocatedblocks(), 0, 0, 0
    for _ in range(100):
        held = [[] for _ in range(1000)]
        held[0].append(held)
        gc.collect(NEW)  # it becomes old
        gc.freeze()
        del held
        with looks() as seen:
            found = collector.look(load)
            monkeypatch.setattr(collector, "_next", 0.0)  # it is time for a look where sessions are few
            found = found or collector.look(load)
        assert (found is not None) == (ALL in seen) or load.sessions == FEW
        if found is not None:
            looked_at += 1
            objects += found.objects
        most = max(most, sys.getallocatedblocks() - before)
    assert 0 < looked_at < 20
    assert objects > 50_000
    assert most < 2 * module.SPARE


@pytest.mark.usefixtures("always_counted")
def test_what_was_there_at_the_start_is_found_where_memory_is_missing(monkeypatch):
    monkeypatch.setattr(module, "SPARE", -1_000_000)
    thresholds, left = gc.get_threshold(), [[]]
    left[0].append(left)
    collector = Collector()
    collector.begin(MANY)
    del left
    before = gc.get_freeze_count()
    found = collector.look(MANY)
    gc.set_threshold(*thresholds)
    assert found is not None
    assert found.objects >= 2
    assert gc.get_freeze_count() > before / 2  # and excluded again


@pytest.mark.usefixtures("always_counted")
@pytest.mark.parametrize(
    ("load", "blocks"),
    [
        (MANY, module.OF_A_ROUTE),
        (replace(MANY, routes=3), 3 * module.OF_A_ROUTE),
        (replace(MANY, sessions=MANY.sessions + 2), module.OF_A_ROUTE + 2 * module.OF_A_SESSION),
        (replace(MANY, sessions=MANY.sessions - 2), module.OF_A_ROUTE - 2 * module.OF_A_SESSION_LESS),
        (replace(MANY, kept=3 * module.BYTES_A_BLOCK), module.OF_A_ROUTE + 3),
    ],
)
def test_routes_sessions_and_what_they_keep_explain_memory(collector, monkeypatch, load, blocks):
    there = 1000
    monkeypatch.setattr(module.sys, "getallocatedblocks", lambda: there)
    collector.begin(MANY)
    for more, looked_at in ((0, NEW), (1, ALL)):
        there = 1000 + module.SPARE + blocks + more
        with looks() as seen:
            collector.look(load)
        assert seen[-1] == looked_at


def test_blocks_are_counted_where_the_process_has_got_more_memory(collector, monkeypatch):
    has, counted = 100 << 20, []
    monkeypatch.setattr(module, "memory", lambda: has)
    monkeypatch.setattr(module.sys, "getallocatedblocks", lambda: len(counted.append(has) or counted))
    collector.begin(MANY)
    counted.clear()
    for more in (module.COUNT_AGAIN - 1, 1, module.COUNT_AGAIN - 1, -module.COUNT_AGAIN, 1, module.COUNT_AGAIN):
        has += more
        collector.look(MANY)
    assert counted == [(100 << 20) + module.COUNT_AGAIN, (100 << 20) + 2 * module.COUNT_AGAIN]


def test_blocks_are_counted_each_time_where_the_kernel_does_not_say(collector, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_STATM", tmp_path / "absent")
    monkeypatch.setattr(module, "SPARE", -1_000_000)
    assert module.memory() is None
    assert [collector.look(MANY) is not None for _ in range(2)] == [True, True]


def test_what_the_process_has_is_what_the_kernel_says():
    before = module.memory()
    kept = bytes(64 << 20)  # of which nothing is used
    assert 64 << 20 <= module.memory() - before <= 80 << 20
    del kept
