"""A real Prometheus and real guards: every alert fires for its fault and ends with it; every query of the dashboard has data."""

import contextlib
import os
import re
import signal

import pytest

from tests.alerts.dashboard import FLEET, ROUTES
from tests.alerts.rules import ALERTS, IN_SECONDS, RULES, alerts, hurried
from tests.alerts.stage import BROKEN, ENFORCE, EXPECTED, OBSERVE, SCRAPE_S, SHORT, scene
from tests.integration.haproxy import wait_until

FIRE_S = 60.0
RANGE_S = 30
CLEAR_S = 110.0  # some stay for an hour, which is a minute here
LIVE_S = 120  # for one test: starting, and as long as every alert may take
RESTARTS = 3


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    yield from scene(tmp_path_factory.mktemp("alerts"))


def test_the_live_rules_are_the_shipped_ones_with_seconds_for_minutes():
    shipped = RULES.read_text()
    durations = re.compile(r"\b(\d+)(ms|[smhdwy])\b(?! )")
    anything = re.compile(r"\b\d+[ms]\b")
    assert anything.sub("D", hurried(shipped)) == anything.sub("D", shipped.replace(IN_SECONDS, " * 1"))
    assert shipped.count(" * ") == shipped.count(IN_SECONDS)
    assert {unit for _, unit in durations.findall(shipped)} == {"m"}
    for name, rule in alerts(hurried(shipped)).items():
        assert rule.get("for") == (ALERTS[name]["for"].replace("m", "s") if "for" in ALERTS[name] else None)


@pytest.mark.timeout(LIVE_S)
def test_every_alert_fires_where_its_fault_is_and_nowhere_else(live):
    prometheus = live.prometheus
    with contextlib.suppress(AssertionError):  # the next line says which does not
        wait_until(lambda: prometheus.firing() >= EXPECTED, "every alert about a route fires", FIRE_S)
    assert prometheus.firing() == EXPECTED


@pytest.mark.timeout(LIVE_S)
@pytest.mark.parametrize(
    ("board", "picked"),
    [(ROUTES, {}), (ROUTES, {"route": ["healthy", "leaving"]}), (FLEET, {})],
    ids=["all", "two routes", "fleet"],
)
def test_every_query_of_a_dashboard_returns_data(live, board, picked):
    def answers(query):
        asked = board.filled_in(query.expression, picked, SCRAPE_S, RANGE_S)
        if query.instant:
            found = live.prometheus.ask("query", query=asked)["result"]
            return any(float(each["value"][1]) > 0 for each in found)
        now = float(live.prometheus.ask("query", query="time()")["result"][1])
        found = live.prometheus.ask("query_range", query=asked, start=str(now - RANGE_S), end=str(now), step="1")["result"]
        return any(value != "NaN" for each in found for _, value in each["values"])

    def all_answered(left):
        left[:] = [query for query in left if not answers(query)]
        return not left

    left = list(board.queries())
    with contextlib.suppress(AssertionError):  # the next line says which do not
        wait_until(lambda: all_answered(left), "every query has data", FIRE_S)
    assert not left


@pytest.mark.timeout(LIVE_S)
def test_the_dashboard_offers_the_guards_and_their_routes_to_choose_from(live):
    def values(name):
        asked = re.fullmatch(r"label_values\((.+), (\w+)\)", ROUTES.variables[name]["query"]["query"])
        matching = {"match[]": ROUTES.filled_in(asked[1], {}, SCRAPE_S, RANGE_S)}
        return set(live.prometheus.ask(f"label/{asked[2]}/values", **matching))

    wait_until(lambda: values("route") == {*ENFORCE, *SHORT, *OBSERVE, *BROKEN}, "every route can be chosen", FIRE_S)
    assert values("job") == {"spoe-guard"}
    assert len(values("instance")) == 4


def test_prometheus_takes_every_scrape_as_openmetrics_without_complaint(live):
    def targets():
        return live.prometheus.ask("targets")["activeTargets"]

    wait_until(lambda: all(target["health"] == "up" for target in targets()), "every guard is scraped", FIRE_S)
    assert [target["lastError"] for target in targets()] == [""] * 4
    families = live.prometheus.ask("metadata")
    assert families["spoe_guard_anomalies"][0]["type"] == "counter"  # by the family's name, which in the text format has _total
    assert "spoe_guard_anomalies_total" not in families
    assert live.prometheus.complaints() == []


def report(live, name, guard):
    """Wait for an alert about a guard, not one of its routes; return its name."""
    wait_until(lambda: (name, guard.admin) in live.prometheus.firing(), f"{name} fires", FIRE_S)
    return name


def started_at(live, guard):
    """Return since when Prometheus knows a guard to run, None if it does not."""
    found = live.prometheus.ask("query", query=f'process_start_time_seconds{{instance="{guard.admin}"}}')["result"]
    return found[0]["value"][1] if found else None


@pytest.mark.timeout(2 * LIVE_S)
def test_faults_of_a_guard_are_reported_and_every_alert_ends(live):
    wait_until(lambda: live.prometheus.ask("query", query="spoe_guard_worker_restarts_total")["result"], "it was scraped", FIRE_S)
    live.file.write_text("workres: 2")
    live.several.process.send_signal(signal.SIGHUP)
    reported = {report(live, "SpoeGuardReloadRefused", live.several)}
    os.kill(live.several.lines("listening")[0]["workers"]["1"], signal.SIGKILL)
    before = started_at(live, live.broken)
    live.broken.terminate()
    reported |= {report(live, "SpoeGuardWorkerDied", live.several), report(live, "SpoeGuardDown", live.broken)}
    live.file.write_text("")
    for again in range(RESTARTS):
        guard = live.start_again()
        known = {None, before}
        wait_until(lambda known=known: started_at(live, live.broken) not in known, "the guard was scraped", FIRE_S)
        before = started_at(live, live.broken)
        if again + 1 < RESTARTS:
            guard.terminate()
            guard.wait_stopped()
    reported |= {report(live, "SpoeGuardRestarting", live.broken)}
    assert {name for name, _ in EXPECTED} | reported == ALERTS.keys()
    mended_meanwhile = {"SpoeGuardDown"}
    wait_until(lambda: {name for name, _ in live.prometheus.firing()} == ALERTS.keys() - mended_meanwhile, "all fire", FIRE_S)
    live.mend()
    live.several.process.send_signal(signal.SIGHUP)
    with contextlib.suppress(AssertionError):  # the next line says which is not
        wait_until(lambda: not live.prometheus.firing(), "no alert fires any more", CLEAR_S)
    assert not live.prometheus.firing()
