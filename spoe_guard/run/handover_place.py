"""Which directory guards find each other in: the settings' own, or the one that belongs to this service or this user."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from spoe_guard.net.handover_dir import prepare
from spoe_guard.observe.logs import Log
from spoe_guard.settings import Settings

# The first that is set, and what to make in it: others may enter the directory of a unit, and a user has much else in theirs.
_KNOWN: Final = (("RUNTIME_DIRECTORY", "handover"), ("XDG_RUNTIME_DIR", "spoe-guard"))
_NOWHERE: Final = (
    "there is no place for it: set handover_dir, or give the service a RuntimeDirectory= (RUNTIME_DIRECTORY) or its user an "
    "XDG_RUNTIME_DIR"
)


@contextlib.contextmanager
def handover_place(settings: Settings, environ: Mapping[str, str], log: Log, *, workers: bool = False) -> Iterator[Path | None]:
    """Yield the directory, made and looked at; None: there is none, or nobody needs one.

    ``workers``: several processes need one, if only among themselves; they get one that goes with them.
    """
    place, why = _place(settings, environ) if settings.share_listen or workers else (None, "")
    if place is None and settings.share_listen:
        no_handover(log, why)
    with contextlib.ExitStack() as at_exit:
        if place is None and workers:
            place, why = _own(at_exit)
            if why:
                no_handover(log, f"among workers: {why}")
        yield place


def no_handover(log: Log, why: str) -> None:
    """Log that connections are not handed over, and why."""
    log.say("warning", "no_handover", detail=why)


def _place(settings: Settings, environ: Mapping[str, str]) -> tuple[Path | None, str]:
    path = Path(settings.handover_dir) if settings.handover_dir else None
    for name, below in _KNOWN:
        first = environ.get(name, "").split(":")[0]
        if path is None and first.startswith("/"):
            path = Path(first, below)
    return _usable(path) if path is not None else (None, _NOWHERE)


def _own(at_exit: contextlib.ExitStack) -> tuple[Path | None, str]:
    """Make a directory that nobody else needs to find, so that its name may be anything."""
    try:
        path = Path(tempfile.mkdtemp(prefix="spoe-guard-"))
    except OSError as error:
        return None, f"{tempfile.gettempdir()}: {error.strerror}"
    at_exit.callback(shutil.rmtree, path, ignore_errors=True)
    return _usable(path)


def _usable(path: Path) -> tuple[Path | None, str]:
    try:
        prepare(path)
    except OSError as error:
        return None, f"{path}: {error.strerror}"
    return path, ""
