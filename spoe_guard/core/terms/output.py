"""What one step of a session asks its shell to do."""

import enum
from typing import Final

from spoe_guard.core.terms.events import Event


@enum.unique
class Close(enum.Enum):
    """What becomes of a connection."""

    KEEP = "keep"
    HALF = "half"  # send FIN, go on reading (observe mode only: the guard itself never half-closes)
    FLUSH = "flush"  # write what is queued, then close
    ABORT = "abort"  # reset at once; also gives up a dial under way


class LinkOutput:
    """What one agent link is to do: write, then be dialled or closed. ``link`` is its number in the session, from 0 up."""

    __slots__ = ("close_agent", "dial", "link", "to_agent")

    def __init__(self, link: int = 0) -> None:
        self.link = link
        self.to_agent: bytes = b""
        self.dial = False
        self.close_agent = Close.KEEP


class Output(LinkOutput):
    """Bytes to write, in order and whole frames only in enforce mode; then what to open and close; then what to report.

    The shell writes first, then closes, then hands ``events`` to the observer, and ``foreign`` to others: ACKs, each with the
    number of the session that is to ``take_foreign`` it. There is none without an event. The output also carries the order for
    the one link that most steps concern; where there are several, ``more`` has the orders for the others.

    ``left``: so many bytes at the end of what was received were not looked at, so that other sessions have their turn. The
    shell gives them to the session again, before anything else that comes from there.
    """

    __slots__ = ("close_haproxy", "events", "foreign", "left", "more", "to_haproxy")

    def __init__(self) -> None:
        super().__init__()
        self.to_haproxy: bytes = b""
        self.close_haproxy = Close.KEEP
        self.more: list[LinkOutput] | tuple[()] = NOTHING
        self.left = 0
        self.events: list[Event] | tuple[()] = NOTHING
        self.foreign: tuple[tuple[int, bytes], ...] = NOTHING


NOTHING: Final[tuple[()]] = ()
