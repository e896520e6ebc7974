"""The commands of docs/install.md and of the README's chapter, as they stand there, in bare roots of Debian 12.

Its Python refuses a plain pip install.
"""

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


def chapter(page: Path, heading: str) -> str:
    """Return what stands below a heading of a page."""
    return page.read_text().split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def blocks(heading: str) -> list[str]:
    """Return the shell commands below a heading of the page on installing."""
    return re.findall(r"^```sh\n(.*?)^```$", chapter(PAGE, heading), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    scratch = tmp_path_factory.mktemp("install")
    with Root.bare(RELEASE, scratch / "root") as root:
        yield with_pip_of_this_machine(root, scratch)


@pytest.fixture
def root(bare, tmp_path):
    with bare.copy(tmp_path / "root") as root:
        yield root


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


def test_the_source_is_installed_as_the_readme_says(root, tmp_path):
    """With pipx, which is not compiled either; in an environment by the commands of the page."""
    (tmp_path / "tree").mkdir()
    git_tree(tmp_path / "tree")
    said = chapter(ROOT / "README.md", "Install")
    [commands] = blocks("From the source")
    assert re.findall(r"`(python3 -m venv [^`]+)`", said) == [" && ".join(commands.splitlines()[1:3])]
    [pipx] = re.findall(r"^pipx install \.(?= )", said, re.MULTILINE)
    root.run("apt-get", "install", "pipx")
    version = play(root, tmp_path / "tree", f"{pipx}\n~/.local/bin/spoe-guard version", SPOE_GUARD_COMPILE="off")
    assert "build      pure" in version.splitlines()


def test_the_package_is_installed_as_the_page_says(root, debs, tmp_path):
    folder = tmp_path / "download"
    folder.mkdir()
    (folder / debs[RELEASE].name).symlink_to(debs[RELEASE])
    commands = blocks("The Debian package")[0].replace("_amd64.deb", f"_{debs[RELEASE].stem.rpartition('_')[2]}.deb")
    play(root, folder, commands)
    assert "build      compiled" in root.said("spoe-guard", "version").splitlines()
