"""Faults of a configuration, each in one line for the person who wrote it."""

from dataclasses import dataclass
from typing import Final

Key = tuple[str, ...]  # routes by their index: ("routes", "0", "listen")

_SHOWN: Final = 256  # characters of a value in a message
_KEY_SHOWN: Final = 200


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
    """The configuration cannot be used. It carries at least one ``Problem``, in the order of the keys."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


def dotted(key: Key) -> str:
    """Return the key as a person writes it: ``routes[0].listen``."""
    text = ""
    for part in key:
        text += f"[{part}]" if part.isdigit() else f".{part}" if text else part
    return text
