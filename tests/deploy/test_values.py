"""The chart's values: each is explained where it stands, docs/chart.md says the same, and the schema knows each."""

import json

from tests import docs
from tests.deploy import values
from tests.deploy.bundle import CHART

SCHEMA = json.loads((CHART / "values.schema.json").read_text())


def resolved(schema: dict) -> dict:
    reference = schema.get("$ref")
    return SCHEMA["definitions"][reference.rpartition("/")[2]] if reference else schema


def known(schema: dict, prefix: str = "") -> set[str]:
    """Return the keys that a schema names, down to where it says no more than what kind of value it is."""
    keys = set()
    for name, inner in schema.get("properties", {}).items():
        inside = known(resolved(inner), f"{prefix}{name}.") if prefix + name != "config" else set()  # the guard's own
        keys |= inside or {prefix + name}
    return keys


def test_the_page_is_a_view_of_values_yaml():
    assert docs.CHART.read_text() == docs.chart(), "run `make docs`"


def test_every_value_is_explained():
    assert values.undocumented() == []


def test_schema_and_file_name_the_same_values():
    assert {value.key for value in values.documented()} == known(SCHEMA) - {"global"}


def test_nothing_beside_what_the_schema_names_is_taken():
    objects = [SCHEMA, *(resolved(inner) for name, inner in SCHEMA["properties"].items() if name != "config")]
    assert [one for one in objects if one.get("properties") and one.get("additionalProperties") is not False] == []


def test_a_comment_is_read_whole_and_a_default_too():
    text = "# head\n\na:\n  # -- One\n  # and more.\n  b: 1\n  c: 2\n# -- All of it.\nd:\n  e: [1]\n# no mark\nf: {}\n"
    found = [(value.key, value.default, value.text) for value in values.read(text)]
    assert found == [
        ("a", {"b": 1, "c": 2}, ""),
        ("a.b", 1, "One and more."),
        ("a.c", 2, ""),
        ("d", {"e": [1]}, "All of it."),
        ("f", {}, ""),
    ]
