"""Cuts a file into statements: one for each line that counts, with its section's scope and the `.if` it depends on."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from spoe_guard.haproxy_config.source import Place, Source
from spoe_guard.haproxy_config.words import Word, cut

_SCOPE = re.compile(r"\s*\[([^\]]*)\]\s*(?:#.*)?$", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9_.:-]+", re.ASCII)  # HAProxy's invalid_char
_MODIFIERS: Final = ("no", "default")
_MESSAGES: Final = frozenset((".alert", ".warning", ".notice", ".diag"))


@dataclass(frozen=True, slots=True)
class Note:
    """Something that is not understood, or could not be followed. ``place``: where it stands.

    ``everyday``: an `.if` that is well formed, which matters only where something that is asked for depends on it.
    """

    place: Place
    text: str
    everyday: bool = False

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


@dataclass(frozen=True, slots=True)
class Statement:
    """One line. ``modifier``: `no` or `default` in front of its words, or empty.

    ``scope``: what stood in brackets last, as in spoe.conf, or None. ``condition``: the `.if` that decides whether it counts.
    ``unset``: variables in it that have no value. ``used``: all of its variables.
    """

    words: tuple[Word, ...]
    place: Place
    modifier: str = ""
    scope: str | None = None
    condition: Place | None = None
    used: tuple[str, ...] = ()
    unset: tuple[str, ...] = ()

    def text(self, index: int) -> str:
        """Return a word, counted from 0; empty behind the last one."""
        return self.words[index].text if index < len(self.words) else ""

    def begins(self, *words: str) -> bool:
        """Whether these are its first words."""
        return tuple(word.text for word in self.words[: len(words)]) == words


@dataclass
class Variables:
    """The environment as HAProxy sees it: the process's, and what `setenv` and the like in its global section make of it."""

    values: dict[str, str]

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Variables":
        """Return a copy of ``environ``, so that nothing that is read changes it."""
        return cls(dict(environ))

    def take(self, statement: Statement) -> None:
        """Do what a statement of the global section says about variables, if it says something."""
        name, value = statement.text(1), statement.text(2)
        match statement.text(0):
            case "setenv":
                self.values[name] = value
            case "presetenv":
                self.values.setdefault(name, value)
            case "unsetenv":
                for word in statement.words[1:]:
                    self.values.pop(word.text, None)
            case "resetenv":
                kept = {word.text for word in statement.words[1:]}
                self.values = {name: value for name, value in self.values.items() if name in kept}


@dataclass
class Reader:
    """Reads files one after the other. ``notes``: what was not understood. ``section``: the name of the one under way."""

    variables: Variables
    notes: list[Note] = field(default_factory=list)
    section: str = ""

    def statements(self, source: Source) -> Iterator[Statement]:
        """Yield the statements of a file; whoever takes one may change ``variables`` and ``section`` before the next."""
        scope: str | None = None
        conditions: list[Place] = []
        for number, line in enumerate(source.lines, 1):
            place = Place(source.path, number)
            if line.lstrip().startswith("["):
                scope = self._scope(line, place, scope)
                continue
            done = cut(line, lambda name, place=place: self._lookup(name, place))  # type: ignore[misc]
            if done.fault:
                self.notes.append(Note(place, f"{done.fault}: HAProxy takes no such line; it is passed over"))
                continue
            if not done.words:
                continue
            first = done.words[0].text
            if first.startswith("."):
                self._directive(first, place, conditions)
                continue
            modifier = first if first in _MODIFIERS else ""
            words = tuple(done.words[1:] if modifier else done.words)
            if words:
                condition = conditions[-1] if conditions else None
                yield Statement(words, place, modifier, scope, condition, tuple(done.used), tuple(done.unset))
        if conditions:
            self.notes.append(Note(conditions[-1], "`.if` without `.endif`"))

    def _lookup(self, name: str, place: Place) -> str | None:
        pseudo = {".FILE": str(place.path), ".LINE": str(place.line), ".SECTION": self.section}
        return pseudo.get(name) if name.startswith(".") else self.variables.values.get(name)

    def _scope(self, line: str, place: Place, before: str | None) -> str | None:
        found = _SCOPE.fullmatch(line)
        if found and _NAME.fullmatch(found[1]):
            return found[1]
        self.notes.append(Note(place, "expected a scope alone on its line, as in `[name]`; it is passed over"))
        return before

    def _directive(self, first: str, place: Place, conditions: list[Place]) -> None:
        """Follow `.if` and the like, which are not evaluated: what stands below them counts as depending on them."""
        if first == ".if":
            self.notes.append(Note(place, "`.if` is not evaluated; what depends on it is not used", everyday=True))
            conditions.append(place)
        elif first in (".elif", ".else", ".endif"):
            if not conditions:
                self.notes.append(Note(place, f"`{first}` without `.if`"))
            elif first == ".endif":
                conditions.pop()
        elif first not in _MESSAGES:
            self.notes.append(Note(place, f"`{first}` is not known; it is passed over"))


@dataclass
class Section:
    """A section: its heading, as in `backend NAME`, and the statements below."""

    heading: Statement
    body: list[Statement] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """The first word."""
        return self.heading.text(0)

    @property
    def name(self) -> str:
        """The second word; empty where there is none."""
        return self.heading.text(1)

    def last(self, *words: str) -> Statement | None:
        """Return the last statement that begins with these words: in most cases the one that HAProxy goes by."""
        return next((each for each in reversed(self.body) if each.begins(*words)), None)


def read_sections(
    reader: Reader, source: Source, kinds: frozenset[str], made: Callable[[Statement], Section] = Section
) -> Iterator[tuple[Section, Statement]]:
    """Yield each statement of a file with its section, which ``made`` makes of the heading; that comes first.

    A line that begins with one of ``kinds`` is a heading.
    """
    section: Section | None = None
    for statement in reader.statements(source):
        if statement.text(0) in kinds and not statement.modifier:
            section = made(statement)
            reader.section = section.name or section.kind
        elif section is None:
            reader.notes.append(Note(statement.place, f"`{statement.text(0)}` stands in no section; it is passed over"))
            continue
        else:
            section.body.append(statement)
        yield section, statement
