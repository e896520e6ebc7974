"""A real Prometheus and real guards: every alert fires where its fault is, and nowhere else; every query of the dashboard answers."""

import contextlib
import re

import pytest

from tests.alerts.rules import ALERTS, RULES, alerts, hurried
from tests.alerts.stage import EXPECTED, scene
from tests.integration.haproxy import wait_until

FIRE_S = 35.0
LIVE_S = 120  # for one test: starting, and as long as every alert may take


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    yield from scene(tmp_path_factory.mktemp("alerts"))


def test_the_live_rules_differ_from_those_that_are_shipped_in_that_a_minute_is_a_second():
    shipped = RULES.read_text()
    durations = re.compile(r"\b(\d+)(ms|[smhdwy])\b(?! )")
    anything = re.compile(r"\b\d+[ms]\b")
    assert anything.sub("D", hurried(shipped)) == anything.sub("D", shipped)
    assert {unit for _, unit in durations.findall(shipped)} == {"m"}
    for name, rule in alerts(hurried(shipped)).items():
        assert rule.get("for") == (ALERTS[name]["for"].replace("m", "s") if "for" in ALERTS[name] else None)


@pytest.mark.timeout(LIVE_S)
def test_every_alert_fires_where_its_fault_is_and_nowhere_else(live):
    prometheus = live.prometheus
    with contextlib.suppress(AssertionError):  # the next line says which does not
        wait_until(lambda: prometheus.firing() >= EXPECTED, "every alert about a route fires", FIRE_S)
    assert prometheus.firing() == EXPECTED
    live.broken.terminate()
    down = ("SpoeGuardDown", live.broken.admin)
    wait_until(lambda: down in prometheus.firing(), "a guard that is gone is reported", FIRE_S)
    assert {name for name, _ in EXPECTED | {down}} == ALERTS.keys()
