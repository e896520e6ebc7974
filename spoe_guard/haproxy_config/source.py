"""The files themselves: read once, within bounds, and kept to the last byte, so that they can be written again unchanged."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAX_FILE_BYTES: Final = 4 * 1024 * 1024
MAX_LINES: Final = 100_000
MAX_FILES: Final = 64


class SourceError(Exception):
    """A file that cannot be taken. The message is for a person; ``path`` is the file's, as it was given."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(why)
        self.path = path
        self.why = why


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file, counted from 1."""

    path: Path
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass(frozen=True)
class Source:
    """A file as it was read. ``lines`` keep their line ends; bytes that are no UTF-8 are kept as surrogates."""

    path: Path
    lines: tuple[str, ...]

    @property
    def data(self) -> bytes:
        """The bytes of the file."""
        return "".join(self.lines).encode(errors="surrogateescape")


class Sources:
    """All files that were read, each once. ``changed``: what takes the place of some of them, not read from the disk."""

    def __init__(self, changed: Mapping[Path, Source] | None = None) -> None:
        self._read: dict[Path, Source] = dict(changed or {})

    def get(self, path: Path) -> Source:
        """Return the file.

        Raises:
            SourceError: it cannot be read, or is beyond a bound.
        """
        if path not in self._read:
            if len(self._read) >= MAX_FILES:
                raise SourceError(path, f"not read: more than {MAX_FILES} files")
            self._read[path] = Source(path, _lines(path, _bytes(path)))
        return self._read[path]


def files_of(path: Path) -> list[Path]:
    """Return ``path``, or of a folder the files that HAProxy's ``-f`` would load: ``*.cfg`` without a dot in front, by name.

    Raises:
        SourceError: the folder cannot be read, or has none.
    """
    if not path.is_dir():
        return [path]
    try:
        found = sorted(each for each in path.iterdir() if each.name.endswith(".cfg") and not each.name.startswith("."))
    except OSError as error:
        raise SourceError(path, f"cannot be read: {error.strerror}") from None
    if not found:
        raise SourceError(path, "cannot be read: no file in it ends with .cfg")
    return found


def _bytes(path: Path) -> bytes:
    try:
        # Without O_NONBLOCK the open of a FIFO would wait for somebody to write into it.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SourceError(path, "cannot be read: it is not a regular file")
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise SourceError(path, f"cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise SourceError(path, f"cannot be read: it is larger than {MAX_FILE_BYTES} bytes")
    return data


def _lines(path: Path, data: bytes) -> tuple[str, ...]:
    if b"\0" in data:
        raise SourceError(path, f"cannot be read: line {data[: data.index(0)].count(10) + 1} has a NUL byte, HAProxy takes none")
    pieces = data.split(b"\n")  # and nowhere else: a carriage return ends what counts of a line, not the line
    whole, rest = [piece + b"\n" for piece in pieces[:-1]], pieces[-1]
    lines = [*whole, rest] if rest else whole
    if len(lines) > MAX_LINES:
        raise SourceError(path, f"cannot be read: it has more than {MAX_LINES} lines")
    return tuple(line.decode(errors="surrogateescape") for line in lines)
