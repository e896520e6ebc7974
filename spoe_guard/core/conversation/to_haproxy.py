"""HAProxy's connection, as a session sees it: what is written to it, how far ahead of its reading, and when it is closed."""

import math
from collections.abc import Callable
from typing import Final

from spoe_guard.core.conversation.outlet import Outlet
from spoe_guard.core.conversation.pacing import Crowd, Pace
from spoe_guard.core.conversation.report import Report
from spoe_guard.core.terms.events import AuthoredReason, Direction
from spoe_guard.core.terms.family import Family
from spoe_guard.core.terms.output import Close

FIN_S: Final = 0.005  # behind AGENT-DISCONNECT, and once HAProxy has read it
LINGERS_AFTER: Final = 2  # connections in a row that HAProxy did not close itself


class Lingering:
    """Whether the HAProxys of a route go on using a connection behind AGENT-DISCONNECT, until FIN comes.

    3.1.0 to 3.1.7 do: mux_spop.c there sets its state back to FRAME_H (fixed by a3940614c), and each NOTIFY sent behind it waits
    for its own timeout. Every other one closes when it has read that frame.
    """

    __slots__ = ("_in_a_row",)

    def __init__(self) -> None:
        self._in_a_row = 0

    @property
    def known(self) -> bool:
        """Whether they have done so ``LINGERS_AFTER`` times in a row: FIN should follow at once."""
        return self._in_a_row >= LINGERS_AFTER

    def left_open(self) -> None:
        """One has read AGENT-DISCONNECT, and ``FIN_S`` later its connection is open."""
        self._in_a_row = min(self._in_a_row + 1, LINGERS_AFTER)

    def closed(self) -> None:
        """One has closed its connection itself."""
        self._in_a_row = 0


class ToHAProxy:
    """Everything that is written to HAProxy goes through here.

    ``outlet``: what this step writes. ``pace``: how much HAProxy is given ahead of its reading; None if that does not matter.
    ``family``: the HAProxy version family, as far as known. ``blind``: it does matter, and how much HAProxy has read cannot be
    known, so it is not to pipeline. ``done``: the connection is closed, was asked to close, or was handed over. ``fin_by``: when
    FIN follows AGENT-DISCONNECT if HAProxy has not closed, monotonic seconds; infinity if that is not awaited.

    ``paced``: False in observe mode. ``read``, ``crowd``: see ``Pace``; ``lingering``: of the route.
    """

    def __init__(
        self, report: Report, read: Callable[[], int | None] | None, crowd: Crowd, lingering: Lingering, *, paced: bool
    ) -> None:
        self.outlet = Outlet()
        self.pace: Pace | None = None
        self.family = Family.UNKNOWN
        self.blind = False
        self.done = False
        self.fin_by = math.inf
        self._fin_s = FIN_S  # for HAProxy to read AGENT-DISCONNECT; twice as long each time it has not
        self._paced = paced
        self._close = Close.KEEP
        self._report = report
        self._read = read
        self._crowd = crowd
        self._lingering = lingering

    def author(self, data: bytes, reason: AuthoredReason) -> bool:
        """Write a whole frame of the guard's own; False if it is too late."""
        if self.done or not self.outlet.author(data):
            return False
        self._report.authored(Direction.TO_HAPROXY, data, reason)
        return True

    def met(self, buffer: int, *, resumed: bool) -> None:
        """HAPROXY-HELLO came, from an HAProxy whose buffer has that many bytes; ``resumed``: to the guard before."""
        if not self._paced:
            return
        self.pace = Pace(buffer, self._read, self._crowd, resumed=resumed)
        self.blind = self._read is not None and self._read() is None

    def recognise(self, family: Family) -> None:
        """Set the HAProxy family. An applet can be given any amount."""
        self.family = family
        if family is Family.APPLET:
            self.blind = False
            self._pace_no_more()

    def asks_one_at_a_time(self) -> None:
        """HAProxy sends NOTIFYs one at a time, each behind the ACK of the one before: there is nothing that could pile up."""
        if self.blind:
            self._pace_no_more()

    def _pace_no_more(self) -> None:
        self.outlet.put_back(self._take_queue())
        self.pace = None

    def told_end(self, now: float) -> None:
        """AGENT-DISCONNECT is the last frame: HAProxy closes when it has read it, and otherwise gets FIN.

        Not at once: HAProxy 3.2 and later sometimes leaves a request to its timeout if both come right behind its NOTIFY (E3).
        """
        if self._lingering.known:
            self._close = Close.HALF
        else:
            self.fin_by = now + FIN_S

    def send_fin(self, now: float) -> None:
        """Send FIN, unless HAProxy does not run and has not read AGENT-DISCONNECT: then it gets more time.

        What HAProxy still sends is read: otherwise the kernel would reset the connection.
        """
        unread = self.pace.unread() if self.pace is not None else None
        if unread:
            self._fin_s *= 1 if self.queued else 2
            self.fin_by = now + self._fin_s
            return
        if unread == 0:
            self._lingering.left_open()
        self.fin_by = math.inf
        self._close = Close.HALF

    def close(self) -> None:
        """Close the connection after its queued bytes are sent."""
        if not self.done:
            if self.fin_by < math.inf:
                self._lingering.closed()
                self.fin_by = math.inf
            self._close = Close.FLUSH
            self.done = True
            self.outlet.seal()

    def handed_over(self) -> None:
        """Another guard has the connection now."""
        self.done = True

    # --- at the end of a step -------------------------------------------------------------------------------------------

    @property
    def due(self) -> float:
        """When more of the queue may be written, monotonic seconds; infinity while the queue is empty."""
        return self.pace.due if self.pace is not None else math.inf

    @property
    def queued(self) -> int:
        """Bytes that HAProxy cannot take yet."""
        return len(self.pace.queue) if self.pace is not None else 0

    def write(self, now: float) -> bytes:
        """Return what to write now; queue what HAProxy cannot take yet."""
        data = self.outlet.take()
        pace = self.pace
        return data if pace is None or not (data or pace.queue) else pace.through(data, now)

    def take_close(self) -> Close:
        """Return how to close the connection, once; a close waits until the queue is empty."""
        if self._close is Close.KEEP or self.queued:
            return Close.KEEP
        close, self._close = self._close, Close.KEEP
        return close

    def drop_queue(self) -> None:
        """Discard the queue: nobody will read it."""
        self.outlet.books.lose(len(self._take_queue()))

    def release(self) -> bytes:
        """Return everything not written yet, and keep nothing."""
        return self._take_queue() + self.outlet.take()

    def _take_queue(self) -> bytes:
        return self.pace.release() if self.pace is not None else b""
