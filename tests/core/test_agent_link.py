"""One agent link of a session."""

import math

import pytest

from spoe_guard.core.conversation.agent_link import AgentLink
from spoe_guard.core.conversation.ledger import History
from spoe_guard.core.conversation.outlet import Books
from spoe_guard.core.terms.output import Close
from spoe_guard.core.terms.states import LinkState


def link(state: LinkState = LinkState.RUNNING) -> AgentLink:
    made = AgentLink(3, History(), Books())
    made.state = state
    made.done = False
    return made


@pytest.mark.parametrize("state", LinkState)
def test_only_an_agent_that_said_hello_and_no_goodbye_is_given_notifies(state: LinkState) -> None:
    assert link(state).ready is (state is LinkState.RUNNING)


@pytest.mark.parametrize(
    ("opened", "owing", "ready"), [(0, 0, True), (1, 0, True), (0, 1, True), (2, 0, False), (1, 1, False), (0, 2, False)]
)
def test_where_it_is_bounded_no_more_than_most_are_in_its_agents_hands(opened: int, owing: int, ready: bool) -> None:
    made = link()
    made.limited, made.most = True, 2
    for number in range(opened):
        made.ledger.add(b"\1%c" % number, 1.0)
    made.owing = {b"owing %d" % number: 1.0 for number in range(owing)}
    assert made.ready is ready


def test_where_it_is_not_bounded_the_oldest_gives_way() -> None:
    made = link()
    made.most = 1
    made.ledger.add(b"\1\1", 1.0)
    made.ledger.add(b"\1\2", 1.0)
    assert made.ready


def test_it_is_closed_once_and_nothing_is_written_behind_that() -> None:
    made = link()
    made.close_by = 7.0
    made.shut()
    assert (made.close, made.stirs, made.done, made.close_by) == (Close.FLUSH, True, True, math.inf)
    assert not made.way.author(b"too late")
    made.shut(Close.ABORT)
    assert made.close is Close.FLUSH


def test_a_link_that_was_never_dialled_is_not_closed() -> None:
    made = AgentLink(0, History(), Books())
    made.shut()
    assert not made.stirs
