"""What the page says of the measurements of scale. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any


def rows(scale: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Return the rows of the table."""
    yield from ((row["what"], row["goal"], row["seen"]) for row in scale.values())
