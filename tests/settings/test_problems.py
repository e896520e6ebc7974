"""Every problem is reported in lines that a terminal can show."""

from typing import Any

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
