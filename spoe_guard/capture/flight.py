"""The flight recorder as the settings want it: recorder and store together, or nothing at all."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spoe_guard.capture.recorder import Recorder
from spoe_guard.capture.store import Folder, Store
from spoe_guard.core.observing import open_session
from spoe_guard.net.any_session import SessionFactory
from spoe_guard.net.guard import Met
from spoe_guard.observe.logs import Log
from spoe_guard.observe.stats import RouteStats
from spoe_guard.settings.model import Capture

FLUSH_S: Final = 1.0  # for the last captures, when the guard stops


@dataclass(frozen=True, slots=True)
class Flight:
    """What a guard is given to be recorded: ``make_session`` and ``met``; ``close`` when it has stopped."""

    make_session: SessionFactory
    met: Met | None
    close: Callable[[], None]


def recording(settings: Capture, stats: Mapping[str, RouteStats], log: Log, processes: int = 1) -> Flight:
    """Return what records the sessions of a guard; with ``capture.dir`` null what any guard has. Needs the running loop.

    ``processes``: so many do so with the same settings. Each has its part of ``total_bytes``; the folder's bounds they keep
    together.
    """
    if settings.dir is None:
        return Flight(open_session, None, _nothing)
    loop = asyncio.get_running_loop()

    def say(level: str, event: str, fields: dict[str, object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            loop.call_soon_threadsafe(lambda: log.say(level, event, **fields))

    path = Path(settings.dir)
    if not (path.is_dir() and os.access(path, os.W_OK | os.X_OK)):  # it may come back; a guard that does not start helps nobody
        log.say("warning", "capture_failed", dir=settings.dir, error="no folder, or it cannot be written to")
    store = Store(Folder(path, settings.files, settings.files_bytes, settings.payload), stats, say)
    recorder = Recorder(
        stats,
        store.submit,
        session_bytes=settings.session_bytes,
        total_bytes=settings.total_bytes // processes,
        least=settings.severity,
        rate=settings.rate,
    )
    return Flight(recorder.make_session, recorder.met, lambda: _close(store))


def _close(store: Store) -> None:
    store.close(FLUSH_S)


def _nothing() -> None:
    return
