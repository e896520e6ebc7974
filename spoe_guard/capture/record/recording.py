"""The recording of one session, and the capture for an anomaly in it."""

import asyncio
import heapq
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, Protocol

from spoe_guard.capture.files.model import End, Socket
from spoe_guard.capture.record.entry import Budget, Entry, Extra
from spoe_guard.capture.record.journal import LONGEST_BYTES, Journal
from spoe_guard.capture.record.ring import PARTS, Ring, part_room
from spoe_guard.capture.record.tape import HEAD_BYTES
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.events import AnomalySeen, SessionEnded
from spoe_guard.core.terms.output import Close, Output
from spoe_guard.net.witness import Track

if TYPE_CHECKING:
    from mypy_extensions import i64

AFTERWARDS_S: Final = 1.0  # recording goes on so long after an anomaly, unless the session ends or runs out of room
SEEN: Final = 16  # anomalies noted per step
# Values of Track.noted below 0: so many reads do not go into the journal. After an unusual step the next reads are kept
# in the ring at once: to move them out of the journal later costs more.
ASIDE: Final = -4
NEVER: Final = -(1 << 62)

_AGENT: Final = Side.AGENT
_ENDS: Final = {Close.HALF: End.FIN, Close.FLUSH: End.FIN, Close.ABORT: End.RESET}


class Desk(Protocol):
    """The part of the recorder that the recordings of all sessions use.

    ``later`` calls a function after so many seconds, on the event loop.
    """

    budget: Budget
    session_bytes: int
    later: Callable[[float, Callable[[], None]], asyncio.TimerHandle]

    def admits(self, recording: "Recording", anomaly: AnomalySeen) -> bool:
        """Return whether ``anomaly`` gets a capture."""

    def write(self, recording: "Recording", anomaly: AnomalySeen | None) -> None:
        """Submit what ``recording`` keeps as a capture; None: somebody asked for it."""

    def make_room(self, wanted: int = 0) -> None:
        """Clear sessions until ``wanted`` more bytes fit the budget."""

    def forget(self, recording: "Recording") -> None:
        """Drop a recording that has ended."""


