"""One connection of a session: its socket, what waits to be sent on it, and what may be done to it.

Nothing here waits, logs or counts. The same code runs on both event loops, which only say when there is something to read
or room to write. What is read goes over the session's hot lane as far as it is ordinary, from this leg to the peer's and past
everything else; the rest goes to the session. Compiled by Cython, see the .pxd.
"""

import asyncio
import contextlib
import math
import socket
import struct
import weakref
from typing import Final, Protocol

from spoe_guard.core.conversation.ledger import Ledger
from spoe_guard.core.lane import Lane
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.output import Close
from spoe_guard.net import calls
from spoe_guard.net.witness import Track

# A leg is full when more than this many bytes wait to be sent on it, and takes more again at the low mark. Past the mark come
# at most what one read of either side makes a session write: a read (calls.READ_BYTES) and what was held (held_bytes).
HIGH_WATER: Final = 65536
LOW_WATER: Final = 16384
_SENT_AT_ONCE: Final = 65536  # of what waits, so that others have their turn

# Why reading from a peer stands still; bits, because the reasons come and go on their own.
OTHER_IS_FULL: Final = 1  # what it writes has nowhere to go
DIALLING: Final = 2  # the session's first agent link is not there yet
SELF_IS_FULL: Final = 4  # it does not read what its own frames make the guard answer
HANDED_OVER: Final = 8  # the next guard is to read what comes
NOT_HEARD: Final = 16  # the session has not yet dealt with all of the last read

_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close sends RST and throws away what is queued


class LegOwner(Protocol):
    """What a leg tells, and whom: its relay."""

    def made(self, leg: "Leg") -> None:
        """Its connection is there."""

    def take(self, leg: "Leg", data: bytes, now: float) -> int:
        """``data`` came that is not ordinary; return how many bytes at the end of it are left for the next turn."""

    def passed(self, leg: "Leg", data: bytes, now: float, link: int) -> None:
        """``data`` went over the lane, to or from the agent of that ``link``."""

    def filled(self, leg: "Leg") -> None:
        """What is written to it does not get away."""

    def emptied(self, leg: "Leg") -> None:
        """There is room again."""

    def said_fin(self, leg: "Leg") -> None:
        """Its peer will send nothing more."""

    def lost(self, leg: "Leg", *, reset: bool) -> None:
        """Its connection is gone."""

    def broke(self, error: Exception, side: Side = Side.HAPROXY, rest: bytes = b"") -> None:
        """A bug of ours; nobody has dealt with ``rest`` of what ``side`` wrote."""


