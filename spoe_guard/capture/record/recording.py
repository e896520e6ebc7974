"""What is kept of one session, and the capture that an anomaly in it asks for."""

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

AFTERWARDS_S: Final = 1.0  # how long is recorded behind an anomaly, unless the session ends or has no room before
SEEN: Final = 16  # anomalies noted of one step
# What Track.noted says of reads that are not put into the journal: how many. Behind a step that is not ordinary those that come
# next are kept here at once: to get them out of the journal costs more.
ASIDE: Final = -4
NEVER: Final = -(1 << 62)

_AGENT: Final = Side.AGENT
_ENDS: Final = {Close.HALF: End.FIN, Close.FLUSH: End.FIN, Close.ABORT: End.RESET}


class Desk(Protocol):
    """What the recordings of all sessions share, and where they ask: the recorder.

    ``later`` has something done so many seconds later, on the event loop.
    """

    budget: Budget
    session_bytes: int
    later: Callable[[float, Callable[[], None]], asyncio.TimerHandle]

    def wants(self, recording: "Recording", anomaly: AnomalySeen) -> bool:
        """Return whether a capture is to be made because of ``anomaly``."""

    def write(self, recording: "Recording", anomaly: AnomalySeen) -> None:
        """Have it written what ``recording`` keeps."""

    def make_room(self, wanted: int = 0) -> None:
        """Keep the bound on all sessions, with ``wanted`` bytes more."""

    def forget(self, recording: "Recording") -> None:
        """It is over."""


