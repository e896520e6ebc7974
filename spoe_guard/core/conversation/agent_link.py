"""One agent link of a session: the part that can be replaced, and there may be several."""

import math

from spoe_guard.core.conversation.ledger import History, Ledger
from spoe_guard.core.conversation.outlet import Books, Outlet
from spoe_guard.core.terms.events import LinkLoss
from spoe_guard.core.terms.output import Close, LinkOutput
from spoe_guard.core.terms.states import LINK_MOVES, IllegalMoveError, LinkState
from spoe_guard.wire import frame


class AgentLink:
    """Where one link stands, what its agent has in hand, and what is to be written to it.

    ``number`` counts a session's links from 0. ``done``: the connection is closed, was asked to close, or never was.
    ``hello_given``: it is connected and the agent has HAPROXY-HELLO.
    ``most``: NOTIFYs its agent may have in hand; ``limited``: it is a bound that others may wait for. ``owing``: NOTIFYs
    that are settled while this agent has them in hand, with their times. ``held_since``: since when it is leaving.
    ``dial`` and ``close``: what the shell is to do at the end of this step; ``stirs``: there is something of the kind.
    The ``*_by`` times are deadlines, infinity when not armed.
    """

    __slots__ = (
        "close", "close_by", "connect_by", "dial", "done", "fragments", "held_since", "hello_by", "hello_given", "leave_by",
        "leaving_as", "ledger", "limited", "most", "number", "owing", "said_goodbye", "said_hello", "state",
        "stirs", "way",
    )  # fmt: skip

    def __init__(self, number: int, history: History, books: Books) -> None:
        self.number = number
        self.state = LinkState.IDLE
        self.way = Outlet(books)
        self.ledger = Ledger(history)
        self.ledger.size = frame.DEFAULT_MAX_FRAME_SIZE
        self.most = 1
        self.limited = False
        self.owing: dict[bytes, float] = {}
        self.fragments = False  # negotiated
        self.done = True
        self.hello_given = False
        self.said_hello = False
        self.said_goodbye = False
        self.leaving_as = LinkLoss.DISCONNECT
        self.held_since = 0.0
        self.stirs = False
        self.dial = False
        self.close = Close.KEEP
        self.connect_by = math.inf
        self.hello_by = math.inf
        self.leave_by = math.inf
        self.close_by = math.inf

    def enter(self, state: LinkState) -> None:
        """Move the link to ``state``.

        Raises:
            IllegalMoveError: LINK_MOVES does not have that.
        """
        if state is not self.state and state not in LINK_MOVES[self.state]:
            raise IllegalMoveError(self.state, state)
        self.state = state

    @property
    def size(self) -> int:
        """Negotiated, most bytes behind the length prefix, both ways."""
        return self.ledger.size

    @property
    def ready(self) -> bool:
        """Whether its agent may be given a NOTIFY more; without a bound of its own the oldest gives way to it."""
        if self.state is not LinkState.RUNNING:
            return False
        return not self.limited or len(self.ledger) + len(self.owing) < self.most

    def shut(self, how: Close = Close.FLUSH) -> None:
        """Close the connection behind what is queued for it."""
        if not self.done:
            self.close = how
            self.stirs = True
            self.done = True
            self.close_by = math.inf
            self.way.seal()

    def give(self, order: LinkOutput) -> LinkOutput:
        """Put into ``order`` what this link is to do at the end of a step, and return it."""
        order.link = self.number
        order.to_agent = self.way.take()
        if self.stirs:
            order.dial, order.close_agent = self.dial, self.close
            self.dial, self.close, self.stirs = False, Close.KEEP, False
        return order
