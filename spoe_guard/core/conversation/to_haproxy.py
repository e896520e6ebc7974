"""HAProxy's connection, as a session sees it: what is written to it, how fast, and when it is closed."""

import math

from spoe_guard.core.conversation.outlet import Outlet
from spoe_guard.core.conversation.pacing import Pace
from spoe_guard.core.conversation.report import Report
from spoe_guard.core.payloads.family import Family
from spoe_guard.core.terms.events import AuthoredReason, Direction
from spoe_guard.core.terms.output import Close


class ToHAProxy:
    """Everything that is written to HAProxy goes through here.

    ``outlet``: what this step writes. ``pace``: how fast HAProxy is written to; None if that does not matter. ``family``: the
    HAProxy version family, as far as known. ``done``: the connection is closed, was asked to close, or was handed over. ``due``:
    when more of the queue may be written, monotonic seconds; infinity while the queue is empty.
    """

    def __init__(self, report: Report, *, paced: bool) -> None:
        self.outlet = Outlet()
        self.pace = Pace() if paced else None
        self.family = Family.UNKNOWN
        self.done = False
        self.due = math.inf
        self._close = Close.KEEP
        self._report = report

    def author(self, data: bytes, reason: AuthoredReason) -> bool:
        """Write a whole frame of the guard's own; False if it is too late."""
        if self.done or not self.outlet.author(data):
            return False
        self._report.authored(Direction.TO_HAPROXY, data, reason)
        return True

    def recognise(self, family: Family) -> None:
        """Set the HAProxy family. An applet can be written to at any speed."""
        self.family = family
        if family is Family.APPLET and self.pace is not None:
            self.outlet.put_back(self._take_queue())
            self.pace = None

    def close(self) -> None:
        """Close the connection after its queued bytes are sent."""
        if not self.done:
            self._close = Close.FLUSH
            self.done = True
            self.outlet.seal()

    def handed_over(self) -> None:
        """Another guard has the connection now."""
        self.done = True

    # --- at the end of a step -------------------------------------------------------------------------------------------

    @property
    def queued(self) -> int:
        """Bytes that HAProxy cannot take yet."""
        return len(self.pace.queue) if self.pace is not None else 0

    def write(self, now: float) -> bytes:
        """Return what to write now; queue what HAProxy cannot take yet."""
        data = self.outlet.take()
        pace = self.pace
        if pace is None or not (data or pace.queue) or pace.passes(len(data), now):
            return data
        data = pace.through(data, now)
        self.due = pace.due if pace.queue else math.inf
        return data

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
        self.due = math.inf
        return self.pace.release() if self.pace is not None else b""
