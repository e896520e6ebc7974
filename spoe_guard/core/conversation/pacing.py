"""How fast HAProxy is written to: no faster than its SPOP mux can take.

A read that fills the mux's buffer (16 KiB by default) stops HAProxy 3.1 to 3.5-dev from ever reading that connection again
(hazard A1; ``spop_recv`` in ``mux_spop.c``: nothing clears the flag that says the buffer is full). Every version that was tested
accepts 8 KiB at intervals of a millisecond.
"""

from typing import Final

from spoe_guard.wire import frame as frames
from spoe_guard.wire import walk

BURST_BYTES: Final = 8192  # of whole frames, within any WINDOW_S; a longer frame is sent alone
WINDOW_S: Final = 0.001
_BURST_BYTES = BURST_BYTES  # in C, see the .pxd
_WINDOW_S = WINDOW_S


class Pace:
    """Lets whole frames through, at most ``BURST_BYTES`` within any ``WINDOW_S``, and queues the rest in order.

    Written bytes are counted in slots of at least ``WINDOW_S``, so a window overlaps at most two slots.
    """

    def __init__(self) -> None:
        self.queue = b""
        self._sent = 0  # bytes written in this slot
        self._before = 0  # bytes written in the slot before, as far as they still count
        self._last = -WINDOW_S  # when the last byte was written
        self._slot_ends = 0.0

    @property
    def due(self) -> float:
        """The latest time at which the first frame in the queue may be sent."""
        return self._last + WINDOW_S

    def has_room(self, size: int, now: float) -> bool:
        """Whether ``size`` bytes, one frame or several, may be written at once."""
        if now >= self._slot_ends:
            self._before = self._sent if now < self._last + _WINDOW_S else 0
            self._sent = 0
            self._slot_ends = now + _WINDOW_S
        return not self.queue and self._before + self._sent + size <= _BURST_BYTES

    def passes(self, size: int, now: float) -> bool:
        """Do the same as ``has_room``, and count the bytes as written if they may be."""
        if not self.has_room(size, now):
            return False
        self._sent += size
        self._last = now
        return True

    def through(self, data: bytes, now: float) -> bytes:
        """Queue ``data``, whole frames, and return the part of the queue that may be written now."""
        queue, self.queue = self.queue + data, b""
        end = 0
        while end < len(queue):
            size = frames.LENGTH_BYTES + walk.length_at(queue, end)
            if size > BURST_BYTES and now >= self.due:
                self._before, self._sent = 0, size
                self._last, self._slot_ends = now, now + WINDOW_S
            elif not self.passes(size, now):
                break
            end += size
        self.queue = queue[end:]
        return queue[:end]

    def release(self) -> bytes:
        """Return the queue and empty it."""
        queue, self.queue = self.queue, b""
        return queue
