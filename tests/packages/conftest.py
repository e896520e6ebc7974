"""What a release is made of, built once: the source distribution, the wheel of this Python, the Debian packages."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.debian import Root
from tests.integration.image import pip_of_this_machine
from tests.peers import ROOT, need, need_root

# The release whose Python has this version, and so takes the wheel that is built here.
OF_PYTHON = {(3, 11): "bookworm", (3, 13): "trixie"}
# The first test builds all there is. Three minutes of that are compilers, and what else the machine does multiplies them.
BUILT_WITHIN_S = 3600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.package)
            item.add_marker(pytest.mark.timeout(BUILT_WITHIN_S))


def built(script: str, *arguments: str) -> None:
    done = subprocess.run([ROOT / script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


@pytest.fixture(scope="session")
def wheel() -> Path:
    """The wheel of the Python that runs the tests."""
    built(".ci/wheel")
    [wheel] = (ROOT / "dist").glob(f"spoe_guard-*-cp{sys.version_info[0]}{sys.version_info[1]}-*.whl")
    return wheel


@pytest.fixture(scope="session")
def wheels_release() -> str:
    """The Debian release into which that wheel can be installed."""
    if (release := OF_PYTHON.get(sys.version_info[:2])) is None:
        pytest.skip(f"no Debian release has Python {sys.version_info[0]}.{sys.version_info[1]}: make venv PYTHON=python3.11")
    return release


@pytest.fixture(scope="session")
def debs(wheel: Path) -> dict[str, Path]:
    """The Debian package of each release."""
    need_root("build in a root of a Debian release")
    need("debootstrap")
    built(".ci/deb/build")
    return {release: next((ROOT / "dist").glob(f"spoe-guard_*~deb{number}_*.deb")) for release, number in RELEASES.items()}


RELEASES = {"bookworm": 12, "trixie": 13}


def with_pip_of_this_machine(root: Root, scratch: Path) -> Root:
    """Give pip in ``root`` the configuration that it has outside; what a user has there is no part of what is tested."""
    for volume in pip_of_this_machine(scratch):
        source, target, _ = volume.removeprefix("--volume=").split(":")
        into = root.path / target.lstrip("/")
        into.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "--recursive", "--dereference", source, into], check=True)
    return root
