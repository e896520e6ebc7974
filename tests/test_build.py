"""The tests run on the build they are meant to run on, whole."""

import dataclasses
import importlib
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from spoe_guard.about import about
from tests.builds import EXPECTED
from tests.peers import ROOT
from tests.running import spoe_guard

CHOICE = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["spoe-guard"]["compile"]


def chosen(key: str) -> set[Path]:
    return {path.relative_to(ROOT) for pattern in CHOICE[key] for path in ROOT.glob(pattern)}


COMPILABLE = chosen("modules") - chosen("but")


def module(path: Path) -> ModuleType:
    return importlib.import_module(".".join(path.with_suffix("").parts))


def ending(path: Path) -> str:
    return Path(module(path).__file__).suffix


def test_expectation_is_one_of_two():
    assert EXPECTED in ("pure", "compiled")


@pytest.mark.parametrize("path", sorted(COMPILABLE), ids=str)
def test_every_module_is_of_the_expected_build(path):
    assert ending(path) == (".so" if EXPECTED == "compiled" else ".py")


def test_exceptions_exist_and_stay_python():
    for pattern in CHOICE["but"]:
        assert list(ROOT.glob(pattern)), pattern
    assert {ending(path) for path in chosen("but")} == {".py"}


@pytest.mark.parametrize("path", sorted(COMPILABLE), ids=str)
def test_what_cannot_be_copied_once_compiled_is_not_compiled(path):
    kinds = [kind for kind in vars(module(path)).values() if dataclasses.is_dataclass(kind)]
    assert not [kind for kind in kinds if kind.__module__ == module(path).__name__ and kind.__dataclass_params__.frozen]


def test_version_names_the_build():
    said = dict(line.rsplit(maxsplit=1) for line in spoe_guard("version").stdout.splitlines())
    assert said["build"] == EXPECTED
    assert about()["compiled"] == ("true" if EXPECTED == "compiled" else "false")
