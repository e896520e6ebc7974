"""One agent link of a session."""

import math

import pytest

from spoe_guard.core.conversation.agent_link import AgentLink
from spoe_guard.core.conversation.ledger import History
from spoe_guard.core.conversation.outlet import ByteCounts
from spoe_guard.core.conversation.progress import Progress
from spoe_guard.core.conversation.report import Report
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.events import LinkLoss
from spoe_guard.core.terms.output import Close, LinkOutput
from spoe_guard.core.terms.states import LinkState


def made() -> AgentLink:
    history = History()
    return AgentLink(3, history, ByteCounts(), Report(SessionConfig(), Progress(SessionConfig(), 0.0), history))


def link(state: LinkState = LinkState.RUNNING, most: int = 1, *, limited: bool = False) -> AgentLink:
    """Return a link that has come as far as ``state``."""
    new = made()
    steps = {
        LinkState.DIALLING: lambda: new.dial(7.0),
        LinkState.AGENT_HELLO: lambda: new.given_hello(1000, 7.0),
        LinkState.RUNNING: lambda: new.run(1000, most, 0, 1.0, limited=limited),
        LinkState.LEAVING: lambda: new.leave(LinkLoss.DISCONNECT, 1.0),
        LinkState.CLOSING: new.end,
    }
    for reached, step in steps.items():
        if new.state is state:
            break
        step()
        assert new.state is reached
    return new


@pytest.mark.parametrize("state", LinkState)
def test_only_an_agent_between_hello_and_disconnect_is_given_notifies(state: LinkState) -> None:
    assert link(state).ready is (state is LinkState.RUNNING)


@pytest.mark.parametrize(
    ("opened", "owing", "ready"), [(0, 0, True), (1, 0, True), (0, 1, True), (2, 0, False), (1, 1, False), (0, 2, False)]
)
def test_a_limited_link_is_ready_only_below_its_most_in_hand(opened: int, owing: int, ready: bool) -> None:
    new = link(most=2, limited=True)
    for number in range(opened):
        new.ledger.add(b"\1%c" % number, 1.0)
    for number in range(owing):
        new.owe(b"owing %d" % number, 1.0)
    assert new.ready is ready
    for number in range(owing):
        new.paid(b"owing %d" % number)
    assert new.ready is (opened < 2)


def test_where_it_is_not_bounded_the_oldest_gives_way() -> None:
    new = link()
    new.ledger.add(b"\1\1", 1.0)
    new.ledger.add(b"\1\2", 1.0)
    assert new.ready


def orders(of: AgentLink) -> tuple[int, bool, Close]:
    order = of.give(LinkOutput())
    return order.link_id, order.dial, order.close_agent


def test_the_shell_is_told_once_to_dial_and_once_to_close() -> None:
    new = link(LinkState.DIALLING)
    assert [orders(new), orders(new)] == [(3, True, Close.KEEP), (3, False, Close.KEEP)]
    new.close()
    assert [orders(new), orders(new)] == [(3, False, Close.FLUSH), (3, False, Close.KEEP)]


def test_it_is_closed_once_and_nothing_is_written_behind_that() -> None:
    new = link()
    new.close_until(7.0)
    assert new.close_by == 7.0
    new.close()
    assert (new.has_orders, new.done, new.close_by) == (True, True, math.inf)
    assert not new.outlet.author(b"too late")
    new.close(Close.ABORT)
    new.close_until(8.0)
    assert (orders(new)[2], new.close_by) == (Close.FLUSH, math.inf)


def test_a_link_that_was_never_dialled_is_not_closed() -> None:
    new = made()
    new.close()
    assert not new.has_orders
