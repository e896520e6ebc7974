"""Faults of a configuration, each in one line for the person who wrote it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

Key = tuple[str, ...]  # routes by their index: ("routes", "0", "listen")

_SHOWN: Final = 256  # characters of a value in a message
_KEY_SHOWN: Final = 200
MOST_NAMED: Final = 16  # problems that are named; a file with more of them is broken in one way, or no file of ours


@dataclass(frozen=True)
class Problem:
    """One fault. ``key``: ``routes[0].timeouts.hello``; ``origin``: ``environment NAME``; ``message``: what is allowed."""

    key: str
    value: object
    origin: str
    message: str

    def __str__(self) -> str:
        shown = "null" if self.value is None else ascii(self.value)
        if len(shown) > _SHOWN:
            shown = shown[:_SHOWN] + "..."
        origin = f" ({self.origin})" if self.origin else ""
        key = self.key.encode("unicode_escape").decode()[:_KEY_SHOWN]
        return " ".join(f"{key}: {shown}{origin}: {self.message}".split())


class ConfigError(Exception):
    """The configuration cannot be used. It carries at least one ``Problem``, in the order of the keys, and at most MOST_NAMED.

    ``count``: how many there are; ``unnamed``: how many of them beside the ``problems`` that are given.
    """

    def __init__(self, *problems: Problem, unnamed: int = 0) -> None:
        self.count = len(problems) + unnamed
        self.problems = problems[:MOST_NAMED]
        super().__init__("; ".join(self.lines()))

    def lines(self) -> list[str]:
        """Return a line for each problem, and one for those that are not named."""
        return named(list(map(str, self.problems)), self.count)


def named(lines: Sequence[str], count: int) -> list[str]:
    """Return the first MOST_NAMED of ``lines``, and how many of ``count`` are not among them."""
    return [*lines[:MOST_NAMED], *([f"and {count - MOST_NAMED} more"] if count > MOST_NAMED else [])]


def dotted(key: Key) -> str:
    """Return the key as a person writes it: ``routes[0].listen``."""
    text = ""
    for part in key:
        text += f"[{part}]" if part.isdigit() else f".{part}" if text else part
    return text
