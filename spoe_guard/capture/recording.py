"""A session that keeps its last bytes: the real one inside, and a note of each step beside it."""

import heapq
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from spoe_guard.capture.model import End
from spoe_guard.capture.ring import HEAD_BYTES, PARTS, Entry, Extra, Ring, part_room
from spoe_guard.core.anomalies import Side
from spoe_guard.core.events import AnomalySeen, DialFailure, SessionEnded
from spoe_guard.core.handed import Handed, NotTakenError
from spoe_guard.core.observing import ObservedSession
from spoe_guard.core.output import Close, Output
from spoe_guard.core.receiver import Receiver
from spoe_guard.core.session import Session

if TYPE_CHECKING:
    from mypy_extensions import i64

    from spoe_guard.capture.recorder import Recorder

AFTERWARDS_S: Final = 1.0  # how long is recorded behind an anomaly, unless the session ends or has no room before
SEEN: Final = 16  # anomalies noted of one step

_AGENT: Final = Side.AGENT
_ENDS: Final = {Close.HALF: End.FIN, Close.FLUSH: End.FIN, Close.ABORT: End.RESET}


class RecordedSession(Receiver):
    """The same calls as ``Session``, see there. ``sockets`` is filled in by the recorder as connections are made."""

    __slots__ = (
        "_agents", "_budget", "_due", "_haproxys", "_limit", "_most", "_over", "_recorder", "_session", "_small", "anomaly",
        "number", "route", "sockets",
    )  # fmt: skip

    def __init__(self, session: Session | ObservedSession, recorder: "Recorder", route: str, number: int) -> None:
        super().__init__(session.deadline)
        self._session = session
        self._recorder = recorder
        self._budget = recorder.budget
        self._limit = recorder.session_bytes
        self._most = part_room(self._limit)  # of one read that did not go on as it came: it may be there three times
        self._small: i64 = PARTS * self._most - HEAD_BYTES  # of one that did, to be copied; a longer one is referred to
        self._haproxys = Ring(Side.HAPROXY, self._limit, recorder.budget)
        self._agents = Ring(_AGENT, self._limit, recorder.budget)
        self._due = math.inf  # when the capture that an anomaly asked for is complete
        self._over = False
        self.anomaly: AnomalySeen | None = None  # the one that asked for a capture
        self.route = route
        self.number = number
        self.sockets: dict[tuple[Side, int], Any] = {}

    def receive(self, side: Side, data: bytes, now: float, link: int = 0) -> Output:
        """Bytes came from ``side``. The only step that is taken often."""
        session: Receiver = self._session
        out = session.receive(side, data, now, link)
        size: i64 = len(data)
        if size > self._small or not _passed(side, data, out) or out.events or out.more:
            self._note(side, now, link, data, out)
            return out
        self.deadline = session.deadline
        if self.anomaly is not None and self._due < self.deadline:
            self.deadline = self._due
        ring = self._agents if side is _AGENT else self._haproxys
        if ring.left >= size + HEAD_BYTES or self._has_room(ring, size + HEAD_BYTES):
            ring.add(now, link if side is _AGENT else out.link, data)
        else:
            ring.miss(link, size)
        return out

    def start(self, now: float) -> Output:
        """HAProxy is connected."""
        return self._noted(Side.HAPROXY, now, 0, self._session.start(now))

    def take_foreign(self, raw: bytes, now: float) -> Output:
        """An ACK came on another session's link."""
        return self._noted(_AGENT, now, 0, self._session.take_foreign(raw, now))

    def agent_connected(self, now: float, link: int = 0) -> Output:
        """A link is up."""
        return self._noted(Side.HAPROXY, now, link, self._session.agent_connected(now, link))

    def agent_failed(self, reason: DialFailure, detail: str, now: float, link: int = 0) -> Output:
        """A link could not be had."""
        return self._noted(_AGENT, now, link, self._session.agent_failed(reason, detail, now, link))

    def closed(self, side: Side, now: float, *, reset: bool, link: int = 0) -> Output:
        """A side will send no more."""
        out = self._session.closed(side, now, reset=reset, link=link)
        return self._noted(side, now, link, out, End.RESET if reset else End.FIN)

    def tick(self, now: float) -> Output:
        """Time has passed."""
        if now >= self._due:
            self._finish()
        return self._noted(_AGENT, now, 0, self._session.tick(now))

    def drain(self, now: float) -> Output:
        """The guard is stopping."""
        return self._noted(_AGENT, now, 0, self._session.drain(now))

    def to_hand_over(self) -> Handed | None:
        """Return what the next guard needs; None also in observe mode."""
        return self._session.to_hand_over() if isinstance(self._session, Session) else None

    def handed_over(self, now: float) -> Output:
        """The next guard goes on with it."""
        if not isinstance(self._session, Session):
            return Output()
        return self._noted(Side.HAPROXY, now, 0, self._session.handed_over(now))

    def take_over(self, handed: Handed, now: float) -> Output:
        """Go on with what the guard before has served; of what was said there HAPROXY-HELLO is known."""
        if not isinstance(self._session, Session):
            raise NotTakenError("what is only observed is not gone on with")
        out = self._session.take_over(handed, now)
        self._note(Side.HAPROXY, now, 0, handed.hello, out)
        return out

    def release(self) -> tuple[bytes, bytes]:
        """Give up."""
        try:
            return self._session.release()
        finally:
            self._end()

    def clear(self) -> None:
        """Give way to other sessions: write what is to be written, forget the rest."""
        self._finish()
        self._haproxys.clear()
        self._agents.clear()

    def entries(self) -> list[tuple[Side, Entry]]:
        """Return what is kept, in time order, each with whose side it is about."""
        haproxys = [(Side.HAPROXY, entry) for entry in self._haproxys.kept()]
        agents = [(_AGENT, entry) for entry in self._agents.kept()]
        return list(heapq.merge(haproxys, agents, key=lambda each: each[1].now))

    # --- what is not ordinary ----------------------------------------------------------------------------------------

    def _noted(self, side: Side, now: float, link: int, out: Output, end: End | None = None) -> Output:
        self._note(side, now, link, b"", out, end)
        return out

    def _note(self, side: Side, now: float, link: int, data: bytes, out: Output, end: End | None = None) -> None:
        self.deadline = min(self._session.deadline, self._due)
        if self._over:
            return
        if not out.events and not out.more and end is None and out.close_haproxy is out.close_agent is Close.KEEP:
            if data or out.to_agent or out.to_haproxy:
                self._append(side, now, link, data, out, None)
            return
        seen = [event for event in out.events if isinstance(event, AnomalySeen)]
        extra = Extra(end, tuple(_closed(out)), tuple(out.more), tuple(seen[:SEEN]), max(0, len(seen) - SEEN))
        if data or out.to_agent or out.to_haproxy or extra != Extra():
            self._append(side, now, link, data, out, extra)
        for anomaly in seen:
            if self._recorder.wants(self, anomaly):
                self.anomaly = anomaly
                self._due = now + AFTERWARDS_S
                self._haproxys.limit = self._agents.limit = 2 * self._limit
                self.deadline = min(self.deadline, self._due)
        if any(isinstance(event, SessionEnded) for event in out.events):
            self._end()

    def _append(self, side: Side, now: float, link: int, data: bytes, out: Output, extra: Extra | None) -> None:
        if self._over:
            return
        ring = self._agents if side is _AGENT else self._haproxys
        read, to_agent, to_haproxy = (part[-self._most :] for part in (data, out.to_agent, out.to_haproxy))
        if _passed(side, data, out):
            read = data[-self._limit :]
        if out.to_agent is data:
            to_agent = read
        if out.to_haproxy is data:
            to_haproxy = read
        entry = Entry(now, link, read, out.link, to_agent, to_haproxy, len(data) - len(read), extra)
        size = entry.size()
        if ring.left >= size or self._has_room(ring, size):
            ring.put(entry)
            self._keep_bound()
        else:
            ring.miss(link, len(data))

    def _has_room(self, ring: Ring, size: "i64") -> bool:
        """Begin a new part; return whether there is room for so much in it."""
        if self.anomaly is not None and ring.is_full(size):
            self._finish()  # what comes now would push out what led to the anomaly
        ring.roll(size)
        self._keep_bound()
        return ring.left >= size

    def _keep_bound(self) -> None:
        if self._budget.used > self._budget.limit:
            self._recorder.make_room()
            if self._budget.used > self._budget.limit:  # nobody else has as much
                self.clear()

    def _finish(self) -> None:
        if self.anomaly is not None:
            self._recorder.write(self, self.anomaly)
            self.anomaly = None
            self._due = math.inf
            for ring in (self._haproxys, self._agents):
                ring.limit = self._limit
                ring.shrink()

    def _end(self) -> None:
        if not self._over:
            self._finish()
            self._over = True
            self._small = -1
            self._haproxys.end()
            self._agents.end()
            self._recorder.forget(self)


def _passed(side: Side, data: bytes, out: Output) -> bool:
    """Return whether all of a read went on as it came, and nothing else."""
    if side is _AGENT:
        return out.to_haproxy is data and not out.to_agent
    return out.to_agent is data and not out.to_haproxy


def _closed(out: Output) -> Iterable[tuple[bool, int, End]]:
    """Yield which connections the guard closes."""
    if out.close_haproxy is not Close.KEEP:
        yield True, 0, _ENDS[out.close_haproxy]
    for order in (out, *out.more):
        if order.close_agent is not Close.KEEP:
            yield False, order.link, _ENDS[order.close_agent]
