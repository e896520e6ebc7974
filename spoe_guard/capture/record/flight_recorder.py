"""The flight recorder as set in the settings: a recorder with its store, or none."""

import asyncio
import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from spoe_guard.capture.record.capture_job import CaptureJob
from spoe_guard.capture.record.recorder import Recorder
from spoe_guard.capture.record.store import Folder, Store
from spoe_guard.net.witness import Witness
from spoe_guard.observe.incidents import Incidents
from spoe_guard.observe.logs import Log
from spoe_guard.observe.stats import RouteStats
from spoe_guard.settings import exposed
from spoe_guard.settings.model import Capture
from spoe_guard.threads import NoThreadError

FLUSH_S: Final = 1.0  # for writing the last captures when the guard stops


class FlightRecorder:
    """Records a guard through its ``witness``; call ``close`` when the guard has stopped. Needs the running loop.

    Whether a session is recorded, and how much of it is kept, is decided when it begins; other settings apply at once.
    ``processes``: how many record with the same settings. They divide ``total_bytes`` evenly, and share the bounds of the folder.
    ``incidents``: each learns of the files that hold its frames.
    """

    def __init__(
        self,
        settings: Capture,
        stats: Mapping[str, RouteStats],
        log: Log,
        processes: int = 1,
        incidents: Incidents | None = None,
    ) -> None:
        self._incidents = incidents
        self._processes = processes
        self._stats = stats
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._settings = Capture()  # the defaults: nothing is recorded
        self._recorder: Recorder | None = None
        self._store: Store | None = None
        self.set(settings)

    def set(self, settings: Capture) -> None:
        """Use these settings from now on. With ``capture.dir`` null nothing is recorded, and no more captures are written."""
        if settings == self._settings:
            return
        before, self._settings = self._settings, settings
        if settings.dir is None:
            if self._recorder is not None:
                self._recorder.write_nothing()
            return
        path = Path(settings.dir)
        # Only a warning: the folder may come back, and the guard must start.
        if settings.dir != before.dir and not (path.is_dir() and os.access(path, os.W_OK | os.X_OK)):
            self._log.say("warning", "capture_failed", dir=settings.dir, error="no folder, or it cannot be written to")
        elif settings.dir != before.dir and (why := exposed(settings.dir, os.geteuid())):
            self._log.say("warning", "capture_dir_exposed", dir=settings.dir, detail=why)
        folder = Folder(path, settings.files, settings.files_bytes, settings.payload)
        how = (settings.session_bytes, settings.total_bytes // self._processes, settings.severity, settings.rate)
        if self._store is None or self._recorder is None:
            try:
                self._store = Store(folder, self._stats, self._say, self._wrote)
            except NoThreadError as error:
                self._log.say("warning", "capture_failed", dir=settings.dir, error=error.strerror)
                return
            self._recorder = Recorder(self._stats, self._store.submit, self._loop.call_later, *how)
        else:
            self._store.folder = folder
            self._recorder.set(*how)

    def witness(self, route: str, number: int) -> Witness | None:
        """Return the recorder for the new session ``number``; None if it is off or has no room. A ``net.guard.Witnesses``."""
        recorder = self._recorder if self._settings.dir is not None else None
        return recorder if recorder is not None and recorder.begin(route, number) else None

    def ask(self, sessions: Iterable[int], seconds: float) -> int | None:
        """Have a capture of each of these written after so many seconds; return of how many, None if nothing is recorded."""
        recorder = self._recorder if self._settings.dir is not None else None
        return None if recorder is None else sum(recorder.ask(number, seconds) for number in sessions)

    def forget(self, route: str) -> None:
        """A route is gone, and so are its sessions."""
        if self._recorder is not None:
            self._recorder.forget_route(route)

    def close(self) -> None:
        """Write the last captures."""
        if self._store is not None:
            self._store.close(FLUSH_S)

    def _wrote(self, take: CaptureJob, fields: dict[str, object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._note, take, fields)

    def _note(self, take: CaptureJob, fields: dict[str, object]) -> None:
        """Tell the incidents of a capture's frames, and the log, with the incident that it was made for."""
        of = {}
        for seen, at in take.seen():
            incident = None if self._incidents is None else self._incidents.of(take.route, seen, at)
            if incident is not None:
                incident.recorded(str(fields["file"]))
                if seen is take.anomaly:
                    of = {"incident": incident.id}
        self._log.say("info", "capture_written", **fields, **of)

    def _say(self, level: str, event: str, fields: dict[str, object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(lambda: self._log.say(level, event, **fields))
