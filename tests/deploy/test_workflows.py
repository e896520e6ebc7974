"""GitHub's workflows: actionlint takes them, each job may do what it needs alone, and no action can change behind its name."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import urls
from tests.deploy.tools import ACTIONLINT
from tests.peers import ROOT, missing

FILES = sorted((ROOT / ".github/workflows").glob("*.yml"))
PINNED = re.compile(r"uses: (?P<action>[\w.-]+/[\w./-]+)@(?P<commit>[0-9a-f]{40}) # v\d+\.\d+\.\d+$", re.MULTILINE)
OWN = re.compile(r"uses: \./\.github/workflows/[\w-]+\.yml$", re.MULTILINE)
# Of which release actionlint knows the inputs, the newest of each.
KNOWN = {
    "actions/checkout": "v6",
    "actions/deploy-pages": "v4",
    "actions/download-artifact": "v7",
    "actions/setup-python": "v6",
    "actions/upload-artifact": "v6",
    "actions/upload-pages-artifact": "v4",
    "docker/build-push-action": "v6",
    "docker/login-action": "v3",
    "docker/setup-buildx-action": "v3",
    "pypa/gh-action-pypi-publish": "release/v1",
}
# The inputs of those that it does not know, as far as they are used; from the action.yml of the commit.
INPUTS = {
    "actions/attest": {
        "subject-path",
        "subject-name",
        "subject-digest",
        "sbom-path",
        "push-to-registry",
        "create-storage-record",
    },
    "pypa/cibuildwheel": {"output-dir"},
}
# Whatever a job may write, and which jobs that is.
MAY_WRITE = {
    ("release.yml", "pypi"): {"id-token"},
    ("release.yml", "image"): {"packages", "id-token", "attestations"},
    ("release.yml", "index"): {"packages", "id-token", "attestations"},
    ("release.yml", "chart"): {"packages", "id-token", "attestations"},
    ("release.yml", "files"): {"contents", "id-token", "attestations"},
    ("release.yml", "site"): {"pages", "id-token"},
}

each_file = pytest.mark.parametrize("file", FILES, ids=[file.name for file in FILES])


def read(file: Path) -> dict[str, Any]:
    return yaml.load(file.read_text(), Loader=yaml.BaseLoader)  # `on` is a word here


def jobs() -> list[tuple[str, str, dict[str, Any]]]:
    """Return every job, with its file's name and its own."""
    return [(file.name, name, job) for file in FILES for name, job in read(file)["jobs"].items()]


def steps() -> list[dict[str, Any]]:
    return [step for _, _, job in jobs() for step in job.get("steps", [])]


def actionlint(*files: Path) -> str:
    """Return what actionlint has against workflows: nothing, if it takes them."""
    if not ACTIONLINT.exists():
        missing("no actionlint", "make helm")
    command = [ACTIONLINT, "-no-color", "-shellcheck=", "-pyflakes=", *files]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False).stdout


def released(text: str) -> str:
    """Return a workflow with a release of each action in the place of the commit: actionlint knows inputs by that."""
    return PINNED.sub(lambda found: f"uses: {found['action']}@{KNOWN.get(found['action'], 'v1')}", text)


def test_actionlint_has_nothing_against_the_workflows():
    assert FILES
    assert actionlint(*FILES) == ""


def test_every_action_gets_only_inputs_that_it_has(tmp_path):
    for file in FILES:
        (tmp_path / file.name).write_text(released(file.read_text()))
    assert actionlint(*tmp_path.glob("*.yml")) == ""
    used = [(step["uses"].partition("@")[0], step.get("with", {}).keys()) for step in steps() if "uses" in step]
    assert {action for action, _ in used} == KNOWN.keys() | INPUTS.keys()
    assert all(inputs <= INPUTS[action] for action, inputs in used if action in INPUTS)


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("runs-on: ubuntu-24.04", "runs-on: ubuntu-12.04", 'label "ubuntu-12.04" is unknown'),
        ("${{ needs.fit.outputs.version }}", "${{ needs.fit.outputs.verzion }}", 'property "verzion" is not defined'),
        ("packages: write", "packages: push", '"push" is invalid as permission of scope "packages"'),
        ("needs: [fit, ci]", "needs: [fit, cy]", 'needs job "cy" which does not exist'),
        ("persist-credentials: false", "persist-credential: false", 'input "persist-credential" is not defined'),
    ],
)
def test_actionlint_finds_what_is_wrong(right, wrong, message, tmp_path):
    text = released((ROOT / ".github/workflows/release.yml").read_text())
    assert right in text
    (tmp_path / "release.yml").write_text(text.replace(right, wrong, 1))
    assert message in actionlint(tmp_path / "release.yml")


