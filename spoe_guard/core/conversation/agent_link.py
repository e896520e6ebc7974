"""One agent link of a session. It can be replaced, and a session can have several."""

import math
from typing import Final

from spoe_guard.core.conversation.by_age import ByAge
from spoe_guard.core.conversation.ledger import History, Ledger
from spoe_guard.core.conversation.outlet import ByteCounts, Outlet
from spoe_guard.core.conversation.report import Report
from spoe_guard.core.terms.events import AuthoredReason, Direction, LinkLoss
from spoe_guard.core.terms.output import Close, LinkOutput
from spoe_guard.core.terms.states import LINK_MOVES, LinkState, move
from spoe_guard.wire import actions
from spoe_guard.wire import frame as frames

MUTE_AFTER: Final = 3  # NOTIFYs past their deadline
LONGEST_ACK: Final = actions.MOST * actions.SHORTEST  # that is ordinary, whatever it has in it; 64 KiB


class AgentLink:
    """The state of one link, the NOTIFYs its agent has, and what is to be written to it.

    ``number`` counts a session's links from 0. ``done``: the connection is closed, was asked to close, or never existed.
    ``has_hello``: it is connected and the agent has HAPROXY-HELLO. ``got_hello``, ``got_disconnect``: the agent sent that frame.
    ``most``: NOTIFYs its agent may have open; ``limited``: at that bound others wait. ``owing``: settled NOTIFYs that this agent
    still works on, with their times. ``leaving_since``: since when it is leaving, and ``leaving_as``: why. ``fragments``: the
    capability was negotiated. ``has_orders``: the shell is to dial or close it at the end of this step. The ``*_by`` times are
    deadlines, monotonic seconds, infinity when not armed.
    """

    __slots__ = (
        "_close", "_dial", "_heard", "_missed", "_report", "close_by", "connect_by", "done", "fragments", "got_disconnect",
        "got_hello", "has_hello", "has_orders", "hello_by", "leave_by", "leaving_as", "leaving_since", "ledger", "limited",
        "most", "number", "outlet", "owing", "state",
    )  # fmt: skip

    def __init__(self, number: int, history: History, books: ByteCounts, report: Report) -> None:
        self.number = number
        self.state = LinkState.IDLE
        self.outlet = Outlet(books)
        self.ledger = Ledger(history)
        self._agree_on(frames.DEFAULT_MAX_FRAME_SIZE)
        self.most = 1
        self.limited = False
        self.owing = ByAge()
        self.fragments = False
        self.done = True
        self.has_hello = False
        self.got_hello = False
        self.got_disconnect = False
        self.leaving_as = LinkLoss.DISCONNECT
        self.leaving_since = 0.0
        self.has_orders = False
        self.connect_by = math.inf
        self.hello_by = math.inf
        self.leave_by = math.inf
        self.close_by = math.inf
        self._report = report
        self._dial = False
        self._close = Close.KEEP
        self._missed = 0  # NOTIFYs in a row past their deadline, without a sign of the agent
        self._heard = 0.0  # when the agent had last sent something, at the latest of them

    def _enter(self, state: LinkState) -> None:
        """Move the link to ``state``; nothing else assigns it. What the hot lane may do on it is decided anew.

        Raises:
            IllegalMoveError: LINK_MOVES does not allow the move.
        """
        self.state = move(self.state, state, LINK_MOVES)
        self.ledger.takes = self.ledger.answers = False

    def _agree_on(self, size: int) -> None:
        self.ledger.size = size
        self.ledger.longest_ack = min(size, LONGEST_ACK)

    # --- what becomes of it, in this order -----------------------------------------------------------------------------

    def dial(self, by: float) -> None:
        """Ask for a connection; its deadline is ``by``."""
        self._enter(LinkState.DIALLING)
        self.done = False
        self._dial = self.has_orders = True
        self.connect_by = by

    def given_hello(self, size: int, by: float) -> None:
        """The link is connected and the agent has HAPROXY-HELLO, which offers ``size`` bytes; it must answer until ``by``."""
        self._enter(LinkState.AGENT_HELLO)
        self.has_hello = True
        self._agree_on(size)
        self.connect_by = math.inf
        self.hello_by = by

    def negotiated(self, *, fragments: bool) -> None:
        """AGENT-HELLO came."""
        self.got_hello = True
        self.fragments = fragments
        self.hello_by = math.inf

    def run(self, size: int, most: int, most_kept: int, now: float, *, limited: bool) -> None:
        """Take NOTIFYs of ``size`` bytes, ``most`` at a time; keep copies of at most ``most_kept`` bytes."""
        self._enter(LinkState.RUNNING)
        self._agree_on(size)
        self.ledger.most_kept = most_kept
        self.ledger.heard = now
        self.limited = limited
        self.most = most

    def disconnect_came(self) -> None:
        """AGENT-DISCONNECT came."""
        self.got_disconnect = True

    def leave(self, loss: LinkLoss, now: float, by: float = math.inf) -> None:
        """Take no more NOTIFYs. The agent may still answer those it has, until ``by``."""
        self._enter(LinkState.LEAVING)
        self.leaving_as = loss
        self.leaving_since = now
        self.leave_by = by

    def wait_no_more(self) -> None:
        """Disarm the deadlines for the connection and for AGENT-HELLO."""
        self.connect_by = self.hello_by = math.inf

    def end(self) -> None:
        """Send the agent nothing more, except HAPROXY-DISCONNECT if it has HAPROXY-HELLO."""
        self._enter(LinkState.CLOSING)
        self.connect_by = self.hello_by = self.leave_by = math.inf

    def close_until(self, by: float) -> None:
        """Give the agent until ``by`` to close the connection."""
        if not self.done:
            self.close_by = by

    def close(self, how: Close = Close.FLUSH) -> None:
        """Close the connection after its queued bytes are sent."""
        if not self.done:
            self._close = how
            self.has_orders = True
            self.done = True
            self.close_by = math.inf
            self.outlet.seal()

    def not_dialled(self) -> None:
        """The dial failed, so there is no connection to close."""
        self.done = True

    # --- what its agent has in hand ------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """The negotiated max-frame-size: bytes behind the length prefix, both ways."""
        return self.ledger.size

    @property
    def ready(self) -> bool:
        """Whether its agent may get another NOTIFY; on a link without a limit the oldest NOTIFY is given up for it if needed."""
        if self.state is not LinkState.RUNNING:
            return False
        return not self.limited or len(self.ledger) + len(self.owing) < self.most

    @property
    def awaited(self) -> bool:
        """Whether its agent may still answer."""
        return self.state is LinkState.RUNNING or self.state is LinkState.LEAVING

    def owe(self, ids: bytes, since: float) -> None:
        """Note that the agent still works on the NOTIFY ``ids``, which is already settled."""
        self.owing.add(ids, since)

    def missed(self, since: float) -> bool:
        """A NOTIFY that came at ``since`` has passed its deadline; return whether the agent has sent nothing since then."""
        heard = self.ledger.heard
        in_a_row = self._missed if heard == self._heard else 0
        silent = heard < since
        self._missed = in_a_row + 1 if silent else 0
        self._heard = heard
        return silent

    @property
    def mute(self) -> bool:
        """Whether ``MUTE_AFTER`` NOTIFYs in a row passed their deadline, and its agent has sent nothing since they came."""
        return self.state is LinkState.RUNNING and self._missed >= MUTE_AFTER

    def paid(self, ids: bytes) -> None:
        """The agent no longer works on the NOTIFY ``ids``, if it ever did: its ACK came."""
        self.owing.discard(ids)

    # --- what is written to it ------------------------------------------------------------------------------------------

    def author(self, data: bytes, reason: AuthoredReason) -> None:
        """Write a whole frame of the guard's own, unless it is too late."""
        if self.outlet.author(data):
            self._report.authored(Direction.TO_AGENT, data, reason)

    def give(self, order: LinkOutput) -> LinkOutput:
        """Put the orders for this link at the end of a step into ``order``, and return it."""
        order.link_id = self.number
        order.to_agent = self.outlet.take()
        if self.has_orders:
            order.dial, order.close_agent = self._dial, self._close
            self._dial, self._close, self.has_orders = False, Close.KEEP, False
        return order
