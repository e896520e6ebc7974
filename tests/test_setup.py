"""When an installation compiles what, and its message when it cannot. `make builds` tests a whole installation."""

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
import zipfile

import pytest
import yaml
from setuptools import Extension

from tests.integration.image import git_tree
from tests.peers import ROOT

LANE, READABLE = "spoe_guard/core/lane.py", "spoe_guard/core/incoming/agent/from_agent.py"


def loaded():
    spec = importlib.util.spec_from_file_location("setup", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def setup(monkeypatch):
    """setup.py, with compilers that only say what they were asked for."""
    monkeypatch.delenv("SPOE_GUARD_COMPILE", raising=False)
    monkeypatch.setattr("sys.argv", ["setup.py", "bdist_wheel"])
    monkeypatch.chdir(ROOT)
    module = loaded()
    # One for each source; mypyc's own share one list of arguments, and that is what is not to be added to again and again.
    shared = ["-O3"]
    made = lambda options, **_: [Extension(path, [path], extra_compile_args=shared) for path in options[1:]]  # noqa: E731
    monkeypatch.setattr(module, "mypycify", made)
    monkeypatch.setattr(module, "cythonize", cythonize := Cythonize())
    monkeypatch.setattr(module, "can_compile", lambda _: True)
    module.directives = cythonize.directives
    return module


class Cythonize:
    def __init__(self):
        self.directives = {}

    def __call__(self, extensions, *, compiler_directives, **_):
        self.directives |= compiler_directives
        return extensions


def test_the_pythons_that_the_project_names_are_those_of_its_wheels():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheels = [name.removeprefix("cp3").removesuffix("-*") for name in project["tool"]["cibuildwheel"]["build"]]
    assert wheels == sorted(wheels)
    named = re.findall(r"Python :: 3\.(\d+)$", "\n".join(project["project"]["classifiers"]), re.MULTILINE)
    assert named == wheels
    assert project["project"]["requires-python"] == f">=3.{wheels[0]}"
    tried = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]["quick"]["strategy"]["matrix"]["python"]
    assert tried == [f"3.{minor}" for minor in wheels]
    assert f"Python 3.{wheels[0]} to 3.{wheels[-1]}," in (ROOT / "docs/install.md").read_text()


@pytest.fixture
def no_compiler(setup, monkeypatch):
    monkeypatch.setattr(setup, "can_compile", lambda _: False)


def compiled(setup, scratch):
    """The arguments of the C compiler, by source."""
    return {extension.sources[0]: extension.extra_compile_args for extension in setup.extensions(scratch)}


def test_a_module_is_of_the_lane_or_readable(setup):
    lane, readable = setup.sources()
    assert LANE in lane
    assert READABLE in readable
    assert not set(lane) & set(readable)
    assert "spoe_guard/core/terms/config.py" not in (*lane, *readable)


@pytest.mark.parametrize("wish", ["auto", "require", None])
def test_a_wheel_is_compiled(setup, monkeypatch, tmp_path, wish):
    if wish:
        monkeypatch.setenv("SPOE_GUARD_COMPILE", wish)
    made = compiled(setup, tmp_path)
    lane, readable = setup.sources()
    assert made.keys() == {*lane, *readable}
    assert made[LANE] == [*setup.FASTER, *setup.INLINED]
    assert made[READABLE] == ["-O3", *setup.FASTER]
    assert setup.directives["boundscheck"] is False


@pytest.mark.parametrize(("wish", "checks"), [("checked", True), ("asan", False)])
def test_to_be_tried_the_lane_alone_is_compiled(setup, monkeypatch, tmp_path, wish, checks):
    monkeypatch.setenv("SPOE_GUARD_COMPILE", wish)
    made = compiled(setup, tmp_path)
    assert made.keys() == set(setup.sources()[0])
    assert {setup.directives[check] for check in ("boundscheck", "initializedcheck", "nonecheck")} == {checks}
    assert any("address" in argument for argument in made[LANE]) == (wish == "asan")


@pytest.mark.parametrize(("wish", "command"), [("off", "bdist_wheel"), ("auto", "editable_wheel"), ("require", "dist_info")])
def test_nothing_is_compiled_where_it_is_not_wanted(setup, monkeypatch, tmp_path, wish, command):
    monkeypatch.setenv("SPOE_GUARD_COMPILE", wish)
    monkeypatch.setattr("sys.argv", ["setup.py", command])
    assert setup.extensions(tmp_path) == []


