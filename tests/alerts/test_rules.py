"""The alert rules, without a Prometheus: promtool evaluates each one, and none fires without its fault."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from spoe_guard.core.terms.anomalies import CATALOGUE, Anomaly
from spoe_guard.core.terms.events import DialFailure, EndReason, UnansweredReason
from spoe_guard.observe.consequence import Consequence
from spoe_guard.observe.live.states import State
from tests.alerts.rules import ALERTS, RULES, runbook_anchors
from tests.peers import ROOT, need
from tests.urls import PAGES

PLAYED = sorted((Path(__file__).parent / "played").glob("*.yml"))
DEADLY = {each.value for each, row in CATALOGUE.items() if row.ends} - {
    "disconnect_bad_ids"
}  # of which a connection stands still
AFTERMATH = {"disconnect_missing", "notify_unanswered"}  # what the guard counts once the agent is gone or did not answer


def promtool(*arguments: str | Path) -> None:
    done = subprocess.run([need("promtool", "prometheus"), *arguments], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_its_configuration_and_the_rules():
    promtool("check", "config", "--lint-fatal", ROOT / "config/prometheus/prometheus.yml")


@pytest.mark.parametrize("played", PLAYED, ids=lambda path: path.stem)
def test_each_alert_fires_where_it_must_and_not_one_step_before(played):
    promtool("test", "rules", played)


def test_no_alert_is_left_out_of_what_is_played():
    told = {case["alertname"] for path in PLAYED for group in yaml.safe_load(path.read_text())["tests"]
            for case in group.get("alert_rule_test", [])}  # fmt: skip
    assert told == ALERTS.keys()


def test_every_alert_leads_to_its_place_in_the_runbook():
    anchors = runbook_anchors()
    for name, rule in ALERTS.items():
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert (page, anchor) == (f"{PAGES}/docs/runbook.md", name.lower())  # absolute: it is read in a message
        assert anchor in anchors


def test_every_alert_says_how_bad_it_is():
    assert {rule["labels"]["severity"] for rule in ALERTS.values()} == {"critical", "warning"}


def test_the_deadly_anomalies_are_those_that_killed_a_haproxy():
    died = {
        anomaly
        for line in (ROOT / "docs/hazards.md").read_text().splitlines()
        if "HAProxy dies" in line
        for anomaly in re.findall(r"`([a-z_]+)`", line.split(" | ")[5])
    }
    assert died - AFTERMATH == DEADLY


def test_the_rules_leave_what_an_anomaly_means_to_the_guard():
    rules = RULES.read_text()
    assert not [anomaly.value for anomaly in Anomaly if re.search(rf"\b{anomaly.value}\b", rules)]
    assert "spoe_guard_anomalies_total" not in rules


def test_the_rules_name_only_states_consequences_and_reasons_that_exist():
    known = {
        "state": {each.value for each in State},
        "consequence": {each.value for each in Consequence},
        "reason": {each.value for kind in (UnansweredReason, EndReason, DialFailure) for each in kind},
    }
    named = re.findall(r'\b(state|consequence|reason)=~?"([^"]*)"', RULES.read_text())
    assert {label for label, _ in named} == known.keys()
    assert all(set(values.split("|")) <= known[label] for label, values in named)