@each_file
def test_every_action_is_named_by_the_commit_of_a_release(file):
    used = re.findall(r"uses: .*", file.read_text())
    assert used
    assert [line for line in used if not PINNED.fullmatch(line) and not OWN.fullmatch(line)] == []


def test_an_action_is_at_one_commit_in_all_workflows():
    found = {one.groups() for file in FILES for one in PINNED.finditer(file.read_text())}
    assert len({action for action, _ in found}) == len(found)


@each_file
def test_a_workflow_may_do_nothing_but_what_a_job_says(file):
    assert read(file)["permissions"] == {}
    assert all("permissions" in job for job in read(file)["jobs"].values())


def test_only_what_releases_may_write():
    for file, name, job in jobs():
        writes = {scope for scope, what in job["permissions"].items() if what == "write"}
        assert writes == MAY_WRITE.get((file, name), set()), f"{file}: {name}"
        assert set(job["permissions"].values()) <= {"read", "write"}
    assert {(file, name) for file, name, _ in jobs()} >= MAY_WRITE.keys()


def test_only_a_tag_of_a_version_releases():
    assert read(ROOT / ".github/workflows/release.yml")["on"] == {"push": {"tags": ["v*"]}}
    released = read(ROOT / ".github/workflows/release.yml")["jobs"]
    assert all(name == "fit" or "fit" in job["needs"] for name, job in released.items())
    assert all("ci" in job["needs"] for name, job in released.items() if name in {"pypi", "image", "site"})


def test_every_job_ends_by_itself():
    for file, name, job in jobs():
        assert "uses" in job or int(job["timeout-minutes"]) <= 120, f"{file}: {name}"


def test_no_credentials_are_left_in_a_checkout():
    checkouts = [step for step in steps() if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert all(step["with"]["persist-credentials"] == "false" for step in checkouts)


def test_a_script_gets_what_others_chose_by_its_environment_alone():
    """What stands in ${{ }} becomes part of the script: a branch's name could be a command."""
    scripts = [step["run"] for step in steps() if "run" in step]
    assert scripts
    assert [script for script in scripts if "${{" in script] == []


@each_file
def test_a_script_ends_with_the_first_command_that_fails(file):
    """GitHub runs what is said to be bash with -e and pipefail, anything else without."""
    assert read(file)["defaults"] == {"run": {"shell": "bash"}}


def test_every_make_target_and_file_that_a_workflow_names_exists():
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for script in (step["run"] for step in steps() if "run" in step):
        for words in re.findall(r"\bmake((?: [a-z][a-z-]*)+)", script):
            assert set(words.split()) <= targets
        assert all((ROOT / path).exists() for path in re.findall(r"(?<![\w/])(?:\.ci|config|tests)/[\w./-]*\w", script))
    for file in FILES:
        for paths in [read(file)["on"].get("pull_request") or {}]:
            assert all("*" in path or (ROOT / path).exists() for path in paths.get("paths", []))


def test_an_interpreter_that_is_named_is_that_of_the_environment_alone():
    """What is given to make comes before what the Makefile says: tests would run with an interpreter that has no pytest."""
    named = {words for step in steps() for words in re.findall(r"\bmake (\S+ PYTHON=\S+)", step.get("run", ""))}
    assert named
    for words in named:
        command = ["make", "--dry-run", "--old-file=venv", *words.split()]
        recipe = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=True).stdout
        assert f"{ROOT}/.venv/bin/python -m pytest" in recipe
        assert words.partition("PYTHON=")[2] + " " not in recipe


def test_image_and_chart_are_pushed_where_the_chart_and_the_pages_look():
    pushed = {value for _, _, job in jobs() for name, value in job.get("env", {}).items() if name in {"IMAGE", "CHARTS"}}
    registry = "${{ needs.fit.outputs.registry }}"
    assert {value.replace(registry, urls.REGISTRY) for value in pushed} == {urls.IMAGE, urls.CHARTS}
