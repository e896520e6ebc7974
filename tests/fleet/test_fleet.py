"""A guard with many routes and sessions can be looked at, and no NOTIFY waits for whoever looks."""

import json
from collections import Counter

import pytest
from prometheus_client.parser import text_string_to_metric_families as parsed

from tests.fleet.figures import HEAD, LOOKS, in_all_ms, longest_ms, looks_ms, rows
from tests.fleet.fleet import collected, fleet, measured

BOTH_MS = 200.0  # /metrics and /api/status
TURN_MS = 5.0


def test_a_small_fleet_is_what_it_says_and_every_look_is_measured():
    with fleet(10, 30) as made:
        found = Counter()
        for family in parsed(made.get("/metrics").decode()):
            for sample in family.samples:
                found[sample.name] += sample.value
        status = json.loads(made.get("/api/status"))
        seen = measured(made, 1)
        collections = collected(made, 1)
        again = json.loads(made.get("/api/status"))
    assert "1" in collections  # of what is new: 30 sessions have begun in the place of others
    assert {
        route["total"]["sessions"] - before["total"]["sessions"]
        for route, before in zip(again["routes"], status["routes"], strict=True)
    } == {3}
    assert found["spoe_guard_connections_active"] == 30
    assert found["spoe_guard_anomalies_total"] > 0
    assert found["spoe_guard_notify_ack_seconds_count"] >= 30
    assert {route["now"]["sessions"] for route in status["routes"]} == {3}
    assert {len(route["history"]["sessions"]) for route in status["routes"]} == {status["points"]}
    assert status["incidents"]
    assert {what: (len(told["cpu"]), len(told["longest"])) for what, told in seen.items()} == {
        "/metrics": (1, 1), "/api/status": (1, 1), "reload": (1, 1)
    }  # fmt: skip


def test_a_row_has_median_and_longest_without_the_collector():
    metrics = {"cpu": [[10.0, 0.0], [60.0, 50.0], [30.0, 0.0]], "longest": [[2.0, 0.5], [50.0, 49.0]], "bytes": 1234}
    status = {"cpu": [[20.0, 0.0]], "longest": [[3.0, 0.0]], "bytes": 5}
    assert len(HEAD) == 6
    assert list(rows({"routes": 1, "pure": {"/metrics": metrics, "/api/status": status}})) == [
        ["/metrics", "10 ms", "1.5 ms", "-", "-", "1,234"],
        ["/api/status", "20 ms", "3.0 ms", "-", "-", "5"],
        ["both looks together", "30 ms", "-", "-", "-", "-"],
    ]


@pytest.mark.measure
@pytest.mark.timeout(900)
def test_a_look_at_a_thousand_routes_keeps_no_notify_waiting():
    with fleet() as made:
        seen = measured(made)
    for what, told in seen.items():
        print(f"{what}: {in_all_ms(told):.0f} ms of the loop, longest turn {longest_ms(told):.1f} ms")
    print(f"both looks together: {looks_ms(seen):.0f} ms")
    assert looks_ms(seen) < BOTH_MS
    assert max(longest_ms(seen[look]) for look in LOOKS) < TURN_MS


@pytest.mark.measure
@pytest.mark.timeout(900)
def test_the_garbage_collector_keeps_no_notify_waiting_while_sessions_come_and_go():
    with fleet() as made:
        seen = collected(made)
    print(", ".join(f"generation {which}: {count} times, {most_ms} ms at most" for which, (count, most_ms) in seen.items()))
    assert "2" not in seen
    assert max(most_ms for _count, most_ms in seen.values()) < TURN_MS
