"""The tests run on the intended build, complete."""

import dataclasses
import importlib
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from spoe_guard.about import about
from tests.builds import EXPECTED, LANE_ALONE, SAID
from tests.peers import ROOT
from tests.running import spoe_guard

CHOICE = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["spoe-guard"]["compile"]


def chosen(key: str) -> set[Path]:
    return {path.relative_to(ROOT) for pattern in CHOICE[key] for path in ROOT.glob(pattern)}


LANE = chosen("lane")
READABLE = chosen("readable") - chosen("but") - LANE
COMPILED_HERE = {"pure": set(), "compiled": LANE | READABLE}.get(EXPECTED, LANE)


def module(path: Path) -> ModuleType:
    return importlib.import_module(".".join(path.with_suffix("").parts))


def ending(path: Path) -> str:
    return Path(module(path).__file__).suffix


def test_expectation_is_one_that_there_is():
    assert EXPECTED in ("pure", "compiled") or LANE_ALONE


@pytest.mark.parametrize("path", sorted(LANE | READABLE), ids=str)
def test_every_module_is_of_the_expected_build(path):
    assert ending(path) == (".so" if path in COMPILED_HERE else ".py")


@pytest.mark.parametrize("key", ["lane", "readable", "but"])
def test_what_is_chosen_exists(key):
    for pattern in CHOICE[key]:
        assert list(ROOT.glob(pattern)), pattern


def test_exceptions_stay_python():
    assert {ending(path) for path in chosen("but")} == {".py"}


def test_the_lane_and_nothing_else_has_its_types_beside_it():
    types = {path.relative_to(ROOT).with_suffix(".py") for path in ROOT.glob("spoe_guard/**/*.pxd")}
    # These two are C itself, made part of whoever calls it; their .py is the same without a compiler.
    assert types == LANE | {Path("spoe_guard/net/calls.py"), Path("spoe_guard/capture/record/memory.py")}


@pytest.mark.parametrize("path", sorted(READABLE), ids=str)
def test_what_cannot_be_copied_once_compiled_is_not_compiled(path):
    kinds = [kind for kind in vars(module(path)).values() if dataclasses.is_dataclass(kind)]
    assert not [kind for kind in kinds if kind.__module__ == module(path).__name__ and kind.__dataclass_params__.frozen]


def test_version_names_the_build():
    message = dict(line.rsplit(maxsplit=1) for line in spoe_guard("version").stdout.splitlines())
    assert message["build"] == SAID
    assert about()["compiled"] == ("false" if SAID == "pure" else "true")
