"""What the chart's values.yaml says of each value: a comment that begins with ``# --``, directly above the key."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

from tests.peers import ROOT

VALUES: Final = ROOT / "config/helm/spoe-guard/values.yaml"
_MARK: Final = "# -- "


@dataclass(frozen=True)
class Value:
    """``key``: with dots; ``default``: as YAML has it; ``text``: the comment, on one line; "" where there is none."""

    key: str
    default: Any
    text: str


def read(text: str) -> Iterator[Value]:
    """Yield every key, outer ones first; what is below one that has a comment is part of its default."""
    lines = text.splitlines()
    loaded = yaml.safe_load(text)

    def below(node: yaml.MappingNode, values: dict[str, Any], prefix: str) -> Iterator[Value]:
        for key, inner in node.value:
            value = Value(prefix + key.value, values[key.value], comment(lines, key.start_mark.line))
            yield value
            if not value.text and isinstance(inner, yaml.MappingNode):
                yield from below(inner, value.default, f"{value.key}.")

    yield from below(yaml.compose(text), loaded, "")


def comment(lines: list[str], line: int) -> str:
    """Return what the comment directly above a line says, if it begins with the mark."""
    words: list[str] = []
    for above in reversed(lines[:line]):
        stripped = above.strip()
        if stripped.startswith(_MARK):
            return " ".join([stripped.removeprefix(_MARK), *words])
        if not stripped.startswith("#"):
            break
        words.insert(0, stripped.removeprefix("#").strip())
    return ""


def documented() -> list[Value]:
    """Return the values that have a comment, in the file's order."""
    return [value for value in read(VALUES.read_text()) if value.text]


def undocumented() -> list[str]:
    """Return the keys that have neither a comment nor keys below them that have."""
    everything = list(read(VALUES.read_text()))
    return [
        value.key
        for value in everything
        if not value.text and not any(other.key.startswith(f"{value.key}.") for other in everything)
    ]
