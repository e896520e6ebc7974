"""Cuts one line of HAProxy's configuration into words: quotes, escapes, comments and environment variables.

Source: HAProxy, configuration.txt sections 2.2 and 2.3; tools.c, ``parse_line`` and ``env_expand``.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

MAX_WORDS: Final = 64  # HAProxy's MAX_LINE_ARGS: it refuses a line with more

Lookup = Callable[[str], str | None]  # the value of a variable; None: it is not set

_BLANK: Final = " \t\v\f"
_PLAIN = re.compile(r"[^ \t\v\f]+")
_SPECIAL = re.compile(r"[\\'\"#$]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|\.[A-Za-z0-9_]*", re.ASCII)
_HEX = re.compile(r"[0-9A-Fa-f]{2}")
_IN_ADDRESS = re.compile(r"\$(?:\{([A-Za-z0-9_]*)\}?|([A-Za-z0-9_]*))", re.ASCII)
_ESCAPES: Final = {" ": " ", "\\": "\\", "t": "\t", "n": "\n", "r": "\r"}


@dataclass(frozen=True, slots=True)
class Word:
    """One word without its quotes. ``start``, ``end``: where it stands in its line, with them.

    ``split``: it comes from a variable that expands to any number of words, ``"${NAME[*]}"``, so that it has no place of its own.
    """

    text: str
    start: int
    end: int
    split: bool = False


@dataclass(slots=True)
class Cut:
    """A line's words. ``fault``: why HAProxy would refuse the line, else empty.

    ``used``: the variables whose value was asked for; ``unset``: those of them that have none, and no default beside them.
    """

    words: list[Word] = field(default_factory=list)
    fault: str = ""
    used: list[str] = field(default_factory=list)
    unset: list[str] = field(default_factory=list)


def cut(line: str, lookup: Lookup) -> Cut:
    """Return the words of ``line``, which may end with a line feed."""
    line = line.partition("\n")[0].partition("\r")[0]  # either ends a line, also within quotes
    if _SPECIAL.search(line):
        done = _Cutter(line, lookup).run()
    else:
        done = Cut([Word(found[0], found.start(), found.end()) for found in _PLAIN.finditer(line)])
    if len(done.words) > MAX_WORDS:
        done.fault = done.fault or f"more than {MAX_WORDS} words"
    return done


def expand_address(text: str, lookup: Lookup) -> Cut:
    """Return ``text`` as one word with its variables replaced, as HAProxy does in addresses even outside of quotes."""
    done = Cut()

    def value(found: re.Match[str]) -> str:
        return _value(found[1] or found[2] or "", lookup, done)

    done.words.append(Word(_IN_ADDRESS.sub(value, text), 0, len(text)))
    return done


def _value(name: str, lookup: Lookup, done: Cut) -> str:
    done.used.append(name)
    found = lookup(name)
    if found is None:
        done.unset.append(name)
    return found or ""


class _Cutter:
    """Goes over one line, a character at a time."""

    def __init__(self, line: str, lookup: Lookup) -> None:
        self._line = line
        self._lookup = lookup
        self._at = 0
        self._quote = ""
        self._text: list[str] | None = None  # of the word under way; None between words
        self._start = 0
        self._split = False  # a part of it comes from a variable that expands to several words
        self._opened = -1  # where the quotes under way began, if nothing is in them yet
        self._done = Cut()

    def run(self) -> Cut:
        line = self._line
        while self._at < len(line) and not self._done.fault:
            char = line[self._at]
            if char == "#" and not self._quote:
                break
            if char in "'\"" and self._quote in ("", char):
                self._on_quote(char)
            elif char == "\\" and self._quote != "'":
                self._on_backslash()
            elif char in _BLANK and not self._quote:
                self._end_word(self._at)
                self._at += 1
            elif char == "$" and self._quote == '"':
                self._on_variable()
            else:
                self._add(char, self._at)
                self._at += 1
        if not self._done.fault:
            self._end_word(self._at)
            if self._quote:
                self._done.fault = "unmatched quote"
        return self._done

    def _add(self, text: str, start: int) -> None:
        if self._text is None:
            self._text = []
            self._start = start if self._opened < 0 else self._opened
        self._opened = -1
        self._text.append(text)

    def _end_word(self, end: int) -> None:
        if self._text is not None:
            self._done.words.append(Word("".join(self._text), self._start, end, self._split))
        self._text = None
        self._split = False
        self._opened = -1

    def _on_quote(self, char: str) -> None:
        if self._quote:
            if self._opened >= 0:  # nothing between them: a word, if an empty one
                self._add("", self._opened)
            self._quote = ""
        else:
            self._quote = char
            if self._text is None:
                self._opened = self._at
        self._at += 1

    def _on_backslash(self) -> None:
        after = self._line[self._at + 1 : self._at + 2]
        if after == "x":
            digits = self._line[self._at + 2 : self._at + 4]
            if not _HEX.fullmatch(digits):
                self._done.fault = "truncated or invalid hexadecimal sequence"
                return
            self._add(chr(int(digits, 16)), self._at)
            self._at += 4
        elif after and (after in _ESCAPES or after in "#'\"" or (after == "$" and self._quote)):
            self._add(_ESCAPES.get(after, after), self._at)
            self._at += 2
        else:  # also at the end of a line: HAProxy continues none
            self._add("\\", self._at)
            self._at += 1

    def _on_variable(self) -> None:
        """Put a variable's value in place of ``$NAME``, ``${NAME}``, ``${NAME-default}`` or ``${NAME[*]}``."""
        line, start = self._line, self._at
        at = start + 1
        in_braces = line.startswith("{", at)
        found = _NAME.match(line, at + in_braces)
        if found is None:
            self._done.fault = "forbidden first character in the name of a variable"
            return
        at = found.end()
        in_words = in_braces and line.startswith("[*]", at)
        at += 3 if in_words else 0
        default: str | None = None
        if in_braces:
            close = line.find("}", at)
            if close < 0 or (close > at and line[at] != "-"):
                self._done.fault = "unmatched brace in the name of a variable"
                return
            default = line[at + 1 : close] if close > at else None
            at = close + 1
        value = self._lookup(found[0])
        self._done.used.append(found[0])
        if value is None and default is None:
            self._done.unset.append(found[0])
        self._at = at
        self._put(value if value is not None else default, in_words=in_words)

    def _put(self, value: str | None, *, in_words: bool) -> None:
        if not in_words:
            self._add(value or "", self._at)
            return
        self._opened = -1  # one without a value makes no word, not even an empty one
        for piece in re.findall(r"\s+|\S+", value or ""):
            if piece.isspace():
                self._end_word(self._at)
            else:
                self._add(piece, self._at)
                self._split = True
