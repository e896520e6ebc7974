"""One connection of a session: its socket, its send queue, and how it is closed.

Nothing here waits, logs or counts. The same code runs on both event loops, which only report when the socket can be read or
written. The ordinary part of a read goes over the session's hot lane, directly from this leg to the peer's; the rest goes to the
session. Compiled by Cython, see the .pxd.
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

# A leg is full when more than this many bytes are queued on it, and accepts more again at the low mark. The queue can exceed the
# mark by what one read of either side makes a session write: a read (calls.READ_BYTES) and the buffered bytes (held_bytes).
HIGH_WATER: Final = 65536
LOW_WATER: Final = 16384
_SENT_AT_ONCE: Final = 65536  # of the queue, so that others get their turn

# Why reading from a peer is paused; bits, because the reasons come and go independently.
OTHER_IS_FULL: Final = 1  # the leg that its bytes go to is full
DIALLING: Final = 2  # the session's first agent link is not connected yet
SELF_IS_FULL: Final = 4  # it does not read the guard's answers to its own frames
HANDED_OVER: Final = 8  # the next guard is to read the following bytes
NOT_HEARD: Final = 16  # the session has not yet handled all of the last read

_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close sends RST and discards the queue


class LegOwner(Protocol):
    """What a leg calls: its relay."""

    def made(self, leg: "Leg") -> None:
        """Its connection is established."""

    def crowded(self) -> bool:
        """Whether others wait for their turn, so that a read that is not ordinary has to wait, too."""

    def wait(self, leg: "Leg") -> None:
        """Call ``turn`` of ``leg`` when it is its turn."""

    def take(self, leg: "Leg", data: bytes, now: float, ahead: bytes) -> int:
        """Handle ``data``, which is not ordinary; return how many bytes at its end are left for the next turn.

        ``ahead``: what passed to HAProxy on the lane in front of it, and is to be written together with what comes of it.
        """

    def passed(self, leg: "Leg", data: bytes, now: float, link_id: int) -> None:
        """``data`` passed on the lane, to or from the agent of that ``link_id``."""

    def filled(self, leg: "Leg") -> None:
        """Its send queue is full."""

    def emptied(self, leg: "Leg") -> None:
        """Its send queue has room again."""

    def got_fin(self, leg: "Leg") -> None:
        """Its peer will send nothing more."""

    def lost(self, leg: "Leg", *, reset: bool) -> None:
        """Its connection is gone."""

    def broke(self, error: Exception, side: Side = Side.HAPROXY, rest: bytes = b"") -> None:
        """Handle a bug of ours; nobody has handled ``rest`` of what ``side`` sent."""


class Leg:
    """The connection of one ``side``. It reports its end to the relay once, from the loop: never inside a call of the relay.

    ``link_id``: the number of the agent link in the session; 0 for HAProxy's leg. ``connected``: between ``begin`` and the end.
    ``close_by``: when a flush is given up, in monotonic seconds; only after ``close``. ``track``: the witness's data about this
    connection, if there is a witness.
    """

    def __init__(self, relay: "LegOwner", side: Side, link_id: int = 0) -> None:
        self.relay = relay
        self.side = side
        self.is_agents = side is Side.AGENT
        self.link_id = link_id
        self.track: Track | None = None
        self.lane: Lane | None = None
        self.ledger: Ledger | None = None  # the lane's, of an agent's link
        self.haproxy: Leg | None = None  # where an agent's ACKs go
        self.sock: socket.socket | None = None  # while connected
        self.connected = False
        self.closing = False
        self.close_by = math.inf
        self.eof = False  # the peer sent FIN
        self.full = False  # the send queue is above the high mark
        self._loop = asyncio.get_running_loop()
        self._fd = -1
        self._written = 0
        self._takes = False  # what is written to it is sent, not dropped
        self._fin_waits = False  # a FIN follows the send queue
        self._queue = bytearray()  # while it is not empty, the loop reports when the socket can be written
        self._unheard = b""  # the end of the last read: the session handles more of it when it is this leg's turn
        self._waits = False  # for that turn
        self._paused = 0
        self._was_reset = False
        self._is_lost = False  # the end is to be reported behind what is unheard
        self._kept: weakref.ref[object] | None = None  # the loop's own reference to its callback, while it watches for bytes

    def begin(self, sock: socket.socket) -> None:
        """The connection is established: read from it, and notify the relay. If it was given up meanwhile, reset it.

        Raises:
            OSError: the loop cannot watch one more; ``sock`` is closed.
        """
        if self.closing:
            _reset(sock)
            sock.close()
            return
        if sock.family != socket.AF_UNIX:
            with contextlib.suppress(OSError):  # it broke meanwhile; the first read reports that
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
    def sent(self) -> int:
        """Bytes that the kernel took, since the beginning."""
        return self._written - len(self._queue)

    @property
    def unsent(self) -> int:
        """Bytes that were written and not sent yet."""
        return len(self._queue)

    @property
    def unheard(self) -> int:
        """Bytes that were received and that the session has not handled yet."""
        return len(self._unheard)

    @property
    def descriptor(self) -> int:
        """The file descriptor, -1 if the connection is gone."""
        return self._fd

    # What the event loop calls

    def _readable(self) -> None:
        if self._fd < 0:
            return
        if self._paused:  # otherwise the loop would report it again and again
            self._ignore()
            return
        try:
            data = calls.receive(self._fd)
        except OSError:
            self._end(reset=True)
            return
        if data:
            self._handle(data, calls.now(), True)  # noqa: FBT003
        elif data is not None:
            self.eof = True
            self._ignore()  # the loop would report the end of the stream again and again
            self.relay.got_fin(self)

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

    def turn(self) -> None:
        """It is this leg's turn to handle more of the last read."""
        self._waits = False
        self.hear_more()

    def _lost(self) -> None:
        if self._unheard:  # those bytes came before the end
            self._is_lost = True
            return
        self._is_lost = False
        self.use(None)
        self.relay.lost(self, reset=self._was_reset)

    # What the relay calls

    def use(self, lane: Lane | None, ledger: Ledger | None = None, haproxy: "Leg | None" = None) -> None:
        """Let ordinary frames pass on ``lane``: HAProxy's, or those of the agent link of ``ledger`` to the leg ``haproxy``."""
        if self.ledger is not None and self.ledger.carrier is self:
            self.ledger.carrier = None
        self.lane, self.ledger, self.haproxy = lane, ledger, haproxy
        if ledger is not None:
            ledger.carrier = self

    def take(self, data: bytes) -> None:
        """Handle every received byte: the ordinary part goes over the lane, the rest to the session, now or in later turns."""
        self._handle(data, calls.now(), True)  # noqa: FBT003

    def hear_more(self) -> None:
        """Handle a slice of what is unheard, unless the session is closing."""
        rest, self._unheard = self._unheard, b""
        if rest and not self.closing:
            self._handle(rest, calls.now(), False)  # noqa: FBT003
        if not self._unheard:
            self.resume_reading(NOT_HEARD)
            if self._is_lost:
                self._lost()

    def write(self, data: bytes) -> None:
        """Send ``data``; drop it if the leg is gone, closing or half-closed."""
        if self.full:  # the other side is paused already, so this leg's own bytes cause the writing
            self.pause_reading(SELF_IS_FULL)
        if not self._takes:
            return
        self._written += len(data)
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
        """Stop reading from the peer until every reason is gone. The loop stops watching only when bytes come: often none do."""
        self._paused |= why

    def resume_reading(self, why: int) -> None:
        """Remove one reason for not reading."""
        if self._paused:
            self._paused &= ~why
            if self.connected and not self._paused and not self.eof and not self.closing and self._kept is None:
                self._watch()

    def close(self, how: Close, close_s: float) -> None:
        """Close the connection. The relay's timer gives up a flush that takes longer than ``close_s``."""
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
        """Reset the connection, including queued bytes; one that is still being established ends as soon as it is connected."""
        self.closing = True
        self.close_by = math.inf
        if self.sock is not None:
            _reset(self.sock)
            self._end(reset=False)

    def let_go(self) -> None:
        """The relay is over: refer to it no longer. A connection that comes too late is reset."""
        self.closing = True
        self.relay = None  # type: ignore[assignment]  # nothing asks for it any more

    # Inside

    def _handle(self, data: bytes, now: float, fresh: bool) -> None:  # noqa: FBT001  C has no keywords
        done, end = 0, len(data)  # how much was handled, one way or the other
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
            ahead = data[:done] if done > 0 and self.is_agents else b""
            if fresh and self.relay.crowded():
                if ahead and self.haproxy is not None:
                    self.haproxy.write(ahead)
                self._leave_for_later(rest)
                return
            done = end
            left = self.relay.take(self, rest, now, ahead)
            if left:
                self._leave_for_later(data[end - left :])
        except Exception as error:  # noqa: BLE001  our own bug: the session ends or is spliced, the process goes on
            self.relay.broke(error, self.side, data[done:])

    def _leave_for_later(self, rest: bytes) -> None:
        """Keep ``rest`` until it is this leg's turn, and read nothing meanwhile."""
        self._unheard = rest
        self.pause_reading(NOT_HEARD)
        if not self._waits:
            self._waits = True
            self.relay.wait(self)

    def _to_haproxy(self, lane: Lane, data: bytes, now: float) -> int:
        """Let the ACKs pass that ``lane`` lets pass, and return their end; write them to HAProxy if they are all of ``data``.

        In front of other frames they are written with what comes of those. HAProxy would send its next NOTIFY between an ACK and
        a DISCONNECT that came together, and lose it.
        """
        ledger, haproxy = self.ledger, self.haproxy
        if ledger is None or haproxy is None:
            return 0
        stop = lane.down(ledger, data, now)
        if stop > 0:
            part = data if stop == len(data) else data[:stop]
            if part is data:
                haproxy.write(part)
            if self.track is not None:
                self.relay.passed(self, part, now, self.link_id)
        return stop

    def _to_agent(self, lane: Lane, data: bytes, pos: int, now: float) -> int:
        """Write to one agent the NOTIFYs from ``pos`` on that ``lane`` lets pass to it; return their end."""
        stop = lane.up(data, pos, now)
        if stop > pos:
            part = data if stop - pos == len(data) else data[pos:stop]
            leg: Leg | None = lane.ledger.carrier
            if leg is not None:
                leg.write(part)
                if self.track is not None:
                    self.relay.passed(self, part, now, leg.link_id)
        return stop

    def _watch(self) -> None:
        """Have the loop report when there is something to read."""
        callback = self._readable
        self._kept = weakref.ref(callback, self._dropped)
        self._loop.add_reader(self._fd, callback)

    def _ignore(self) -> None:
        """Stop the loop from reporting that."""
        if self._kept is not None:
            self._kept = None
            self._loop.remove_reader(self._fd)

    def _dropped(self, _kept: "weakref.ref[object]") -> None:
        """The loop dropped its reference to the callback.

        uvloop does so silently for a descriptor on which epoll reports an error: it calls once more, and never again
        (UVPoll._fatal_error in 0.23). A reset that follows bytes would be missed, because that one call reads the bytes.
        """
        if not self._loop.is_closed():
            self._loop.call_soon(self._watch_again)

    def _watch_again(self) -> None:
        if self._kept is not None and self._kept() is None:
            self._ignore()  # remove it from the loop's own bookkeeping
            self._watch()

    def _sent(self) -> None:
        """Handle an empty send queue: stop watching, then close or send FIN if that is due."""
        self._loop.remove_writer(self._fd)
        if self.closing:
            self._end(reset=False)
        elif self._fin_waits:
            self._shut_down()

    def _shut_down(self) -> None:
        try:
            if self.sock is not None:
                self.sock.shutdown(socket.SHUT_WR)
        except OSError:  # it broke meanwhile
            self._end(reset=True)

    def _end(self, *, reset: bool) -> None:
        """Close the descriptor, which the loop must stop watching before. The relay is notified in the loop's next turn."""
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
    """Make the peer see a reset when ``sock`` is closed; a Unix socket has no reset and just closes."""
    if sock.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):  # it broke meanwhile
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
