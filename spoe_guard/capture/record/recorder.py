"""The recorder: which sessions are recorded, and which anomalies get a capture."""

import asyncio
import socket
import time
from collections.abc import Callable, Mapping
from typing import Final, TypeGuard

from spoe_guard.capture.files.model import End, Socket
from spoe_guard.capture.record.capture_job import CaptureJob
from spoe_guard.capture.record.entry import Budget
from spoe_guard.capture.record.journal import LONGEST_BYTES, Journal
from spoe_guard.capture.record.recording import NEVER, Recording, is_ordinary
from spoe_guard.capture.record.ring import MOST_LINKS, least_held
from spoe_guard.core.terms.anomalies import SEVERITIES, Action, Anomaly, Side, severity
from spoe_guard.core.terms.events import AnomalySeen
from spoe_guard.core.terms.output import Output
from spoe_guard.net.witness import Track, Witness
from spoe_guard.observe.limit import RateLimit
from spoe_guard.observe.stats import RouteStats

AT_ONCE: Final = 32  # captures that still record after their anomaly; each holds up to twice a session's bytes
_HOW: Final = {None: None, False: End.FIN, True: End.RESET}
_EVICTED: Final = 8  # sessions cleared at a time


class Recorder(Witness):
    """Keeps what sessions read, and hands captures to ``submit``, which must not wait (False: no room).

    ``later`` calls a function after so many seconds, on the event loop. ``session_bytes``: kept per session and direction.
    ``total_bytes``: of all sessions. ``least``: the lowest severity that gets a capture. ``rate``: captures per period in
    seconds, for each route and anomaly.
    """

    def __init__(  # noqa: PLR0913, PLR0917 as the settings have them
        self,
        routes: Mapping[str, RouteStats],
        submit: Callable[[CaptureJob], bool],
        later: Callable[[float, Callable[[], None]], asyncio.TimerHandle],
        session_bytes: int,
        total_bytes: int,
        least: str = "warning",
        rate: tuple[int, float] = (6, 60.0),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.budget = Budget(total_bytes)
        self.later = later
        self._routes = routes
        self._submit = submit
        self._limit: RateLimit[tuple[str, str]] = RateLimit(*rate, clock)
        self._recordings: dict[int, Recording] = {}  # by session; the next to be cleared for others comes first
        self._journal = Journal(self.budget, self._recordings, self.make_room, session_bytes)
        self._waiting = 0
        self.set(session_bytes, total_bytes, least, rate)

    def set(self, session_bytes: int, total_bytes: int, least: str, rate: tuple[int, float]) -> None:
        """Use these from now on. A session that is already recorded keeps its own ``session_bytes``."""
        self.session_bytes = session_bytes
        self._journal.session_bytes = max([session_bytes, *(each.limit for each in self._recordings.values())])
        self.budget.limit = total_bytes
        self._session_holds = 2 * least_held(session_bytes)
        self._least = SEVERITIES.index(least)
        self._limit.set(*rate)

    def forget_route(self, route: str) -> None:
        """Keep nothing of a route without sessions that was taken away."""
        self._limit.forget(lambda key: key[0] == route)

    def write_nothing(self) -> None:
        """Start no more captures until ``set`` is called."""
        self._least = len(SEVERITIES)

    def begin(self, route: str, number: int) -> bool:
        """Record the new session ``number`` of ``route``; False: the budget has no room for it."""
        if self.budget.used + self._session_holds > self.budget.limit:
            self.make_room(self._session_holds)
            if self.budget.used + self._session_holds > self.budget.limit:
                return False
        self._recordings[number] = Recording(self, self._journal, route, number)
        return True

    # --- called by relays --------------------------------------------------------------------------------------------

    def read(self, track: Track, data: bytes, now: float, out: Output) -> None:
        """Keep a read."""
        recording = track.book
        if is_ordinary(track, data, out):
            self.passed(track, data, now, track.link_id if track.is_agents else out.link_id)
        elif isinstance(recording, Recording):
            recording.note(track.side, track.link_id, data, now, out)

    def passed(self, track: Track, data: bytes, now: float, link_id: int) -> None:
        """Keep a read that was forwarded unchanged."""
        if track.noted >= 0 and len(data) <= LONGEST_BYTES and self._journal.add(track, now, link_id, data):
            return
        recording = track.book
        if isinstance(recording, Recording):
            recording.add(track, data, now, link_id)

    def note(  # noqa: PLR0913  as a Witness has them
        self, number: int, side: Side, link_id: int, data: bytes, now: float, out: Output, *, reset: bool | None = None
    ) -> None:
        """Keep any other step."""
        recording = self._recordings.get(number)
        if recording is not None:
            recording.note(side, link_id, data, now, out, _HOW[reset])

    def wants(self, number: int, anomaly: Anomaly, action: Action) -> bool:
        """Return whether such an anomaly of that session would get a capture."""
        recording = self._recordings.get(number)
        return self._is_due(recording, action) and self._limit.has((recording.route, anomaly.value)) and self._waiting < AT_ONCE

    def missed(self, number: int, anomaly: Anomaly, action: Action) -> None:
        """Count a capture that there was no room for."""
        recording = self._recordings.get(number)
        if self._is_due(recording, action):
            reason = "busy" if self._limit.has((recording.route, anomaly.value)) else "rate"
            self._routes[recording.route].captures_dropped[reason,] += 1

    def met(self, track: Track, sock: socket.socket) -> None:
        """Note the two ends of a new connection."""
        recording = self._recordings.get(track.number)
        if recording is None:
            track.noted = NEVER
            return
        recording.met(track)
        here, there = _socket(sock.getsockname), _socket(sock.getpeername)
        if track.side is Side.HAPROXY:
            recording.sockets[track.side, 0] = (there, here)
            return
        recording.sockets[track.side, track.link_id] = (here, there)
        if len(recording.sockets) > MOST_LINKS:
            del recording.sockets[next(known for known in recording.sockets if known[0] is Side.AGENT)]

    def lost(self, track: Track) -> None:
        """Note that a connection is gone: its recording keeps its reads."""
        recording = track.book
        if isinstance(recording, Recording):
            recording.lost(track)

    def over(self, number: int) -> None:
        """End the recording of a session: write its pending capture, and drop the rest."""
        recording = self._recordings.get(number)
        if recording is not None:
            recording.end()

    # --- called by recordings ----------------------------------------------------------------------------------------

    def admits(self, recording: Recording, anomaly: AnomalySeen) -> bool:
        """Return whether ``anomaly`` gets a capture."""
        if not self._is_due(recording, anomaly.action):
            return False
        dropped = self._routes[recording.route].captures_dropped
        if not self._limit.allows((recording.route, anomaly.anomaly.value)):
            dropped["rate",] += 1
            return False
        if self._waiting >= AT_ONCE:
            dropped["busy",] += 1
            return False
        self._waiting += 1
        return True

    def _is_due(self, recording: Recording | None, action: Action) -> TypeGuard[Recording]:
        """Return whether an anomaly with that action calls for a capture. One that is under way will include it."""
        return recording is not None and not recording.is_under_way and SEVERITIES.index(severity(action)) >= self._least

    def write(self, recording: Recording, anomaly: AnomalySeen | None) -> None:
        """Submit what ``recording`` keeps as a capture."""
        self._waiting -= 1
        wall_s = time.time_ns() / 1e9 - time.monotonic()
        take = CaptureJob(recording.route, recording.number, anomaly, recording.entries(), dict(recording.sockets), wall_s)
        if not self._submit(take):
            self._routes[recording.route].captures_dropped["busy",] += 1

    def ask(self, number: int, seconds: float) -> bool:
        """Have what the session ``number`` carries in the next ``seconds`` written, with what is kept of it already.

        False: it is not recorded, one of its captures is under way, or too many of others are.
        """
        recording = self._recordings.get(number)
        if recording is None or recording.is_under_way or self._waiting >= AT_ONCE:
            return False
        self._waiting += 1
        recording.ask(seconds)
        return True

    def make_room(self, wanted: int = 0) -> None:
        """Clear sessions until ``wanted`` more bytes fit the budget, those that were not cleared for longest first."""
        for _ in range(min(_EVICTED, len(self._recordings))):
            if self.budget.used + wanted <= self.budget.limit:
                return
            number = next(iter(self._recordings))
            recording = self._recordings[number] = self._recordings.pop(number)
            recording.clear()

    def forget(self, recording: Recording) -> None:
        """Drop a recording that has ended."""
        del self._recordings[recording.number]
        if not self._recordings:
            self._journal.clear()


def _socket(ask: Callable[[], object]) -> Socket:
    """Return one end of a connection; empty for a Unix socket, whose name is a path or nothing."""
    try:
        name = ask()
    except OSError:  # the connection is closed again
        return Socket()
    return Socket(str(name[0]), int(name[1])) if isinstance(name, tuple) else Socket()
