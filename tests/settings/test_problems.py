"""Every problem is reported in lines that a terminal can show."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from spoe_guard.settings import ConfigError, load


def test_a_key_that_moves_a_terminal_is_told_harmlessly(problems):
    (line,) = problems('"\\e[31mmode": observe')
    assert line.startswith("\\x1b[31mmode: 'observe' (FILE:1): unknown key")


def test_a_long_value_is_cut(problems):
    (line,) = problems(f"mode: {'x' * 1000}")
    assert len(line) < 350


@pytest.mark.parametrize(("count", "last"), [(16, "unknown key"), (17, "and 1 more"), (2000, "and 1984 more")])
def test_sixteen_problems_are_named_and_the_others_counted(tmp_path, count, last):
    file = tmp_path / "many.yaml"
    file.write_text("".join(f"routs{number}: 1\n" for number in range(count)))
    with pytest.raises(ConfigError) as error:
        load(file)
    lines = error.value.lines()
    assert (error.value.count, len(lines)) == (count, min(count, 17))
    assert last in lines[-1]
    assert all("did you mean routes?" in line for line in lines[:16])


def test_of_faults_between_keys_as_many_are_named(problems, from_yaml):
    routes = "\n".join(["routes:", *(f"- {{name: a{number}, listen: 127.0.0.1:1, agent: 127.0.0.1:2}}" for number in range(18))])
    with pytest.raises(ConfigError) as error:
        from_yaml(routes)
    assert error.value.lines()[15:] == [str(error.value.problems[15]), "and 1 more"]


SECTIONS_AND_KEYS = [key for key, _value, _origin in load().rows()] + ["routes", "routes[0]", "log", "routes[0].timeouts"]
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.lists(st.one_of(st.integers(), st.text(max_size=5)), max_size=2),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
)


@given(st.sampled_from(SECTIONS_AND_KEYS), JUNK)
def test_any_value_anywhere_is_taken_or_told_in_one_line(tmp_path_factory, key, value):
    node: Any = value
    for part in reversed(key.replace("[0]", ".0").split(".")):
        node = [node] if part == "0" else {part: node}
    file = tmp_path_factory.getbasetemp() / "junk.yaml"
    file.write_text(yaml.safe_dump(node, allow_unicode=False), encoding="utf-8")
    try:
        load(file)
        told = ["taken"]
    except ConfigError as error:
        told = [str(problem) for problem in error.problems]
    assert told
    assert all(line.isprintable() and len(line) < 3500 for line in told), told
