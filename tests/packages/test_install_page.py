"""The commands of docs/install.md, as they stand there, in bare roots of Debian 12, whose Python refuses a plain pip install."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.debian import Root
from tests.integration.image import git_tree
from tests.packages.conftest import with_pip_of_this_machine
from tests.peers import ROOT

PAGE = ROOT / "docs/install.md"
RELEASE = "bookworm"


def blocks(heading: str) -> list[str]:
    """Return the shell commands below a heading."""
    chapter = PAGE.read_text().split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^```sh\n(.*?)^```$", chapter, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    scratch = tmp_path_factory.mktemp("install")
    return with_pip_of_this_machine(Root.bare(RELEASE, scratch / "root"), scratch)


@pytest.fixture
def root(bare, tmp_path):
    return bare.copy(tmp_path / "root")


def play(root: Root, folder: Path, commands: str, **settings: str) -> str:
    """Run ``commands`` in the root, in a folder that is like ``folder``; return what they print."""
    subprocess.run(["cp", "--recursive", "--dereference", folder, root.path / "src"], check=True)
    assigned = [f"{name}={value}" for name, value in settings.items()]
    return root.said("env", *assigned, "sh", "-e", "-c", f"cd /src\n{commands}")


@pytest.fixture
def download(wheel, wheels_release, tmp_path):
    """A folder in which somebody has the wheel."""
    if wheels_release != RELEASE:
        pytest.skip(f"the wheel is for {wheels_release}: make venv PYTHON=python3.11")
    folder = tmp_path / "download"
    folder.mkdir()
    (folder / wheel.name).symlink_to(wheel)
    return folder


@pytest.mark.parametrize("way", [0, 1], ids=["pipx", "venv"])
def test_a_wheel_is_installed_as_the_page_says(root, download, way):
    assert "build      compiled" in play(root, download, blocks("The wheel")[way]).splitlines()


def test_a_plain_pip_install_is_refused_as_the_page_says(root, download):
    root.run("apt-get", "install", "python3-pip")
    subprocess.run(["cp", "--recursive", "--dereference", download, root.path / "src"], check=True)
    done = root.run("sh", "-c", "pip install /src/spoe_guard-*.whl", succeeds=False)
    assert done.returncode != 0
    assert "externally-managed-environment" in done.stderr


def test_the_source_is_installed_as_the_page_says(root, tmp_path):
    """Not compiled, which takes minutes and is tested elsewhere."""
    (tmp_path / "tree").mkdir()
    git_tree(tmp_path / "tree")
    [commands] = blocks("From the source")
    assert "build      pure" in play(root, tmp_path / "tree", commands, SPOE_GUARD_COMPILE="off").splitlines()


def test_the_package_is_installed_as_the_page_says(root, debs, tmp_path):
    folder = tmp_path / "download"
    folder.mkdir()
    (folder / debs[RELEASE].name).symlink_to(debs[RELEASE])
    commands = blocks("The Debian package")[0].replace("_amd64.deb", f"_{debs[RELEASE].stem.rpartition('_')[2]}.deb")
    play(root, folder, commands)
    assert "build      compiled" in root.said("spoe-guard", "version").splitlines()
