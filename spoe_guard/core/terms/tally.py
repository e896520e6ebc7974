"""Counters of one route that the data path adds to and a scrape reads.

A plain object with integers: counting a frame must not cost a metric call. Everything that is
not ordinary is an event instead. Compiled by Cython, see the .pxd.
"""

import math
from array import array
from collections.abc import Iterator
from typing import Final

from spoe_guard.wire import frame as frames

# Upper bounds in seconds of spoe_guard_notify_ack_seconds; anything above the last counts as +Inf.
ACK_BUCKETS: Final[tuple[float, ...]] = (
    0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip

UNKNOWN_TYPE: Final = -1  # counts frames of a type that no side may send
_TYPES = (*frames.TYPE_NAMES, UNKNOWN_TYPE)

_BOUNDS = array("d", ACK_BUCKETS)  # in C
_NUMBER_OF_BOUNDS = len(ACK_BUCKETS)


class Tally:
    """The traffic of one route.

    ``bytes_*`` and ``frames_*`` count what was received for that direction; frames are indexed by type, with UNKNOWN_TYPE as the
    last, see ``by_type``. ``ack_buckets`` belong to ACK_BUCKETS. ``late_acks``: ACKs that took longer than ``late_after``
    seconds, after which HAProxy no longer waits; the observer adds those of NOTIFYs that were given up.

    ``open_notifies``, ``held_bytes``, ``parked_notifies`` (those that wait for an agent link) and ``arriving_notifies`` (those of
    which fragments are still to come) are the current values over all sessions of the route.
    """

    def __init__(self) -> None:
        self.bytes_to_agent = 0
        self.bytes_to_haproxy = 0
        self.frames_to_agent = array("q", bytes(8 * (max(_TYPES) + 2)))
        self.frames_to_haproxy = self.frames_to_agent[:]
        self.ack_buckets = array("q", bytes(8 * (len(ACK_BUCKETS) + 1)))
        # The same arrays, as the hot lane sees them.
        self._to_agent = self.frames_to_agent
        self._to_haproxy = self.frames_to_haproxy
        self._buckets = self.ack_buckets
        self.ack_count = 0
        self.ack_seconds = 0.0
        self.late_after = math.inf
        self.late_acks = 0
        self.open_notifies = 0
        self.held_bytes = 0
        self.parked_notifies = 0
        self.arriving_notifies = 0

    def any_waiting(self) -> bool:
        """Return whether a NOTIFY of any session is arriving, open or parked; if not, no session has to be asked since when."""
        return bool(self.open_notifies or self.parked_notifies or self.arriving_notifies)

    def observe_ack(self, seconds: float) -> None:
        """Count one NOTIFY/ACK pair that took ``seconds``."""
        at = 0
        while at < _NUMBER_OF_BOUNDS and seconds > _BOUNDS[at]:  # most are below the first few bounds
            at += 1
        self._buckets[at] += 1
        if seconds > self.late_after:
            self.late_acks += 1
        self.ack_count += 1
        self.ack_seconds += seconds


def by_type(frames: "array[int]") -> Iterator[tuple[int, int]]:
    """Yield each frame type, including UNKNOWN_TYPE, with its count."""
    for type_ in _TYPES:
        yield type_, frames[type_]
