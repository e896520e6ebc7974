"""The wheel of this machine: where it runs, what is in it, and that it guards in a bare root; and which wheels a release has."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.debian import Root
from tests.peers import ROOT

TOOLS = ROOT / ".cache/builds/wheel/env/bin"
PLAYED = Path(__file__).with_name("roundtrip.py")
NEWEST_LIBC = {"bookworm": 36, "trixie": 41}


@pytest.fixture(scope="module")
def needed(tmp_path_factory):
    """The wheels of what the guard needs, by the lock."""
    folder = tmp_path_factory.mktemp("wheels")
    options = ["--quiet", "--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:", "--dest", folder]
    subprocess.run([sys.executable, "-m", "pip", "download", *options, "-r", ROOT / ".ci/locks/runtime.txt"], check=True)
    return folder


@pytest.fixture(scope="module")
def root(wheels_release, tmp_path_factory):
    """A root with Python and venv, and no compiler."""
    with Root.bare(wheels_release, tmp_path_factory.mktemp("wheel") / "root") as root:
        root.run("apt-get", "install", "python3-venv")
        assert root.run("sh", "-c", "command -v cc gcc make", succeeds=False).stdout == ""
        yield root


def test_no_path_of_this_machine_is_searched_for_libraries(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    modules = [str(path) for path in tmp_path.rglob("*.so")]
    assert modules
    said = [subprocess.check_output([TOOLS / "patchelf", "--print-rpath", each], text=True).strip() for each in modules]
    assert set(said) == {""}


def test_it_says_which_libc_it_needs_and_brings_no_library(wheel, wheels_release):
    needs = [int(minor) for minor in re.findall(r"manylinux_2_(\d+)_", wheel.name)]
    assert needs, wheel.name
    assert min(needs) <= NEWEST_LIBC[wheels_release]
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if ".libs/" in name]


def test_it_guards_in_a_bare_root(wheel, needed, root):
    packages = [root.put(file) for file in (wheel, *needed.iterdir())]
    root.run("python3", "-m", "venv", "/opt/spoe-guard")
    root.run("/opt/spoe-guard/bin/pip", "install", "--no-index", *packages)
    assert root.said("/opt/spoe-guard/bin/python", root.put(PLAYED), "/opt/spoe-guard/bin/spoe-guard") == (
        f"spoe-guard {wheel.name.split('-')[1]}: compiled, checked, one NOTIFY and its ACK"
    )


def test_a_release_has_wheels_for_each_python_libc_and_machine(wheel):
    """As cibuildwheel understands pyproject.toml."""
    said = subprocess.run(
        [TOOLS / "cibuildwheel", "--print-build-identifiers", "--platform", "linux", "--archs", "x86_64,aarch64"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    ).stdout
    pythons, libcs, machines = ("cp311", "cp312", "cp313", "cp314"), ("manylinux", "musllinux"), ("x86_64", "aarch64")
    assert sorted(said.split()) == sorted(
        f"{python}-{libc}_{machine}" for python in pythons for libc in libcs for machine in machines
    )
