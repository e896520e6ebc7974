"""NOTIFYs that get no ACK are counted for the link whose agent had them in hand, so that each address can be told its share."""

import pytest

from spoe_guard.core.conversation.notifies import SETTLED_AT_ONCE
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.events import NotifiesUnanswered
from spoe_guard.core.terms.output import Output
from tests.core.frames import notify
from tests.core.test_settled_at_once import ask, asked, lose
from tests.cost.shapes import APPLET, stage


def counted(*outs: Output) -> list[tuple[int, tuple[tuple[int, int], ...]]]:
    return [(event.count, event.links) for out in outs for event in out.events if isinstance(event, NotifiesUnanswered)]


def test_those_past_their_deadline_are_their_links() -> None:
    there = asked(2, answer_deadline_s=3.0)
    there.now += 3.0
    assert counted(there.session.tick(there.now)) == [(1, ((0, 1),)), (1, ((0, 1),))]


@pytest.mark.parametrize("count", [1, SETTLED_AT_ONCE, SETTLED_AT_ONCE + 2])
def test_those_of_a_lost_link_are_that_links(count: int) -> None:
    there = asked(count)
    told = counted(lose(there), *(step() for step in there.due()))
    assert sum(number for number, _ in told) == count
    assert [links for _, links in told] == [((0, number),) for number, _ in told]


def test_those_that_end_with_the_session_are_the_links_that_had_them() -> None:
    there = asked(3)
    assert counted(there.session.closed(Side.HAPROXY, there.now, reset=True)) == [(3, ((0, 3),))]


def test_those_that_waited_in_the_guard_are_no_links() -> None:
    there = stage(capabilities=APPLET, give_up_s=60.0, park_s=3.0)
    lose(there)
    ask(there, 2)
    there.now += 3.0
    assert {links for _, links in counted(there.session.tick(there.now))} == {()}


def test_one_in_fragments_is_the_links_that_had_the_first() -> None:
    there = stage(capabilities=b"pipelining", agent=b"pipelining,fragmentation")
    first = notify("1.1", flags=0)
    there.play(there.feed(Side.HAPROXY, first, read=len(first)))
    assert counted(there.session.closed(Side.HAPROXY, there.now, reset=True)) == [(1, ((0, 1),))]
