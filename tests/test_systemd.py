"""The units of config/systemd, as systemd itself judges them."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.peers import ROOT, need

UNITS = ROOT / "config/systemd"
EXPOSURE = 20  # in tenths: below 2.0
INSTALLED = "/opt/spoe-guard/bin/spoe-guard"


def analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
    program = need("systemd-analyze", "systemd")
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=20, check=False)


@pytest.fixture
def installed(tmp_path) -> Path:
    """The units as they are committed, but for where spoe-guard is."""
    for unit in UNITS.iterdir():
        text = unit.read_text().replace(INSTALLED, str(Path(sys.executable).with_name("spoe-guard")))
        (tmp_path / unit.name).write_text(text)
    return tmp_path


def test_systemd_finds_nothing_wrong_with_the_units(installed):
    done = analyze("verify", installed / "spoe-guard.service", installed / "spoe-guard.socket")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_systemd_finds_nothing_wrong_with_the_service_as_a_template(installed):
    done = analyze("verify", (installed / "spoe-guard.service").rename(installed / "spoe-guard@.service"))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_service_may_do_so_little_that_its_exposure_is_below_2():
    done = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", UNITS / "spoe-guard.service")
    assert done.returncode == 0, done.stdout


def test_a_reload_is_checked_with_the_file_that_runs():
    lines = (UNITS / "spoe-guard.service").read_text().splitlines()
    [run] = [line for line in lines if line.startswith("ExecStart=")]
    [check, hup] = [line for line in lines if line.startswith("ExecReload=")]
    assert check == f"ExecReload=/bin/sh -c '{run.removeprefix('ExecStart=').replace(' run ', ' check ')} > /dev/null'"
    assert hup == "ExecReload=/bin/kill -HUP $MAINPID"
