"""The flight recorder as the settings want it: recorder and store together, or nothing at all."""

import asyncio
import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from spoe_guard.capture.recorder import Recorder
from spoe_guard.capture.store import Folder, Store
from spoe_guard.core.anomalies import Side
from spoe_guard.core.config import SessionConfig
from spoe_guard.core.observing import open_session
from spoe_guard.core.place import Place
from spoe_guard.core.tally import Tally
from spoe_guard.net.any_session import AnySession
from spoe_guard.observe.logs import Log
from spoe_guard.observe.stats import RouteStats
from spoe_guard.settings.model import Capture

FLUSH_S: Final = 1.0  # for the last captures, when the guard stops


class Flight:
    """What a guard is given to be recorded: ``make_session`` and ``met``; ``close`` when it has stopped. Needs the running loop.

    Whether a session is recorded, and how much of it is kept, is settled when it begins; all else holds at once.
    ``processes``: so many do so with the same settings. Each has its part of ``total_bytes``; the folder's bounds they keep
    together.
    """

    def __init__(self, settings: Capture, stats: Mapping[str, RouteStats], log: Log, processes: int = 1) -> None:
        self._processes = processes
        self._stats = stats
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._settings = Capture()  # with which nothing is recorded
        self._recorder: Recorder | None = None
        self._store: Store | None = None
        self.set(settings)

    def set(self, settings: Capture) -> None:
        """Record so from now on; with ``capture.dir`` null nothing, and nothing more is written."""
        if settings == self._settings:
            return
        before, self._settings = self._settings, settings
        if settings.dir is None:
            if self._recorder is not None:
                self._recorder.write_nothing()
            return
        path = Path(settings.dir)
        # It may come back; a guard that does not start helps nobody.
        if settings.dir != before.dir and not (path.is_dir() and os.access(path, os.W_OK | os.X_OK)):
            self._log.say("warning", "capture_failed", dir=settings.dir, error="no folder, or it cannot be written to")
        folder = Folder(path, settings.files, settings.files_bytes, settings.payload)
        how = (settings.session_bytes, settings.total_bytes // self._processes, settings.severity, settings.rate)
        if self._store is None or self._recorder is None:
            self._store = Store(folder, self._stats, self._say)
            self._recorder = Recorder(self._stats, self._store.submit, *how)
        else:
            self._store.folder = folder
            self._recorder.set(*how)

    def make_session(self, config: SessionConfig, tally: Tally, now: float, place: Place) -> AnySession:
        """Return a new session, recorded where that is wanted; a ``net.any_session.SessionFactory``."""
        make = open_session if self._recorder is None or self._settings.dir is None else self._recorder.make_session
        return make(config, tally, now, place)

    def met(self, number: int, side: Side, link: int, transport: asyncio.Transport) -> None:
        """Note between whom a connection is."""
        if self._recorder is not None:
            self._recorder.met(number, side, link, transport)

    def close(self) -> None:
        """Have the last captures written."""
        if self._store is not None:
            self._store.close(FLUSH_S)

    def _say(self, level: str, event: str, fields: dict[str, object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(lambda: self._log.say(level, event, **fields))
