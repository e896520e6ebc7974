"""The runbook's entries on the admin address: all are there, as HTML, and lead on to each other."""

import re

import pytest

from spoe_guard.core.terms.anomalies import Anomaly
from spoe_guard.observe.live.runbook import PAGES, Runbook, anchor
from tests.alerts.rules import ALERTS, runbook_anchors
from tests.observe.live.scenes import HOSTILE
from tests.peers import ROOT
from tests.urls import PAGES as REPOSITORY

RUNBOOK = Runbook()


def page(name: str) -> str:
    found = RUNBOOK.page(name)
    assert found is not None
    return found.decode()


def test_every_heading_has_a_page_and_every_alert_and_anomaly_its_heading():
    assert RUNBOOK.entries.keys() == runbook_anchors()
    assert {name.lower() for name in ALERTS} | {anomaly.value for anomaly in Anomaly} <= RUNBOOK.entries.keys()


@pytest.mark.parametrize("name", RUNBOOK.entries)
def test_an_entry_is_one_section_whose_links_lead_somewhere(name):
    text = page(name)
    assert re.findall(r"<h\d>", text) == ["<h1>"]
    assert "**" not in text
    for link in re.findall(r'href="([^"]*)"', text):
        if link.startswith("/runbook/"):
            assert link.removeprefix("/runbook/") in RUNBOOK.entries, link
        elif link.startswith(PAGES):
            assert (ROOT / "docs" / link.removeprefix(f"{PAGES}/").partition("#")[0]).is_file(), link
        else:
            assert link in {"/", "/live.css", "/icon.svg"} or link.startswith("https://"), link


def test_other_pages_are_those_of_the_repository():
    assert f"{REPOSITORY}/docs" == PAGES


@pytest.mark.parametrize("name", ["", "nothing", "../runbook", "runt_frame/", *HOSTILE])
def test_there_is_no_other_page(name):
    assert RUNBOOK.page(name) is None


def test_a_heading_is_named_as_on_every_markdown_page():
    assert anchor("HAProxy logs st=1, the guard shows nothing") == "haproxy-logs-st1-the-guard-shows-nothing"