class Recording:
    """The reads of session ``number`` of ``route`` that are not in the journal, and its connections.

    ``limit``: bytes kept per direction. ``sockets``: the two ends of each connection, the one that dialled first.
    """

    __slots__ = (
        "_agents", "_asked", "_budget", "_due", "_haproxys", "_journal", "_most", "_over", "_recorder", "_small", "_tracks",
        "anomaly", "limit", "number", "route", "sockets",
    )  # fmt: skip

    def __init__(self, recorder: Desk, journal: Journal, route: str, number: int) -> None:
        self._recorder = recorder
        self._journal = journal
        self._budget = recorder.budget
        self.limit = recorder.session_bytes
        self._most = part_room(self.limit)  # of a read that was not forwarded unchanged: an entry may hold it three times
        self._small: i64 = PARTS * self._most - HEAD_BYTES  # of a forwarded read, to be copied; a longer one is referred to
        self._haproxys = Ring(Side.HAPROXY, self.limit, recorder.budget)
        self._agents = Ring(_AGENT, self.limit, recorder.budget)
        self._tracks: list[Track] = []  # the open connections
        self._due: asyncio.TimerHandle | None = None  # completes the capture for ``anomaly``
        self._over = False
        self.anomaly: AnomalySeen | None = None  # the one that a capture is under way for
        self._asked = False  # for one that is under way
        self.route = route
        self.number = number
        self.sockets: dict[tuple[Side, int], tuple[Socket, Socket]] = {}

    @property
    def is_under_way(self) -> bool:
        """Whether a capture is."""
        return self._asked or self.anomaly is not None

    def ask(self, seconds: float) -> None:
        """Write a capture after so many seconds, or at the session's end."""
        self._asked = True
        self._go_on(seconds)

    def met(self, track: Track) -> None:
        """Follow a new connection, which begins with its HELLO."""
        self._tracks.append(track)
        track.book = self
        track.noted = NEVER if self.is_under_way else ASIDE

    def lost(self, track: Track) -> None:
        """Stop following a connection that is gone; keep its reads."""
        self.settle(track.side)
        self._tracks.remove(track)
        track.noted, track.book = NEVER, None

    def add(self, track: Track, data: bytes, now: float, link_id: int) -> None:
        """Keep a read that was forwarded unchanged and does not go into the journal; ``link_id``: see ``Witness.passed``."""
        size: i64 = len(data)
        if track.noted > 0 or track.is_agents:  # HAProxy has no other connection
            self.settle(track.side)
        track.noted = min(track.noted + 1, 0) if size <= LONGEST_BYTES else min(track.noted, ASIDE)
        if size > self._small:
            out = Output()
            out.link_id = link_id
            if track.is_agents:
                out.to_haproxy = data
            else:
                out.to_agent = data
            self._put(track.side, track.link_id, data, now, out, None)
            return
        self._keep(self._ring(track.side), track.link_id, now, link_id, data)

    def note(self, side: Side, link_id: int, data: bytes, now: float, out: Output, end: End | None = None) -> None:
        """Keep a step that did more than forward a read; ``end``: how the side's connection ended with it, if it did."""
        seen: list[AnomalySeen] = []
        extra: Extra | None = None
        if out.events or out.more or end or not out.close_haproxy is out.close_agent is Close.KEEP:
            seen = [event for event in out.events if isinstance(event, AnomalySeen)]
            extra = Extra(end, tuple(_closed(out)), tuple(out.more), tuple(seen[:SEEN]), max(0, len(seen) - SEEN))
        if data or out.to_agent or out.to_haproxy or (extra is not None and extra != Extra()):
            self._aside(side)
            self._put(side, link_id, data, now, out, extra)
        for anomaly in seen:
            if self._recorder.admits(self, anomaly):
                self._wait(anomaly)
        if any(isinstance(event, SessionEnded) for event in out.events):
            self.end()

    def settle(self, side: Side) -> None:
        """Move the reads of ``side`` from the journal into its ring."""
        for track in self._tracks:
            if track.noted > 0 and track.side is side:
                self._take(side)
                return

    def clear(self) -> None:
        """Make room for other sessions: write the pending capture, and drop the rest."""
        self._finish()
        for track in self._tracks:
            if track.noted > 0:
                self._ring(track.side).miss(track.link_id, track.read - track.settled)
        self._journal.forget(self._tracks)
        self._haproxys.clear()
        self._agents.clear()

    def entries(self) -> list[tuple[Side, Entry]]:
        """Return the kept entries in time order, each with its side."""
        self._settle_both()
        haproxys = [(Side.HAPROXY, entry) for entry in self._haproxys.kept()]
        agents = [(_AGENT, entry) for entry in self._agents.kept()]
        return list(heapq.merge(haproxys, agents, key=lambda each: each[1].now))

    def end(self) -> None:
        """End the recording: write the pending capture, and drop the rest."""
        if not self._over:
            self._finish()
            self._over = True
            self._journal.forget(self._tracks)
            for track in self._tracks:
                track.noted, track.book = NEVER, None
            self._tracks.clear()
            self._haproxys.end()
            self._agents.end()
            self._recorder.forget(self)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _ring(self, side: Side) -> Ring:
        return self._agents if side is _AGENT else self._haproxys

    def _settle_both(self) -> None:
        self.settle(Side.HAPROXY)
        self.settle(_AGENT)

    def _take(self, side: Side) -> None:
        ring = self._ring(side)
        reads, gone = self._journal.take([track for track in self._tracks if track.side is side and track.noted > 0])
        for link_id, missed in gone.items():
            if missed:
                ring.pass_over(link_id, missed)
        for read in reads:
            self._keep(ring, read.track.link_id, read.now, read.link_id, read.data)

    def _keep(self, ring: Ring, link_id: int, now: float, on: "i64", data: bytes) -> None:
        """Put a read on ``link_id`` into ``ring``; ``on``: the link for ``Ring.add``."""
        size: i64 = len(data) + HEAD_BYTES
        if ring.left >= size or ring.begins_again(size) or self._has_room(ring, size):
            ring.add(now, on, data)
        else:
            ring.miss(link_id, len(data))

    def _aside(self, side: Side) -> None:
        """Keep the next reads of ``side`` here and not in the journal; first move here those that are there."""
        self.settle(side)
        for track in self._tracks:
            if track.side is side:
                track.noted = min(track.noted, ASIDE)

    def _put(self, side: Side, link_id: int, data: bytes, now: float, out: Output, extra: Extra | None) -> None:
        ring = self._ring(side)
        read, to_agent, to_haproxy = (part[-self._most :] for part in (data, out.to_agent, out.to_haproxy))
        if _passed(data, out, is_agents=side is _AGENT):
            read = data[-self.limit :]
        if out.to_agent is data:
            to_agent = read
        if out.to_haproxy is data:
            to_haproxy = read
        entry = Entry(now, link_id, read, out.link_id, to_agent, to_haproxy, len(data) - len(read), extra)
        size = entry.size()
        if ring.left >= size or self._has_room(ring, size):
            ring.put(entry)
            self._keep_bound()
        else:
            ring.miss(link_id, len(data))

    def _has_room(self, ring: Ring, size: "i64") -> bool:
        """Begin a new part of the ring; return whether it has room for ``size`` bytes."""
        if self.anomaly is not None and ring.is_full(size):
            self._finish()  # new reads would push out those that led to the anomaly
        ring.roll(size)
        self._keep_bound()
        return ring.left >= size

    def _keep_bound(self) -> None:
        if self._budget.used > self._budget.limit:
            self._recorder.make_room()
            if self._budget.used > self._budget.limit:  # the other sessions had too little to clear
                self.clear()

    def _wait(self, anomaly: AnomalySeen) -> None:
        """Record on for AFTERWARDS_S, with twice the room, then write the capture for ``anomaly``."""
        self.anomaly = anomaly
        self._go_on(AFTERWARDS_S)

    def _go_on(self, seconds: float) -> None:
        self._settle_both()
        for track in self._tracks:
            track.noted = NEVER
        self._haproxys.limit = self._agents.limit = 2 * self.limit
        self._due = self._recorder.later(seconds, self._finish)

    def _finish(self) -> None:
        anomaly = self.anomaly
        if not self.is_under_way:
            return
        if self._due is not None:
            self._due.cancel()
            self._due = None
        self._recorder.write(self, anomaly)
        self.anomaly, self._asked = None, False
        for track in self._tracks:
            track.noted = 0
        for ring in (self._haproxys, self._agents):
            ring.limit = self.limit
            ring.shrink()


def is_ordinary(track: Track, data: bytes, out: Output) -> bool:
    """Return whether a read was forwarded unchanged, and had no other effect."""
    return not (out.events or out.more) and _passed(data, out, is_agents=track.is_agents)


def _passed(data: bytes, out: Output, *, is_agents: bool) -> bool:
    """Return whether a read was forwarded whole and unchanged, and nothing else was written."""
    if is_agents:
        return out.to_haproxy is data and len(out.to_agent) == 0
    return out.to_agent is data and len(out.to_haproxy) == 0


def _closed(out: Output) -> Iterable[tuple[bool, int, End]]:
    """Yield the connections that the guard closes: whether it is HAProxy's, the link, how."""
    if out.close_haproxy is not Close.KEEP:
        yield True, 0, _ENDS[out.close_haproxy]
    for order in (out, *out.more):
        if order.close_agent is not Close.KEEP:
            yield False, order.link_id, _ENDS[order.close_agent]
