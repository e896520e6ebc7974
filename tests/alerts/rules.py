"""The committed alert rules and their page; and a copy of the rules with seconds for minutes, so that tests can see them fire."""

import re
from typing import Any

import yaml

from tests.peers import ROOT

RULES = ROOT / "config/prometheus/rules.yml"
RUNBOOK = ROOT / "docs/runbook.md"

_MINUTES = re.compile(r"\b(\d+)m\b")  # not what is part of a name: increase10m
IN_SECONDS = " * 60"  # behind minutes where PromQL wants a number


def alerts(text: str) -> dict[str, dict[str, Any]]:
    """Return the alerting rules of a rule file, by their names."""
    rules = [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
    return {rule["alert"]: rule for rule in rules if "alert" in rule}


ALERTS = alerts(RULES.read_text())


def hurried(text: str) -> str:
    """Return a rule file with a second in the place of every minute."""
    return _MINUTES.sub(r"\1s", text).replace(IN_SECONDS, " * 1")


def runbook_anchors() -> set[str]:
    """Return what a link into the runbook may lead to: its headings, as every Markdown page names them."""
    headings = re.findall(r"^#+ (.+)$", RUNBOOK.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
