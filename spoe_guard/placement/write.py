"""Writes what `init` proposes: all of it or nothing, and never over what nobody asked to be replaced."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from spoe_guard.haproxy_config.source import Source, SourceError, Sources
from spoe_guard.placement.findings import PlacementError

MOST_BACKUPS: Final = 100
_ENDING: Final = ".bak"  # HAProxy loads *.cfg alone from a folder


class CannotWriteError(Exception):
    """A file cannot be written. One line for a person; nothing was changed."""


def expect_free(output: Path) -> None:
    """Refuse to write over a file.

    Raises:
        PlacementError: there is one.
    """
    if os.path.lexists(output):
        raise PlacementError(f"--output: {str(output)!a}: it is there already; move it away, or name another file")


def write(output: Path, text: str, changed: Mapping[Path, Source], before: Sources) -> dict[Path, Path]:
    """Write ``text`` to ``output`` and the changed files in place of what they were; return the backup of each.

    Raises:
        PlacementError: ``output`` is there already.
        CannotWriteError: something cannot be written, or a file is not any more what was read.
    """
    expect_free(output)
    with contextlib.ExitStack() as undo:
        try:
            _create(output, text.encode(), undo)
            # Everything is on the disk before the first file is replaced, so that hardly anything is left that can fail.
            staged = {path: _stage(path, source, before, undo) for path, source in changed.items()}
            for path, (new, backup) in staged.items():
                target = _target(path)
                os.replace(new, target)  # noqa: PTH105  as undo has it
                undo.callback(os.replace, backup, target)
        except OSError as error:
            name = error.filename2 or error.filename
            raise CannotWriteError(f"{name}: cannot be written: {error.strerror}; nothing was changed") from None
        undo.pop_all()
    return {path: backup for path, (_, backup) in staged.items()}


def _create(path: Path, data: bytes, undo: contextlib.ExitStack) -> None:
    with path.open("xb") as file:
        undo.callback(path.unlink, missing_ok=True)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _stage(path: Path, source: Source, before: Sources, undo: contextlib.ExitStack) -> tuple[Path, Path]:
    """Put the new file and the backup beside the old one; return both."""
    target = _target(path)
    try:
        now = Sources().get(path).data
    except SourceError as error:
        raise CannotWriteError(f"{path}: {error.why}; nothing was changed") from None
    if now != before.get(path).data:
        raise CannotWriteError(f"{path}: it was changed meanwhile; nothing was written, start again")
    backup = _free_name(target)
    _create(backup, now, undo)
    shutil.copystat(target, backup)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    new = Path(name)
    undo.callback(new.unlink, missing_ok=True)
    with os.fdopen(handle, "wb") as file:
        file.write(source.data)
        file.flush()
        os.fsync(file.fileno())
    shutil.copymode(target, new)
    owner = target.stat()
    for each in (new, backup):
        if (each.stat().st_uid, each.stat().st_gid) != (owner.st_uid, owner.st_gid):
            os.chown(each, owner.st_uid, owner.st_gid)
    return new, backup


def _target(path: Path) -> Path:
    """Return the file itself: a link stays a link."""
    return path.resolve() if path.is_symlink() else path


def _free_name(target: Path) -> Path:
    endings = [_ENDING, *(f"{_ENDING}.{number}" for number in range(2, MOST_BACKUPS + 1))]
    names = [target.with_name(target.name + ending) for ending in endings]
    free = next((name for name in names if not os.path.lexists(name)), None)
    if free is None:
        raise CannotWriteError(f"{target}: there are {MOST_BACKUPS} backups beside it already; remove some, nothing was changed")
    return free
