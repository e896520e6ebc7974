"""docs/architecture.md agrees with the code: the states, the metrics, the rings, and the files it names."""

import re
import tomllib
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.metrics_core import Metric

from spoe_guard.about import about
from spoe_guard.core.terms.states import LINK_MOVES, SESSION_MOVES
from spoe_guard.observe.families import ROUTE
from spoe_guard.observe.formats import Rendering
from spoe_guard.observe.health import Health
from spoe_guard.observe.live.status import Live
from spoe_guard.observe.metrics import OF_ROUTES
from spoe_guard.run.workers.totals import Totals
from spoe_guard.run.workers.views import PoolMetrics
from tests.peers import ROOT

PAGE = (ROOT / "docs/architecture.md").read_text()
SUFFIXES = (".md", ".pxd", ".py", ".toml", ".yaml", ".yml")


def diagram() -> str:
    """Return what may follow what, of a session and of a link, as mermaid diagrams.

    A session that the shell gives up may be closed at any time: of those arrows only the ordinary one is drawn.
    """
    drawn = []
    for moves in (SESSION_MOVES, LINK_MOVES):
        lines = [f"[*] --> {next(iter(moves)).value}"]
        for state, row in moves.items():
            after = [each for each in type(state) if each in row and (each.value != "closed" or state.value == "closing")]
            lines += [f"{state.value} --> {each.value}" for each in after]
        drawn.append("\n".join(["```mermaid", "stateDiagram-v2", *(f"    {line}" for line in lines), "```"]))
    return "\n\n".join(drawn)


class Heard(Rendering):
    """Keeps the families that are not written line by line."""

    def __init__(self) -> None:
        super().__init__()
        self.families: list[Metric] = []

    def add(self, family: Metric) -> None:
        self.families.append(family)


def exposed() -> dict[str, tuple[str, list[str]]]:
    """Return the type and labels of each metric of the guard's own, also of those that there are with several workers only."""
    pool: Any = SimpleNamespace(totals=Totals(()), workers=[], restarts=0)
    heard = Heard()
    for _step in PoolMetrics(pool, about(), live=Live({}, list, Health({}), about())).write(heard):
        pass
    apart = {full_name(family): (family.type, list(family._labelnames)) for family in heard.families}
    return apart | {family.name: (family.type, [ROUTE, *family.labels]) for family in OF_ROUTES}


def full_name(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def test_the_diagram_is_the_table_of_states():
    shown = PAGE.split("<!-- states: begin -->\n")[1].split("\n<!-- states: end -->")[0]
    assert shown == diagram(), f"put this between the markers:\n{diagram()}"


def test_the_table_of_metrics_is_what_is_exposed():
    rows = re.findall(r"^\| `(spoe_guard_\w+)` \| (\w+) \| (.*) \|$", PAGE, re.MULTILINE)
    assert {name: (kind, labels.split(", ") if labels != "-" else []) for name, kind, labels in rows} == exposed()


def test_every_metric_the_page_names_is_exposed():
    assert set(re.findall(r"\bspoe_guard_\w+", PAGE)) == exposed().keys()


def test_every_file_and_folder_the_page_names_is_there():
    in_backticks = [each for each in re.findall(r"`([\w.-][\w./-]*)`", PAGE) if "/" in each or each.endswith(SUFFIXES)]
    paths = {each for each in in_backticks if each not in SUFFIXES} | set(re.findall(r"\b(?:spoe_guard|tests)/[\w./]*\w", PAGE))
    assert paths
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_every_page_it_points_at_is_there():
    links = {link for link in re.findall(r"\]\(([^)#]+)\)", PAGE) if "://" not in link}
    assert links
    assert [link for link in sorted(links) if not (ROOT / "docs" / link).exists()] == []


def test_every_class_method_and_constant_it_names_is_in_the_code():
    code = "".join(path.read_text() for path in sorted((ROOT / "spoe_guard").rglob("*.py")))
    named = [each.split(".") for each in re.findall(r"`([A-Z][a-z]\w+\.\w+)`", PAGE)]
    assert named
    assert [f"{kind}.{what}" for kind, what in named if not re.search(rf"^class {kind}\b", code, re.MULTILINE)] == []
    assert [f"{kind}.{what}" for kind, what in named if not re.search(rf"\bdef {what}\b|\bself\.{what}\b", code)] == []
    constants = re.findall(r"`(_?[A-Z]+(?:_[A-Z]+)+)`", PAGE)
    assert [name for name in constants if not re.search(rf"^{name}\b", code, re.MULTILINE)] == []


@pytest.mark.parametrize("container", ["spoe_guard", "spoe_guard.core"])
def test_the_rings_are_the_layers_of_import_linter(container):
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract.get("containers") == [container])
    rings = re.findall(rf"^ *(\d+)  {container.replace('.', '/')}/(\w+)(?:/|\.py) ", PAGE, re.MULTILINE)
    assert rings == [(str(len(layers) - at), module) for at, layer in enumerate(layers) for module in layer.split(" | ")]


def test_every_folder_of_the_package_stands_in_the_rings():
    folders = {path.parent.relative_to(ROOT).as_posix() + "/" for path in (ROOT / "spoe_guard").glob("*/**/__init__.py")}
    assert folders == set(re.findall(r"^[ \d]{4}(spoe_guard/[\w/]+/) ", PAGE, re.MULTILINE))
