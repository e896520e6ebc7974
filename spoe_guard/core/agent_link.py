"""One agent link of a session: the part that can be replaced, and there may be several."""

import math

from spoe_guard.core.ledger import Ledger, Past
from spoe_guard.core.outlet import Books, Outlet
from spoe_guard.core.output import Close
from spoe_guard.core.states import State
from spoe_guard.wire import frame


class AgentLink:
    """Where one link stands, what its agent has in hand, and what is to be written to it.

    ``number`` counts a session's links from 0. ``state``: as a session's, and ``HAPROXY_HELLO`` before the dial.
    ``size``: negotiated, most bytes behind the length prefix, both ways. ``done``: the connection is closed, was asked
    to close, or never was. ``hello_given``: it is connected and the agent has HAPROXY-HELLO.
    ``dial`` and ``close``: what the shell is to do at the end of this step.
    The ``*_by`` times are deadlines, infinity when not armed.
    """

    __slots__ = (
        "close", "connect_by", "dial", "done", "fragments", "hello_by", "hello_given", "ledger", "number", "said_goodbye",
        "said_hello", "size", "state", "stirs", "way",
    )  # fmt: skip

    def __init__(self, number: int, past: Past, books: Books) -> None:
        self.number = number
        self.state = State.HAPROXY_HELLO
        self.way = Outlet(books)
        self.ledger = Ledger(past)
        self.size = frame.DEFAULT_MAX_FRAME_SIZE
        self.fragments = False  # negotiated
        self.done = True
        self.hello_given = False
        self.said_hello = False
        self.said_goodbye = False
        self.stirs = False  # there is something to dial or close
        self.dial = False
        self.close = Close.KEEP
        self.connect_by = math.inf
        self.hello_by = math.inf

    def shut(self, how: Close = Close.FLUSH) -> None:
        """Close the connection behind what is queued for it."""
        if not self.done:
            self.close = how
            self.stirs = True
            self.done = True
            self.way.seal()
