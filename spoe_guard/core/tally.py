"""Counters of one route that the data path adds to and a scrape reads.

A plain object with integers: counting a frame must not cost a metric call. Everything that is
not ordinary is an event instead.
"""

from typing import Final

from spoe_guard.wire import frame

# Upper bounds in seconds of spoe_guard_notify_ack_seconds; what is above the last counts as +Inf.
ACK_BUCKETS: Final[tuple[float, ...]] = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

UNKNOWN_TYPE: Final = -1  # where frames of a type nobody may send are counted


class Tally:
    """What one route has carried. ``bytes_*`` and ``frames_*`` count what was received for that direction, by frame type.

    ``open_notifies``, ``held_bytes`` and ``parked_notifies`` (those that wait for an agent link) are what is open, held and
    parked right now, over all sessions of the route.
    """

    __slots__ = (
        "ack_buckets",
        "ack_count",
        "ack_seconds",
        "bytes_to_agent",
        "bytes_to_haproxy",
        "frames_to_agent",
        "frames_to_haproxy",
        "held_bytes",
        "open_notifies",
        "parked_notifies",
    )

    def __init__(self) -> None:
        self.bytes_to_agent = 0
        self.bytes_to_haproxy = 0
        self.frames_to_agent: dict[int, int] = dict.fromkeys((*frame.TYPE_NAMES, UNKNOWN_TYPE), 0)
        self.frames_to_haproxy: dict[int, int] = dict.fromkeys((*frame.TYPE_NAMES, UNKNOWN_TYPE), 0)
        self.ack_buckets = [0] * (len(ACK_BUCKETS) + 1)
        self.ack_count = 0
        self.ack_seconds = 0.0
        self.open_notifies = 0
        self.held_bytes = 0
        self.parked_notifies = 0

    def observe_ack(self, seconds: float) -> None:
        """Count one NOTIFY/ACK pair that took ``seconds``."""
        at = 0
        for bound in ACK_BUCKETS:  # most are below the first few
            if seconds <= bound:
                break
            at += 1
        self.ack_buckets[at] += 1
        self.ack_count += 1
        self.ack_seconds += seconds
