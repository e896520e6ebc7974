"""Lines of HAProxy's files that change, and the same as a unified diff."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from spoe_guard.haproxy_config.source import Place, Source, Sources
from spoe_guard.haproxy_config.statements import Statement
from spoe_guard.haproxy_config.words import Word

_CONTEXT: Final = 3


@dataclass
class Changes:
    """Changes of lines: of one word of a line, and of what comes behind it. Nothing else changes, no line end either."""

    _words: dict[Place, tuple[Word, str]] = field(default_factory=dict)
    _behind: dict[Place, list[str]] = field(default_factory=dict)

    def replace(self, statement: Statement, word: Word, text: str) -> None:
        """Put ``text`` in place of one word of a line, quotes and all."""
        self._words[statement.place] = word, text

    def add_behind(self, statement: Statement, text: str) -> None:
        """Add a line behind that of ``statement``."""
        self._behind.setdefault(statement.place, []).append(text)

    def changed(self, sources: Sources) -> dict[Path, Source]:
        """Return each file that changes, as it will be."""
        paths = dict.fromkeys(place.path for place in (*self._words, *self._behind))
        return {path: self._applied(sources.get(path)) for path in paths}

    def _applied(self, source: Source) -> Source:
        lines: list[str] = []
        for number, line in enumerate(source.lines, 1):
            place = Place(source.path, number)
            word, text = self._words.get(place, (Word("", 0, 0), ""))
            changed = line[: word.start] + text + line[word.end :]
            added = self._behind.get(place, [])
            if added and not changed.endswith("\n"):  # the last line of a file without a line feed at its end
                changed += "\n"
            lines += [changed, *(_like(source, number, text) for text in added)]
        return Source(source.path, tuple(lines))


def _like(source: Source, number: int, text: str) -> str:
    """Return ``text`` as a line with the indentation and the line end of its neighbours.

    Behind a heading, which is not indented in most files, the line below that has words says how far.
    """
    below = next((line for line in source.lines[number:] if line.strip() and not line.lstrip().startswith("#")), "")
    line = source.lines[number - 1]
    indent = line[: len(line) - len(line.lstrip())] or below[: len(below) - len(below.lstrip())] or "    "
    end = "\r\n" if line.endswith("\r\n") else "\n"
    return f"{indent}{text}{end}"


def unified(before: Sources, changed: Mapping[Path, Source]) -> Iterator[str]:
    """Yield the lines of a unified diff, without their line feeds, in the order of the files."""
    for path, after in changed.items():
        for line in difflib.unified_diff(list(before.get(path).lines), list(after.lines), str(path), str(path), n=_CONTEXT):
            text = line.removesuffix("\n")
            yield text
            if text == line:
                yield "\\ No newline at end of file"
