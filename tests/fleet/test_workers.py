"""A guard with many routes and several workers can be looked at, and neither parent nor worker stands still for whoever looks."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from tests.fleet.figures import in_all_ms, longest_ms
from tests.fleet.fleet import fleet, measured
from tests.fleet.test_fleet import TURN_MS

WORKERS = 2
SESSIONS = 2000
HEARD = {"numbers", "heard", "prepare", "use"}


def longest_of(lines: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """By what was done, a worker's longest step in milliseconds, without the garbage collector."""
    found: dict[str, float] = {}
    for line in lines:
        found[line["what"]] = max(found.get(line["what"], 0.0), line["longest_ms"] - line["collecting_ms"])
    return found


def test_a_small_fleet_of_workers_is_watched_in_each_process():
    with fleet(10, 30, WORKERS) as made:
        status = json.loads(made.get("/api/status"))
        seen = measured(made, 2)
        of_workers = made.seen_by_workers()
    assert status["guard"]["workers"]["count"] == WORKERS
    assert sum(route["now"]["sessions"] for route in status["routes"]) == 30
    assert {what: (len(told["cpu"]), len(told["longest"])) for what, told in seen.items()} == {
        "/metrics": (2, 2), "/api/status": (2, 2), "reload": (1, 1)
    }  # fmt: skip
    assert longest_of(of_workers).keys() == HEARD


@pytest.mark.measure
@pytest.mark.timeout(900)
def test_a_look_at_a_thousand_routes_of_workers_holds_no_loop():
    with fleet(1000, SESSIONS, WORKERS) as made:
        seen = measured(made, 4)
        of_workers = longest_of(made.seen_by_workers())
    for what, told in seen.items():
        print(f"parent, {what}: {in_all_ms(told):.0f} ms of the loop, longest turn {longest_ms(told):.1f} ms")
    for what, longest in of_workers.items():
        print(f"worker, {what}: longest step {longest:.1f} ms")
    assert of_workers.keys() == HEARD
    assert max(map(longest_ms, seen.values())) < TURN_MS
    assert max(of_workers.values()) < TURN_MS
