"""One connection of a session: what its transport reports, and what may be done to it.

A plain class with the methods event loops call on a protocol; it does not inherit from asyncio.Protocol, which
mypyc could not compile. Nothing here waits, logs or counts.
"""

import asyncio
import contextlib
import math
import socket
import struct
from time import monotonic
from typing import TYPE_CHECKING, Final

from spoe_guard.core.anomalies import Side
from spoe_guard.core.output import Close
from spoe_guard.net.witness import Track

if TYPE_CHECKING:
    from spoe_guard.net.relay import Relay

# A leg is full when this many bytes wait to be sent on it, and takes more again at the low mark. Past the mark come at
# most what one read of either side makes a session write: a read (256 KiB on both loops) and what was held (held_bytes).
HIGH_WATER: Final = 65536
LOW_WATER: Final = 16384

# Why reading from a peer stands still; bits, because the reasons come and go on their own.
OTHER_IS_FULL: Final = 1  # what it writes has nowhere to go
DIALLING: Final = 2  # the session's first agent link is not there yet
SELF_IS_FULL: Final = 4  # it does not read what its own frames make the guard answer
HANDED_OVER: Final = 8  # the next guard is to read what comes

_now: Final = monotonic  # compiled, a module's own name is found sooner than another one's

_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close sends RST and throws away what is queued


class Leg(Track):
    """The connection of one ``side``. ``close_by``: when it is given up, in monotonic seconds; only after ``close``.

    ``link``: which agent link it is, by its number in the session; HAProxy's leg has 0 there.
    """

    __slots__ = (
        "__weakref__", "_held", "_queues", "close_by", "closing", "eof", "full", "relay", "sock", "transport",
    )  # fmt: skip

    def __init__(self, relay: "Relay", side: Side, link: int = 0) -> None:
        super().__init__(relay.number, side, link)
        self.relay = relay
        self.transport: asyncio.Transport | None = None  # None before connection_made and after connection_lost
        self.sock: socket.socket | None = None  # the transport's own, to send at once what need not be queued
        self.closing = False
        self.close_by = math.inf
        self.eof = False  # the peer will send nothing more
        self.full = False  # what is written to it does not get away fast enough
        self._held = 0
        self._queues = False  # the transport was given something that may not be sent yet

    # What the event loop calls

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Tell the relay, unless it has given this connection up meanwhile."""
        if self.closing:
            reset(transport)
            return
        self.transport = transport
        transport.set_write_buffer_limits(HIGH_WATER, LOW_WATER)
        self.relay.made(self)

    def data_received(self, data: bytes) -> None:
        """The one way through: bytes in, ``Output`` out."""
        relay = self.relay
        if self._held and self.transport is not None:
            self.transport.pause_reading()  # uvloop forgets a pause asked for in connection_made
        try:
            relay.take(self, data, _now())
        except Exception as error:  # noqa: BLE001  our own bug: the session ends or is spliced, the process goes on
            relay.broke(error)

    def eof_received(self) -> bool:
        """Tell the session of the FIN. True: the transport stays, it is the session that says when to close."""
        self.eof = True
        self.relay.said_fin(self)
        return True

    def connection_lost(self, error: BaseException | None) -> None:
        """Tell the relay, and through it the session if it did not ask for this."""
        self.sock = None
        if self.transport is not None:
            self.transport = None
            self.relay.lost(self, reset=error is not None)

    def pause_writing(self) -> None:
        """Take nothing more from the other side: the peer does not read fast enough."""
        self.full = True
        self.relay.filled(self)

    def resume_writing(self) -> None:
        """Go on reading, here and on the other side."""
        self.full = False
        self.let_go(SELF_IS_FULL)
        self.relay.emptied(self)

    @property
    def unsent(self) -> int:
        """Bytes that were written and did not get away yet."""
        return self.transport.get_write_buffer_size() if self.transport is not None else 0

    @property
    def descriptor(self) -> int:
        """Of the connection, -1 where it is gone."""
        sock = self.transport.get_extra_info("socket") if self.transport is not None else None
        return sock.fileno() if sock is not None else -1

    # What the relay calls

    def write(self, data: bytes) -> None:
        """Send ``data``; on a leg that is gone it is dropped."""
        if self.full:  # the other side stands still already, so this comes of the leg's own bytes
            self.hold(SELF_IS_FULL)
        if self.transport is None:
            return
        if self.sock is not None and not self.closing and not (self._queues and self.unsent):
            # The transport would do the same: what it asks itself on the way costs more than the rest of a write here.
            try:
                sent = self.sock.send(data)
            except OSError:  # the peer does not read, or the connection broke: the transport sees the same
                sent = 0
            if sent == len(data):
                self._queues = False
                return
            data = data[sent:]
        self._queues = True
        self.transport.write(data)

    def hold(self, why: int) -> None:
        """Stop reading from the peer until every reason is gone. Bytes may come all the same."""
        if not self._held and not self.eof and self.transport is not None:
            self.transport.pause_reading()
        self._held |= why

    def let_go(self, why: int) -> None:
        """Drop one reason for not reading."""
        if self._held:
            self._held &= ~why
            if not self._held and not self.eof and not self.closing and self.transport is not None:
                self.transport.resume_reading()

    def close(self, how: Close, close_s: float) -> None:
        """End the connection. A flush that takes longer than ``close_s`` is given up by the relay's timer."""
        if how is Close.ABORT:
            self.abort()
        elif how is Close.HALF:
            if self.transport is not None and not self.closing:
                self.transport.write_eof()
        elif not self.closing:
            self.closing = True
            if self.transport is not None:
                self.close_by = monotonic() + close_s
                self.transport.close()

    def leave(self) -> None:
        """Have no part in the connection any more, which goes on: somebody else has it too."""
        self.closing = True
        if self.transport is not None:
            self.transport.abort()  # closes the descriptor, and no more than that

    def abort(self) -> None:
        """Reset the connection, queued bytes and all; one that is still being made ends as soon as it is there."""
        self.closing = True
        self.close_by = math.inf
        if self.transport is not None:
            reset(self.transport)


def reset(transport: asyncio.Transport) -> None:
    """End a connection so that its peer sees a reset; a Unix socket knows none and just closes."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):  # it broke in the meantime
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()