def test_an_editable_installation_is_compiled_on_demand(setup, monkeypatch, tmp_path):
    monkeypatch.setenv("SPOE_GUARD_COMPILE", "require")
    monkeypatch.setattr("sys.argv", ["setup.py", "editable_wheel"])
    assert setup.extensions(tmp_path)


def test_without_a_compiler_one_line_says_so(setup, no_compiler, capsys, tmp_path):
    assert setup.extensions(tmp_path) == []
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("spoe-guard: not compiled")
    assert "gcc" in line


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ("require", "SPOE_GUARD_COMPILE=require: a C compiler"),
        ("checked", "SPOE_GUARD_COMPILE=checked: a C compiler"),
        ("yes", "'yes'; allowed are auto, require, checked, asan, off"),
    ],
)
def test_what_cannot_be_done_is_an_error_of_one_line(setup, no_compiler, monkeypatch, tmp_path, wish, message):
    monkeypatch.setenv("SPOE_GUARD_COMPILE", wish)
    with pytest.raises(SystemExit, match=message) as error:
        setup.extensions(tmp_path)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("compiler", ["false", "no-such-program"])
def test_a_compiler_that_does_not_work_is_none(monkeypatch, tmp_path, compiler):
    monkeypatch.setenv("CC", compiler)
    assert not loaded().can_compile(tmp_path)


def built(what, tree, into, wish):
    """Call the build backend as pip does, and return the file it made."""
    code = "import sys; from setuptools import build_meta; getattr(build_meta, 'build_' + sys.argv[1])(sys.argv[2])"
    env = {**os.environ, "SPOE_GUARD_COMPILE": wish}
    command = [sys.executable, "-c", code, what, into]
    done = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    [file] = into.iterdir()
    return file


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Everything git knows, and what must not go into an archive."""
    tree = tmp_path_factory.mktemp("tree")
    git_tree(tree)
    for name in ("tests/__pycache__", "docs/.hypothesis", ".venv", ".cache"):
        (tree / name).mkdir()
        (tree / name / "left").touch()
    return tree


@pytest.fixture(scope="module")
def unpacked(tree, tmp_path_factory):
    """The source distribution, unpacked."""
    sdist = built("sdist", tree, tmp_path_factory.mktemp("sdist"), "off")
    into = tmp_path_factory.mktemp("unpacked")
    subprocess.run(["tar", "--extract", "--file", sdist, "--directory", into], check=True)
    [folder] = into.iterdir()
    return folder


@pytest.mark.timeout(300)
def test_the_sdist_has_every_file_of_the_project_and_no_other(unpacked):
    has = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    known = {name for name in listed.split("\0") if (ROOT / name).is_file()}
    assert {"CHANGELOG.md", "config/spoe-guard.yaml", "docs/index.md", "tests/test_setup.py"} <= known
    assert known - has == set()
    made = {"PKG-INFO", "setup.cfg"}
    assert {name for name in has - known - made if not name.startswith("spoe_guard.egg-info/")} == set()


@pytest.mark.timeout(300)
def test_sdist_and_wheel_have_what_compiling_needs_and_the_examples(unpacked, tmp_path):
    types = {str(path.relative_to(ROOT)) for path in ROOT.glob("spoe_guard/**/*.pxd")}
    with zipfile.ZipFile(built("wheel", unpacked, tmp_path, "checked")) as wheel:
        names = set(wheel.namelist())
    assert types
    assert types <= names
    config = {str(path.relative_to(ROOT)) for path in (ROOT / "config").rglob("*") if path.is_file()}
    assert [name for name in names if name.endswith(".data/data/share/man/man1/spoe-guard.1")]
    assert [name for name in names if name.endswith("/runbook.md")]
    assert {f"spoe_guard/{name}" for name in config} == {name for name in names if name.startswith("spoe_guard/config/")}
    stems = {name.removesuffix(".py") for name in loaded().sources()[0]}
    assert {name.partition(".")[0] for name in names if name.endswith(".so")} == stems
