"""The documentation says what the code does."""

import re
from pathlib import Path

from spoe_guard.core.anomalies import Anomaly
from tests import docs

ROOT = Path(__file__).parent.parent


def test_the_catalogue_page_is_a_view_of_the_catalogue():
    assert docs.ANOMALIES.read_text() == docs.anomalies(), "run `make docs`"


def test_the_readme_names_only_anomalies_that_exist():
    readme = (ROOT / "README.md").read_text()
    section = readme.split("## What it does about what", 1)[1].split("\n## ", 1)[0]
    first_cells = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    named = set(re.findall(r"`([a-z_]+)`", " ".join(first_cells)))
    assert named
    assert named <= {anomaly.value for anomaly in Anomaly}


def test_every_file_the_readme_points_at_exists():
    readme = (ROOT / "README.md").read_text()
    links = {link for link in re.findall(r"\]\(([^)#]+)\)", readme) if "://" not in link}
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]
