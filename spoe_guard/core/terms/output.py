"""The orders of one step of a session to its shell."""

import enum
from typing import Final

from spoe_guard.core.terms.events import Event


@enum.unique
class Close(enum.Enum):
    """What to do with a connection."""

    KEEP = "keep"
    HALF = "half"  # send FIN, continue reading
    FLUSH = "flush"  # write what is queued, then close
    ABORT = "abort"  # reset at once; also cancels a dial


class LinkOutput:
    """Orders for one agent link: write, then dial or close. ``link_id`` is its number in the session, from 0 up."""

    __slots__ = ("close_agent", "dial", "link_id", "to_agent")

    def __init__(self, link_id: int = 0) -> None:
        self.link_id = link_id
        self.to_agent: bytes = b""
        self.dial = False
        self.close_agent = Close.KEEP


class Output(LinkOutput):
    """Bytes to write, in order and in enforce mode only whole frames; then what to open and close; then what to report.

    The shell writes first, then closes, then hands ``events`` to the observer, and ``foreign`` to other sessions: ACKs, each
    with the number of the session that has to ``take_foreign`` it. ``foreign`` is empty if there is no event. The output also
    carries the order for the one link that most steps concern; if there are several links, ``more`` has the orders for the
    others.

    ``left``: how many bytes at the end of the received ones were not handled, so that other sessions get their turn. The shell
    passes them to the session again, before any later bytes from that side.
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
