"""How much HAProxy is given ahead of its reading: less than its SPOP mux can choke on.

A read that fills the mux's buffer (16 KiB by default) stops HAProxy 3.1 to 3.5-dev from ever reading that connection again
(hazard A1; ``spop_recv`` in ``mux_spop.c``: nothing clears the flag that says the buffer is full). So what HAProxy has not read
yet and what is written now stay below half of that buffer. A longer frame goes alone, once all before it was read.

Half, because HAProxy reads up to the end of its buffer and goes on at the beginning: what is written between these two reads
comes on top. And from the start of a frame on, because the part of it that was read stays in the buffer until the rest is there.
"""

import math
from collections.abc import Callable
from typing import Final

from spoe_guard.wire import frame as frames

FIRST_S: Final = 0.001  # until a connection that is full is asked about again; twice as long each time nothing was read
LONGEST_S: Final = 0.008
EACH_S: Final = 0.0002  # and at least so long for each connection of the guard that is full: a stopped HAProxy costs little
_MARKS: Final = 4  # parts of what may be unread; a frame's start is known as that of the part it is in


class Crowd:
    """How many connections of a guard are ``full``: something waits there until HAProxy has read more."""

    __slots__ = ("full",)

    def __init__(self) -> None:
        self.full = 0

    def count(self, more: int) -> None:
        """So many ``more`` are full, or less."""
        self.full += more


class Pace:
    """Lets whole frames through as HAProxy reads them, and queues the rest in order.

    ``buffer``: the size of HAProxy's buffer in bytes. ``read`` returns how many of the bytes that passed here HAProxy has read: a
    negative number if some that passed before are unread, None if it is not known, and then a full connection counts as read
    ``FIRST_S`` later. It is asked only when what may be unread is used up. Without ``read`` everything is read at once.
    ``resumed``: bytes passed before this was created. ``due``: when to try the queue again, monotonic seconds; infinity while it
    is empty.

    Positions count bytes from the beginning. Everything before ``_from`` was read. That is the start of a frame, and so are
    ``_marks``, which come behind it: the start of the first frame that is not read can be rounded down to one of them.
    """

    def __init__(
        self, buffer: int, read: Callable[[], int | None] | None = None, crowd: Crowd | None = None, *, resumed: bool = False
    ) -> None:
        self.queue = bytearray()
        self.due = math.inf
        self._read = read
        self._crowd = crowd or Crowd()
        self._most = (buffer - 1) // 2  # bytes that may be unread
        self._part = self._most // _MARKS
        self._from = -buffer if resumed else 0
        self._marks: list[int] = []
        self._written = 0
        self._stop = 0  # up to here there is room, and no mark to set
        self._wait_s = 0.0
        self._guess_at = math.inf  # where nothing is known, all counts as read by then

    def has_room(self, size: int, now: float) -> bool:
        """Whether ``size`` bytes, one frame or several, may be written at once. Never asked while something is queued."""
        return self._written + size <= self._stop or self._finds_room(size, now)

    def wrote(self, size: int) -> None:
        """Count ``size`` bytes as written: there was room for them."""
        self._written += size

    def through(self, data: bytes, now: float) -> bytes:
        """Queue ``data``, whole frames, and return the part of the queue that may be written now."""
        queue = self.queue
        waited = len(queue) > 0
        if not waited and self.has_room(len(data), now):
            self._written += len(data)
            return data
        queue += data
        if waited:
            if now < self.due:
                return b""
            self._look(now)
        end = 0
        while end < len(queue):
            size = frames.LENGTH_BYTES + int.from_bytes(queue[end : end + frames.LENGTH_BYTES], "big")
            if not self._fits(size) and self._written > self._from:
                break
            self._written += size
            self._mark()
            end += size
        out = bytes(queue[:end])
        del queue[:end]
        self._wait(now, waited=waited, moved=end > 0)
        return out

    def unread(self) -> int | None:
        """Return how many bytes HAProxy has not read, those in the queue included; None if that is not known."""
        read = self._written if self._read is None else self._read()
        return self._written + len(self.queue) - read if read is not None else None

    def hurry(self, now: float) -> None:
        """HAProxy runs, so it may have read by now what it had to."""
        if now < self.due < math.inf:
            self.due = now
            self._wait_s = FIRST_S / 2  # then it is asked about as if it were full only now

    def release(self) -> bytes:
        """Return the queue and empty it."""
        queue = bytes(self.queue)
        self.queue.clear()
        self._wait(0.0, waited=len(queue) > 0, moved=True)
        return queue

    def _wait(self, now: float, *, waited: bool, moved: bool) -> None:
        """Note when to try the queue again. ``waited``: something was in it before; ``moved``: something in front of it went."""
        waits = len(self.queue) > 0
        self._crowd.count(waits - waited)
        if not waits:
            self._guess_at = math.inf
        elif moved or not waited:
            self._guess_at = now + FIRST_S
        self._wait_s = FIRST_S if moved or not waited else min(2 * self._wait_s, LONGEST_S)
        self.due = now + max(self._wait_s, self._crowd.full * EACH_S) if waits else math.inf

    def _fits(self, size: int) -> bool:
        return self._written + size - self._from <= self._most

    def _finds_room(self, size: int, now: float) -> bool:
        """Return what ``has_room`` does, where that takes a look."""
        if not self._fits(size):
            self._look(now)  # first: to set a mark may move the one up to which all was read
        self._mark()
        if not self._fits(size):
            return False
        self._stop = min(self._from + self._most, self._written + max(size, self._part))
        return True

    def _mark(self) -> None:
        """Here a frame starts. The last mark moves here if it is close to the one before: there are few of them."""
        marks = self._marks
        last = len(marks) - 1  # no negative index: compiled, none is allowed
        at = marks[last] if last >= 0 else self._from
        before = marks[last - 1] if last > 0 else self._from
        if last >= 0 and at - before < self._part:
            marks[last] = self._written
        elif self._written > at:
            marks.append(self._written)

    def _look(self, now: float) -> None:
        """Find out how much was read, where the next frame starts."""
        read = self._written if self._read is None else self._read()
        if read is None:
            read = self._written if now >= self._guess_at else self._from
        if read >= self._written:
            self._from = self._written
            self._marks.clear()
        while self._marks and self._marks[0] <= read:
            self._from = self._marks.pop(0)
