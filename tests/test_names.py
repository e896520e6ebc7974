"""Test names: a short sentence that names what fails when the test is red, readable in a list of failures."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
MOST_WORDS = 12


def too_long(source):
    """Return the names of the tests in a module's source that have more words than MOST_WORDS behind ``test_``."""
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    names = [node.name for node in functions if node.name.startswith("test_")]
    return [name for name in names if len(name.split("_")) - 1 > MOST_WORDS]


def test_no_tests_name_has_more_than_twelve_words():
    found = {str(file.relative_to(TESTS)): too_long(file.read_text()) for file in TESTS.rglob("*.py")}
    assert {file: names for file, names in found.items() if names} == {}


@pytest.mark.parametrize("keyword", ["def", "async def"])
def test_a_name_of_thirteen_words_is_found_and_one_of_twelve_passes(keyword):
    twelve, thirteen = ("_".join(["test", *["word"] * count]) for count in (MOST_WORDS, MOST_WORDS + 1))
    assert too_long(f"{keyword} {twelve}(): pass\nclass Some:\n {keyword} {thirteen}(self): pass") == [thirteen]
