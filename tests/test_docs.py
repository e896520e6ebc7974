"""The documentation agrees with the code."""

import re
from pathlib import Path

import pytest

from spoe_guard.core.terms.anomalies import Anomaly
from spoe_guard.settings.products import PRODUCTS
from tests import docs
from tests.alerts.rules import ALERTS

ROOT = Path(__file__).parent.parent


def test_the_catalogue_page_is_a_view_of_the_catalogue():
    assert docs.ANOMALIES.read_text() == docs.anomalies(), "run `make docs`"


def test_the_page_on_releases_is_a_view_of_the_products():
    assert docs.RELEASES.read_text() == docs.releases(), "run `make docs`"


def test_the_page_on_releases_has_every_release_once():
    rows = re.findall(r"^\| `([a-z-]+)` \| (.+?) \| [a-z-]+ ?[\d.]* \| \d+m?s \|$", docs.releases(), re.MULTILINE)
    assert [(name, version) for name, versions in rows for version in versions.split(", ")] == [
        (name, release.version or "-") for name, product in PRODUCTS.items() for release in product.releases
    ]


def test_the_page_on_repairs_names_only_anomalies_that_exist():
    page = (ROOT / "docs/repairs.md").read_text()
    section = page.split("## The common anomalies", 1)[1].split("\n## ", 1)[0]
    first_cells = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    named = set(re.findall(r"`([a-z_]+)`", " ".join(first_cells)))
    assert named
    assert named <= {anomaly.value for anomaly in Anomaly}


def entries(chapter: str) -> dict[str, str]:
    """Return the text below each heading of a chapter of the runbook."""
    runbook = (ROOT / "docs/runbook.md").read_text()
    text = runbook.split(f"\n## {chapter}\n", 1)[1].split("\n## ", 1)[0]
    _, *parts = re.split(r"^### (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_the_runbook_has_each_anomaly_once_in_the_catalogues_order():
    assert list(entries("Anomalies")) == [anomaly.value for anomaly in Anomaly]


def test_the_runbook_has_each_alert_once_in_order_with_its_severity():
    assert list(entries("Alerts")) == list(ALERTS)
    thresholds = re.findall(r"^\| (SpoeGuard\w+) \| (\w+) \|", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE)
    assert thresholds == [(name, rule["labels"]["severity"]) for name, rule in ALERTS.items()]


@pytest.mark.parametrize("chapter", ["Alerts", "Anomalies"])
def test_each_runbook_entry_has_meaning_effect_remedy_and_who_is_concerned(chapter):
    message = [line for text in entries(chapter).values() for line in text.replace("\n  ", " ").strip().splitlines()]
    labels = [re.match(r"- \*\*([A-Z][a-z ]+):\*\* \S.*\.$", line) for line in message]
    assert all(labels), message[labels.index(None)]
    assert [found[1] for found in labels] == ["Means", "Users feel", "Do", "Concerned"] * len(entries(chapter))


def test_the_runbook_names_only_anomalies_and_alerts_that_exist():
    runbook = (ROOT / "docs/runbook.md").read_text()
    assert set(re.findall(r"\bSpoeGuard[A-Z]\w+", runbook)) <= ALERTS.keys()
    told = set(re.findall(r"[Ss]ee (?:also )?`([a-z]+_[a-z_]+)`", runbook))
    assert told
    assert told <= {anomaly.value for anomaly in Anomaly}
