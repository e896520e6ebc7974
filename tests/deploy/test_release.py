"""`.ci/release`: nothing is released under a tag that does not fit, and the page of a release says what changed."""

import shutil
import subprocess
import sys

import pytest

from spoe_guard import __version__
from tests import urls
from tests.peers import ROOT

REPOSITORY = urls.REPOSITORY.removeprefix("https://github.com/")


@pytest.fixture
def tree(tmp_path):
    """What the script reads, as it is on the day of a release."""
    for name in (".ci/release", "pyproject.toml", "CHANGELOG.md", "spoe_guard/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    changelog = (tmp_path / "CHANGELOG.md").read_text()
    (tmp_path / "CHANGELOG.md").write_text(changelog.replace(f"[{__version__}] - unreleased", f"[{__version__}] - 2031-02-03", 1))
    return tmp_path


def release(tree, *arguments):
    command = [sys.executable, tree / ".ci/release", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


def test_a_tag_that_fits_gives_version_and_registry(tree):
    done = release(tree, f"v{__version__}", REPOSITORY)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"version={__version__}", f"registry={urls.REGISTRY}"]


def test_the_registry_is_named_in_small_letters(tree):
    path = tree / "pyproject.toml"
    path.write_text(urls.owned_by("Acme", path.read_text()))
    assert "registry=ghcr.io/acme\n" in release(tree, f"v{__version__}", "Acme/spoe-guard").stdout


@pytest.mark.parametrize(
    ("tag", "repository", "reason"),
    [
        ("v9.9.9", REPOSITORY, f"the tag is v9.9.9, and the tree is version {__version__}"),
        (__version__, REPOSITORY, f"the tag is {__version__}, and"),
        (f"v{__version__}", "somebody/else", "and this is somebody/else: change it, then `make urls`"),
    ],
)
def test_a_tag_that_does_not_fit_is_refused_in_one_line(tree, tag, repository, reason):
    done = release(tree, tag, repository)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert reason in done.stderr


def test_a_version_that_the_changelog_does_not_date_is_refused(tree):
    path = tree / "CHANGELOG.md"
    path.write_text(path.read_text().replace("2031-02-03", "unreleased"))
    done = release(tree, f"v{__version__}", REPOSITORY)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"CHANGELOG.md calls {__version__} unreleased" in done.stderr


def test_the_notes_are_that_versions_chapter_and_no_other(tree):
    path = tree / "CHANGELOG.md"
    path.write_text("# Changelog\n\n## [2.0.0] - 2031-01-01\n\nnew\n\n## [1.0.0] - 2030-01-01\n\n### Added\n- old\n")
    assert release(tree, "--notes", "2.0.0").stdout == "new\n"
    assert release(tree, "--notes", "1.0.0").stdout == "### Added\n- old\n"
    missing = release(tree, "--notes", "1.0")
    assert (missing.returncode, missing.stderr) == (2, "release: CHANGELOG.md has no chapter of 1.0\n")