class Leg:
    """The connection of one ``side``. Of its end the relay hears once, from the loop: never inside a call of the relay's own.

    ``link``: which agent link it is, by its number in the session; HAProxy's leg has 0 there. ``connected``: between ``begin``
    and the end. ``close_by``: when it is given up, in monotonic seconds; only after ``close``. ``track``: what the witness
    knows of it, where there is one.
    """

    def __init__(self, relay: "LegOwner", side: Side, link: int = 0) -> None:
        self.relay = relay
        self.side = side
        self.is_agents = side is Side.AGENT
        self.link = link
        self.track: Track | None = None
        self.lane: Lane | None = None
        self.ledger: Ledger | None = None  # the lane's, of an agent's link
        self.haproxy: Leg | None = None  # where an agent's ACKs go
        self.sock: socket.socket | None = None  # while connected
        self.connected = False
        self.closing = False
        self.close_by = math.inf
        self.eof = False  # the peer will send nothing more
        self.full = False  # what is written to it does not get away fast enough
        self._loop = asyncio.get_running_loop()
        self._fd = -1
        self._takes = False  # what is written to it is sent
        self._fin_waits = False  # a FIN is to be sent behind what is queued
        self._queue = bytearray()  # the loop says when there is room as long as something is in here
        self._unheard = b""  # the end of the last read: the session deals with more of it in the loop's next turn
        self._paused = 0
        self._was_reset = False
        self._kept: weakref.ref[object] | None = None  # the loop's own reference to what it calls, while it watches for bytes

    def begin(self, sock: socket.socket) -> None:
        """The connection is there: read from it, and tell the relay. One that was given up meanwhile is reset.

        Raises:
            OSError: the loop cannot watch one more; ``sock`` is closed.
        """
        if self.closing:
            _reset(sock)
            sock.close()
            return
        if sock.family != socket.AF_UNIX:
            with contextlib.suppress(OSError):  # it broke in the meantime, which the first read tells
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._fd = sock.fileno()
        try:
            if not self._paused:
                self._watch()
        except Exception:
            self._kept = None
            self._fd = -1
            sock.close()
            raise
        self.sock = sock
        self.connected = self._takes = True
        self.relay.made(self)

    @property
    def unsent(self) -> int:
        """Bytes that were written and did not get away yet."""
        return len(self._queue)

    @property
    def unheard(self) -> int:
        """Bytes that came and the session has not dealt with."""
        return len(self._unheard)

    @property
    def descriptor(self) -> int:
        """Of the connection, -1 where it is gone."""
        return self._fd

    # What the event loop calls

    def _readable(self) -> None:
        if self._fd < 0:
            return
        if self._paused:  # the loop would say it again and again
            self._ignore()
            return
        try:
            data = calls.receive(self._fd)
        except OSError:
            self._end(reset=True)
            return
        if data:
            self.take(data)
        elif data is not None:
            self.eof = True
            self._ignore()  # what was read to its end can be read again and again
            self.relay.said_fin(self)

    def _writable(self) -> None:
        if self._fd < 0 or not self._queue:
            return
        with memoryview(self._queue) as waiting:
            piece = bytes(waiting[:_SENT_AT_ONCE])
        try:
            sent = calls.send(self._fd, piece)
        except OSError:
            self._end(reset=True)
            return
        del self._queue[:sent]
        if not self._queue:
            self._sent()
        if self.full and len(self._queue) <= LOW_WATER:
            self.full = False
            self.resume_reading(SELF_IS_FULL)
            self.relay.emptied(self)

    def _hear_more(self) -> None:
        """Take more of the last read, unless the session wants none of it any more."""
        rest, self._unheard = self._unheard, b""
        if not self.closing:
            self.take(rest)
        if not self._unheard:
            self.resume_reading(NOT_HEARD)

    def _lost(self) -> None:
        if self._unheard:  # came before the end
            self._loop.call_soon(self._lost)
            return
        self.use(None)
        self.relay.lost(self, reset=self._was_reset)

    # What the relay calls

    def use(self, lane: Lane | None, ledger: Ledger | None = None, haproxy: "Leg | None" = None) -> None:
        """Let what is ordinary pass on ``lane``: HAProxy's, or that of the agent link of ``ledger`` to the leg ``haproxy``."""
        self.lane, self.ledger, self.haproxy = lane, ledger, haproxy
        if ledger is not None:
            ledger.carrier = self

    def take(self, data: bytes) -> None:
        """The one way through: over the lane as far as ``data`` is ordinary, the rest to the session."""
        now = calls.now()
        done, end = 0, len(data)  # what is done with, one way or the other
        try:
            lane = self.lane
            if lane is not None and lane.plain:
                if self.is_agents:
                    done = self._to_haproxy(lane, data, now)
                else:
                    done = self._to_agent(lane, data, 0, now)
                    while 0 < done < end:  # the next NOTIFY may go to another agent
                        stop = self._to_agent(lane, data, done, now)
                        if stop == done:
                            break
                        done = stop
                if done == end:
                    return
            rest = data[done:] if done > 0 else data
            done = end
            left = self.relay.take(self, rest, now)
            if left:
                self._unheard = data[end - left :]
                self.pause_reading(NOT_HEARD)
                self._loop.call_soon(self._hear_more)
        except Exception as error:  # noqa: BLE001  our own bug: the session ends or is spliced, the process goes on
            self.relay.broke(error, self.side, data[done:])

    def write(self, data: bytes) -> None:
        """Send ``data``; on a leg that is gone, or behind its end or half-close, it is dropped."""
        if self.full:  # the other side stands still already, so this comes of the leg's own bytes
            self.pause_reading(SELF_IS_FULL)
        if not self._takes:
            return
        sent = 0
        if not self._queue:
            try:
                sent = calls.send(self._fd, data)
            except OSError:
                self._end(reset=True)
                return
            if sent == len(data):
                return
            self._loop.add_writer(self._fd, self._writable)
        self._queue += memoryview(data)[sent:]
        if len(self._queue) > HIGH_WATER and not self.full:
            self.full = True
            self.relay.filled(self)

    def pause_reading(self, why: int) -> None:
        """Stop reading from the peer, at once, until every reason is gone. The loop is told when bytes come: often none do."""
        self._paused |= why

    def resume_reading(self, why: int) -> None:
        """Drop one reason for not reading."""
        if self._paused:
            self._paused &= ~why
            if self.connected and not self._paused and not self.eof and not self.closing and self._kept is None:
                self._watch()

    def close(self, how: Close, close_s: float) -> None:
        """End the connection. A flush that takes longer than ``close_s`` is given up by the relay's timer."""
        if how is Close.ABORT:
            self.abort()
        elif how is Close.HALF:
            if self._takes:
                self._takes = False
                self._fin_waits = True
                if not self._queue:
                    self._shut_down()
        elif not self.closing:
            self.closing = True
            self._takes = False
            self._ignore()
            if self._queue:
                self.close_by = calls.now() + close_s
            else:
                self._end(reset=False)

    def leave(self) -> None:
        """Close our descriptor without closing the connection: it was handed over."""
        self.closing = True
        self.close_by = math.inf
        self._end(reset=False)

    def abort(self) -> None:
        """Reset the connection, queued bytes and all; one that is still being made ends as soon as it is there."""
        self.closing = True
        self.close_by = math.inf
        if self.sock is not None:
            _reset(self.sock)
            self._end(reset=False)

    # Inside

    def _to_haproxy(self, lane: Lane, data: bytes, now: float) -> int:
        """Write to HAProxy the ACKs that ``lane`` lets pass; return where they end."""
        ledger, haproxy = self.ledger, self.haproxy
        if ledger is None or haproxy is None:
            return 0
        stop = lane.down(ledger, data, now)
        if stop > 0:
            part = data if stop == len(data) else data[:stop]
            haproxy.write(part)
            if self.track is not None:
                self.relay.passed(self, part, now, self.link)
        return stop

    def _to_agent(self, lane: Lane, data: bytes, pos: int, now: float) -> int:
        """Write to one agent the NOTIFYs from ``pos`` on that ``lane`` lets pass to it; return where they end."""
        stop = lane.up(data, pos, now)
        if stop > pos:
            part = data if stop - pos == len(data) else data[pos:stop]
            leg: Leg | None = lane.ledger.carrier
            if leg is not None:
                leg.write(part)
                if self.track is not None:
                    self.relay.passed(self, part, now, leg.link)
        return stop

    def _watch(self) -> None:
        """Have the loop say when there is something to read."""
        callback = self._readable
        self._kept = weakref.ref(callback, self._dropped)
        self._loop.add_reader(self._fd, callback)

    def _ignore(self) -> None:
        """Have it say nothing of that any more."""
        if self._kept is not None:
            self._kept = None
            self._loop.remove_reader(self._fd)

    def _dropped(self, _kept: "weakref.ref[object]") -> None:
        """The loop forgot what it was to call.

        uvloop does so, and says nothing, with a descriptor of which epoll reports an error: it calls once more, and never again
        (UVPoll._fatal_error in 0.23). A reset that came behind bytes would not be met: the one call reads the bytes.
        """
        if not self._loop.is_closed():
            self._loop.call_soon(self._watch_again)

    def _watch_again(self) -> None:
        if self._kept is not None and self._kept() is None:
            self._ignore()  # of the loop's books
            self._watch()

    def _sent(self) -> None:
        """Nothing waits any more."""
        self._loop.remove_writer(self._fd)
        if self.closing:
            self._end(reset=False)
        elif self._fin_waits:
            self._shut_down()

    def _shut_down(self) -> None:
        try:
            if self.sock is not None:
                self.sock.shutdown(socket.SHUT_WR)
        except OSError:  # it broke in the meantime
            self._end(reset=True)

    def _end(self, *, reset: bool) -> None:
        """Close the descriptor, which the loop must have forgotten before. The relay hears of it in the loop's next turn."""
        if self.sock is None:
            return
        self._ignore()
        if self._queue:
            self._loop.remove_writer(self._fd)
            self._queue = bytearray()
        self.connected = self._takes = False
        self._fd = -1
        self.sock.close()
        self.sock = None
        self._was_reset = reset
        self._loop.call_soon(self._lost)


def _reset(sock: socket.socket) -> None:
    """Have the peer see a reset when ``sock`` is closed; a Unix socket knows none and just closes."""
    if sock.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):  # it broke in the meantime
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
