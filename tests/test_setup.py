"""When an installation compiles, and what it says when it cannot. That it can is seen by `make builds`."""

import importlib.util

import pytest
from setuptools import Extension

from tests.peers import ROOT


def loaded():
    spec = importlib.util.spec_from_file_location("setup", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def setup(monkeypatch):
    monkeypatch.delenv("SPOE_GUARD_COMPILE", raising=False)
    monkeypatch.setattr("sys.argv", ["setup.py", "bdist_wheel"])
    module = loaded()
    # One for each source; mypyc's own share one list of arguments, and that is what is not to be added to again and again.
    shared = ["-O3"]
    made = lambda options, **_: [Extension(path, [path], extra_compile_args=shared) for path in options[1:]]  # noqa: E731
    monkeypatch.setattr(module, "mypycify", made)
    monkeypatch.setattr(module, "can_compile", lambda _: True)
    return module


@pytest.fixture
def no_compiler(setup, monkeypatch):
    monkeypatch.setattr(setup, "can_compile", lambda _: False)


@pytest.mark.parametrize("wish", ["auto", "require", None])
def test_a_wheel_is_compiled(setup, monkeypatch, tmp_path, wish):
    if wish:
        monkeypatch.setenv("SPOE_GUARD_COMPILE", wish)
    made = {extension.name: extension.extra_compile_args for extension in setup.extensions(tmp_path)}
    assert made["spoe_guard/core/scanner.py"] == ["-O3", *setup.FASTER]


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


@pytest.mark.parametrize(("wish", "said"), [("require", "a C compiler"), ("yes", "'yes'; allowed are auto, require, off")])
def test_what_cannot_be_done_is_an_error_of_one_line(setup, no_compiler, monkeypatch, tmp_path, wish, said):
    monkeypatch.setenv("SPOE_GUARD_COMPILE", wish)
    with pytest.raises(SystemExit, match=said) as error:
        setup.extensions(tmp_path)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("compiler", ["false", "no-such-program"])
def test_a_compiler_that_does_not_work_is_none(monkeypatch, tmp_path, compiler):
    monkeypatch.setenv("CC", compiler)
    assert not loaded().can_compile(tmp_path)
