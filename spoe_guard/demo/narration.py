"""Prints the demo: 80 columns, colours only on a terminal."""

import os
import sys
import textwrap
from collections.abc import Sequence
from typing import Final

WIDTH: Final = 80
INDENT: Final = "  "
_CODES: Final = {"good": "32", "bad": "31", "bold": "1", "dim": "2"}
_WHAT: Final = 42  # columns for the step; its result follows


class Narrator:
    """Prints on standard output, line by line."""

    def __init__(self) -> None:
        self._colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def paint(self, text: str, how: str) -> str:
        """Return ``text`` in a style: ``how`` is good, bad, bold, dim, or "" for plain."""
        return f"\x1b[{_CODES[how]}m{text}\x1b[0m" if how and self._colours else text

    def line(self, text: str = "", how: str = "") -> None:
        """Print one line unfolded."""
        print(self.paint(text, how), flush=True)

    def chapter(self, title: str) -> None:
        """Begin a part of the demo."""
        self.line()
        self.line(title, "bold")

    def say(self, text: str, how: str = "", indent: str = "", mark: str = "") -> None:
        """Print a paragraph, folded; ``mark`` leads its first line."""
        further = indent + " " * len(mark)
        for line in textwrap.wrap(text, WIDTH, initial_indent=indent + mark, subsequent_indent=further, break_on_hyphens=False):
            self.line(line, how)

    def result(self, what: str, came_of_it: str, how: str) -> None:
        """Print one step and its result."""
        self.line(f"{INDENT}{what:<{_WHAT}} {self.paint(came_of_it, how)}")

    def table(self, head: Sequence[str], rows: Sequence[Sequence[tuple[str, str]]]) -> None:
        """Print a table; each cell is its text and style."""
        widths = [max(len(head[at]), *(len(row[at][0]) for row in rows)) for at in range(len(head))]
        self.line(INDENT + INDENT.join(f"{name:<{width}}" for name, width in zip(head, widths, strict=True)).rstrip(), "bold")
        for row in rows:
            cells = (self.paint(f"{text:<{width}}", how) for (text, how), width in zip(row, widths, strict=True))
            self.line(INDENT + INDENT.join(cells).rstrip())