class Recording:
    """What the session ``number`` of ``route`` has read, as far as it is not in the journal, and who is connected.

    ``limit``: bytes of a direction that are kept. ``sockets``: the two ends of each connection, who dialled it first.
    """

    __slots__ = (
        "_agents", "_budget", "_due", "_haproxys", "_journal", "_most", "_over", "_recorder", "_small", "_tracks", "anomaly",
        "limit", "number", "route", "sockets",
    )  # fmt: skip

    def __init__(self, recorder: Desk, journal: Journal, route: str, number: int) -> None:
        self._recorder = recorder
        self._journal = journal
        self._budget = recorder.budget
        self.limit = recorder.session_bytes
        self._most = part_room(self.limit)  # of one read that did not go on as it came: it may be there three times
        self._small: i64 = PARTS * self._most - HEAD_BYTES  # of one that did, to be copied; a longer one is referred to
        self._haproxys = Ring(Side.HAPROXY, self.limit, recorder.budget)
        self._agents = Ring(_AGENT, self.limit, recorder.budget)
        self._tracks: list[Track] = []  # the connections that are there
        self._due: asyncio.TimerHandle | None = None  # completes the capture that an anomaly asked for
        self._over = False
        self.anomaly: AnomalySeen | None = None  # which did
        self.route = route
        self.number = number
        self.sockets: dict[tuple[Side, int], tuple[Socket, Socket]] = {}

    def met(self, track: Track) -> None:
        """A connection is there, which begins with its HELLO."""
        self._tracks.append(track)
        track.book = self
        track.noted = NEVER if self.anomaly is not None else ASIDE

    def lost(self, track: Track) -> None:
        """It is gone."""
        self.settle(track.side)
        self._tracks.remove(track)
        track.noted, track.book = NEVER, None

    def add(self, track: Track, data: bytes, now: float, link: int) -> None:
        """Keep a read that went on as it came and is not for the journal; ``link``: see ``Witness.passed``."""
        size: i64 = len(data)
        if track.noted > 0 or track.is_agents:  # HAProxy has no other connection
            self.settle(track.side)
        track.noted = min(track.noted + 1, 0) if size <= LONGEST_BYTES else min(track.noted, ASIDE)
        if size > self._small:
            out = Output()
            out.link = link
            if track.is_agents:
                out.to_haproxy = data
            else:
                out.to_agent = data
            self._put(track.side, track.link, data, now, out, None)
            return
        self._keep(self._ring(track.side), track.link, now, link, data)

    def note(self, side: Side, link: int, data: bytes, now: float, out: Output, end: End | None = None) -> None:
        """Keep a step that is more than that; where one side's connection ended with it, ``end`` says how."""
        seen: list[AnomalySeen] = []
        extra: Extra | None = None
        if out.events or out.more or end or not out.close_haproxy is out.close_agent is Close.KEEP:
            seen = [event for event in out.events if isinstance(event, AnomalySeen)]
            extra = Extra(end, tuple(_closed(out)), tuple(out.more), tuple(seen[:SEEN]), max(0, len(seen) - SEEN))
        if data or out.to_agent or out.to_haproxy or (extra is not None and extra != Extra()):
            self._aside(side)
            self._put(side, link, data, now, out, extra)
        for anomaly in seen:
            if self._recorder.wants(self, anomaly):
                self._wait(anomaly)
        if any(isinstance(event, SessionEnded) for event in out.events):
            self.end()

    def settle(self, side: Side) -> None:
        """Take what is in the journal of ``side``."""
        for track in self._tracks:
            if track.noted > 0 and track.side is side:
                self._take(side)
                return

    def clear(self) -> None:
        """Give way to other sessions: write what is to be written, forget the rest."""
        self._finish()
        for track in self._tracks:
            if track.noted > 0:
                self._ring(track.side).miss(track.link, track.read - track.settled)
        self._journal.forget(self._tracks)
        self._haproxys.clear()
        self._agents.clear()

    def entries(self) -> list[tuple[Side, Entry]]:
        """Return what is kept, in time order, each with whose side it is about."""
        self._settle_both()
        haproxys = [(Side.HAPROXY, entry) for entry in self._haproxys.kept()]
        agents = [(_AGENT, entry) for entry in self._agents.kept()]
        return list(heapq.merge(haproxys, agents, key=lambda each: each[1].now))

    def end(self) -> None:
        """The session is over, or its recording is."""
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
        for link, missed in gone.items():
            if missed:
                ring.pass_over(link, missed)
        for read in reads:
            self._keep(ring, read.track.link, read.now, read.link, read.data)

    def _keep(self, ring: Ring, link: int, now: float, on: "i64", data: bytes) -> None:
        """Put what was read on ``link`` into ``ring``; ``on``: as ``Ring.add`` has it."""
        size: i64 = len(data) + HEAD_BYTES
        if ring.left >= size or ring.begins_again(size) or self._has_room(ring, size):
            ring.add(now, on, data)
        else:
            ring.miss(link, len(data))

    def _aside(self, side: Side) -> None:
        """Have the next reads of ``side`` here and not in the journal, behind those that are there."""
        self.settle(side)
        for track in self._tracks:
            if track.side is side:
                track.noted = min(track.noted, ASIDE)

    def _put(self, side: Side, link: int, data: bytes, now: float, out: Output, extra: Extra | None) -> None:
        ring = self._ring(side)
        read, to_agent, to_haproxy = (part[-self._most :] for part in (data, out.to_agent, out.to_haproxy))
        if _passed(data, out, is_agents=side is _AGENT):
            read = data[-self.limit :]
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

    def _wait(self, anomaly: AnomalySeen) -> None:
        """Keep what comes now as well, for so long."""
        self._settle_both()
        for track in self._tracks:
            track.noted = NEVER
        self.anomaly = anomaly
        self._haproxys.limit = self._agents.limit = 2 * self.limit
        self._due = self._recorder.later(AFTERWARDS_S, self._finish)

    def _finish(self) -> None:
        anomaly = self.anomaly
        if anomaly is None:
            return
        if self._due is not None:
            self._due.cancel()
            self._due = None
        self._recorder.write(self, anomaly)
        self.anomaly = None
        for track in self._tracks:
            track.noted = 0
        for ring in (self._haproxys, self._agents):
            ring.limit = self.limit
            ring.shrink()


def is_ordinary(track: Track, data: bytes, out: Output) -> bool:
    """Return whether nothing came of a read but that it was passed."""
    return not (out.events or out.more) and _passed(data, out, is_agents=track.is_agents)


def _passed(data: bytes, out: Output, *, is_agents: bool) -> bool:
    """Return whether all of a read went on as it came, and nothing else was written."""
    if is_agents:
        return out.to_haproxy is data and len(out.to_agent) == 0
    return out.to_agent is data and len(out.to_haproxy) == 0


def _closed(out: Output) -> Iterable[tuple[bool, int, End]]:
    """Yield which connections the guard closes."""
    if out.close_haproxy is not Close.KEEP:
        yield True, 0, _ENDS[out.close_haproxy]
    for order in (out, *out.more):
        if order.close_agent is not Close.KEEP:
            yield False, order.link, _ENDS[order.close_agent]
