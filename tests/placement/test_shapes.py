"""`init` on configurations of many shapes: the right settings and changes, or a refusal that names its reason."""

import subprocess
from pathlib import Path

import pytest
import yaml

from spoe_guard.placement.findings import PlacementError
from spoe_guard.placement.guard_yaml import read_back
from spoe_guard.placement.recognise import profile_settings
from spoe_guard.placement.write import write
from tests.integration import generations
from tests.placement.shapes import FOLDER, SHAPES, Shape

PROPOSED = [shape for shape in SHAPES if not shape.error]
NAMES = [shape.name for shape in SHAPES]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Copy a shape's files to a folder, and go there."""

    def go(shape: Shape) -> Path:
        monkeypatch.chdir(shape.copy(tmp_path))
        return tmp_path

    return go


def changed_lines(lines: list[str]) -> tuple[str, ...]:
    """Return the lines of a diff that are taken away or put in."""
    return tuple(line for line in lines if line.startswith(("+", "-")) and not line.startswith(("+++", "---")))


def chapter(lines: list[str], heading: str) -> list[str]:
    """Return the lines below ``heading``."""
    if heading not in lines:
        return []
    behind = lines[lines.index(heading) + 1 :]
    return [line.removeprefix("  ") for line in behind[: behind.index("")]]


def test_each_folder_of_files_is_a_shape_of_the_table():
    assert sorted(folder.name for folder in FOLDER.iterdir()) == sorted(NAMES)
    assert len(NAMES) >= 15


@pytest.mark.parametrize("shape", PROPOSED, ids=lambda shape: shape.name)
def test_init_proposes_a_route_for_each_server_and_the_changed_lines(shape, here):
    here(shape)
    proposal = shape.proposal()
    lines = list(proposal.lines)
    routes = yaml.safe_load(proposal.written)["routes"]
    profile = profile_settings(shape.profile or "none")
    assert [(route.pop("listen"), route.pop("agent"), route) for route in routes] == [
        (listen, agent, {"name": route["name"]} | profile | settings)
        for (listen, agent, settings), route in zip(shape.routes, routes, strict=True)
    ]
    loaded = read_back(proposal.written).settings.routes
    assert [(str(route.listen), str(route.agent[0])) for route in loaded] == [route[:2] for route in shape.routes]
    assert changed_lines(lines[lines.index("changes of HAProxy's files") :]) == shape.diff
    assert chapter(lines, "left alone") == list(shape.left)
    said = [" ".join(line.split()) for line in lines]
    assert [note for note in shape.notes if not any(note in line for line in said)] == []


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape.error], ids=lambda shape: shape.name)
def test_init_refuses_what_it_cannot_do_right_and_says_why(shape, here):
    here(shape)
    with pytest.raises(PlacementError) as refusal:
        shape.proposal()
    assert str(refusal.value) == shape.error


def takers(shape: Shape, *versions: str) -> tuple[str, ...]:
    """Return which of these HAProxys take the files in the current folder."""
    environment = {"AGENT_HOST": "localhost", "NOWHERE": "9903", "PATH": "/usr/bin:/bin"}
    asked = {
        version: subprocess.Popen(
            [generations.find(version).program, "-c", "-f", shape.haproxy],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for version in versions
    }  # fmt: skip
    return tuple(version for version, process in asked.items() if process.wait(20) == 0)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_the_files_are_what_real_haproxys_take(shape, here):
    here(shape)
    assert takers(shape, *generations.RELEASES) == shape.takes


@pytest.mark.parametrize("shape", PROPOSED, ids=lambda shape: shape.name)
def test_haproxy_takes_the_changed_files_where_it_took_the_old(shape, here):
    folder = here(shape)
    proposal = shape.proposal()
    write(folder / "spoe-guard.yaml", proposal.written, proposal.changed, proposal.before)
    assert takers(shape, *generations.RELEASES) == shape.takes


@pytest.mark.parametrize("shape", [shape for shape in PROPOSED if "3.2" in shape.takes], ids=lambda shape: shape.name)
def test_haproxy_3_2_takes_the_mode_that_belongs_to_it(shape, here):
    folder = here(shape)
    proposal = shape.proposal((3, 2))
    write(folder / "spoe-guard.yaml", proposal.written, proposal.changed, proposal.before)
    modes = [line for source in proposal.changed.values() for line in source.lines if line.split()[:1] == ["mode"]]
    assert any(line.split()[1] == "spop" for line in modes) or shape.name == "conditions"
    assert "timeout_hello" not in proposal.written
    assert takers(shape, "3.2") == ("3.2",)
