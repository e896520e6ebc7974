"""The flight recorder: which sessions are recorded, and which anomalies are written down."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final

from spoe_guard.capture.model import Socket
from spoe_guard.capture.recording import RecordedSession
from spoe_guard.capture.ring import MOST_LINKS, Budget, least_held
from spoe_guard.capture.take import Take
from spoe_guard.core.anomalies import SEVERITIES, Side, severity
from spoe_guard.core.config import SessionConfig
from spoe_guard.core.events import AnomalySeen
from spoe_guard.core.observing import open_session
from spoe_guard.core.place import Place
from spoe_guard.core.tally import Tally
from spoe_guard.net.any_session import AnySession
from spoe_guard.observe.limit import RateLimit
from spoe_guard.observe.stats import RouteStats

AT_ONCE: Final = 32  # captures that wait for what comes behind their anomaly; they hold up to twice a session's bytes
_EVICTED: Final = 8  # sessions that give way at a time


class Recorder:
    """Makes the sessions of a guard, and hands what is to be written to ``submit``, which must not wait (False: no room).

    ``session_bytes``: kept per session and direction. ``total_bytes``: of all sessions. ``least``: the least severity that is
    written. ``rate``: captures per period in seconds, for each route and anomaly.
    """

    def __init__(  # noqa: PLR0913, PLR0917 as the settings have them
        self,
        routes: Mapping[str, RouteStats],
        submit: Callable[[Take], bool],
        session_bytes: int,
        total_bytes: int,
        least: str = "warning",
        rate: tuple[int, float] = (6, 60.0),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.budget = Budget(total_bytes)
        self._routes = routes
        self._submit = submit
        self._limit: RateLimit[tuple[str, str]] = RateLimit(*rate, clock)
        self._sessions: dict[int, RecordedSession] = {}  # whose turn it is to give way comes first
        self._waiting = 0
        self.set(session_bytes, total_bytes, least, rate)

    def set(self, session_bytes: int, total_bytes: int, least: str, rate: tuple[int, float]) -> None:
        """Go by these from now on. A session that is recorded already keeps as much as it did."""
        self.session_bytes = session_bytes
        self.budget.limit = total_bytes
        self._session_holds = 2 * least_held(session_bytes)
        self._least = SEVERITIES.index(least)
        self._limit.set(*rate)

    def write_nothing(self) -> None:
        """Find no anomaly worth a capture, until ``set``."""
        self._least = len(SEVERITIES)

    def make_session(self, config: SessionConfig, tally: Tally, now: float, place: Place) -> AnySession:
        """Return a new session of the mode ``config`` names, recorded if there is room; a ``net.any_session.SessionFactory``."""
        plain = open_session(config, tally, now, place)
        if self.budget.used + self._session_holds > self.budget.limit:
            self.make_room(self._session_holds)
            if self.budget.used + self._session_holds > self.budget.limit:
                return plain
        route = next(name for name, stats in self._routes.items() if stats.tally is tally)
        session = self._sessions[place.number] = RecordedSession(plain, self, route, place.number)
        return session

    def met(self, number: int, side: Side, link: int, transport: asyncio.Transport) -> None:
        """Note between whom a connection is."""
        session = self._sessions.get(number)
        if session is not None:
            here, there = _socket(transport.get_extra_info("sockname")), _socket(transport.get_extra_info("peername"))
            if side is Side.HAPROXY:
                session.sockets[side, link] = (there, here)
                return
            session.sockets[side, link] = (here, there)
            if len(session.sockets) > MOST_LINKS:
                del session.sockets[next(known for known in session.sockets if known[0] is Side.AGENT)]

    # --- what recorded sessions ask ----------------------------------------------------------------------------------

    def wants(self, session: RecordedSession, anomaly: AnomalySeen) -> bool:
        """Return whether a capture is to be made because of ``anomaly``."""
        if session.anomaly is not None or SEVERITIES.index(severity(anomaly.action)) < self._least:
            return False  # it will be in the one that is under way
        dropped = self._routes[session.route].captures_dropped
        if not self._limit.allows((session.route, anomaly.anomaly.value)):
            dropped["rate",] += 1
            return False
        if self._waiting >= AT_ONCE:
            dropped["busy",] += 1
            return False
        self._waiting += 1
        return True

    def write(self, session: RecordedSession, anomaly: AnomalySeen) -> None:
        """Have it written what ``session`` keeps."""
        self._waiting -= 1
        wall_s = time.time_ns() / 1e9 - time.monotonic()
        take = Take(session.route, session.number, anomaly, session.entries(), dict(session.sockets), wall_s)
        if not self._submit(take):
            self._routes[session.route].captures_dropped["busy",] += 1

    def make_room(self, wanted: int = 0) -> None:
        """Keep the bound on all sessions, with ``wanted`` bytes more: those that had not to give way for longest do."""
        for _ in range(min(_EVICTED, len(self._sessions))):
            if self.budget.used + wanted <= self.budget.limit:
                return
            number = next(iter(self._sessions))
            session = self._sessions[number] = self._sessions.pop(number)
            session.clear()

    def forget(self, session: RecordedSession) -> None:
        """It is over."""
        self._sessions.pop(session.number, None)


def _socket(name: object) -> Socket:
    """Return an end of a connection; a Unix socket's name is a path, or nothing."""
    return Socket(str(name[0]), int(name[1])) if isinstance(name, tuple) else Socket()
