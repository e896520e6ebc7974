"""What one step of a session asks its shell to do."""

import enum
from typing import Final

from spoe_guard.core.events import Event


@enum.unique
class Close(enum.Enum):
    """What becomes of a connection."""

    KEEP = "keep"
    HALF = "half"  # send FIN, go on reading (observe mode only: the guard itself never half-closes)
    FLUSH = "flush"  # write what is queued, then close
    ABORT = "abort"  # reset at once; also gives up a dial under way


class Output:
    """Bytes to write, in order and whole frames only in enforce mode; then what to open and close; then what to report.

    The shell writes first, then closes, then hands ``events`` to the observer, and ``foreign`` to others: ACKs, each with the
    number of the session that is to ``take_foreign`` it. There is none without an event.
    """

    __slots__ = ("close_agent", "close_haproxy", "dial", "events", "foreign", "to_agent", "to_haproxy")

    def __init__(self) -> None:
        self.to_haproxy: bytes = b""
        self.to_agent: bytes = b""
        self.dial = False
        self.close_haproxy = Close.KEEP
        self.close_agent = Close.KEEP
        self.events: list[Event] | tuple[()] = NO_EVENTS
        self.foreign: tuple[tuple[int, bytes], ...] = NO_EVENTS


NO_EVENTS: Final[tuple[()]] = ()
