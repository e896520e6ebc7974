"""One step settles, or sends anew, a bounded number of NOTIFYs; the next step goes on at once, and none is lost between them."""

import math

import pytest

from spoe_guard.core.conversation.notifies import SETTLED_AT_ONCE
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.config import Redispatch, Unanswered
from spoe_guard.core.terms.events import LinkLost, NotifiesRedispatched, NotifiesUnanswered
from spoe_guard.core.terms.output import Output
from spoe_guard.core.terms.states import SessionState
from spoe_guard.wire.frame import FrameType
from tests.core.frames import ack, agent_hello, cut, notify
from tests.cost.shapes import APPLET, Stage, stage

MOST = SETTLED_AT_ONCE
AGAIN = {"give_up_s": 5.0, "redispatch": Redispatch.UNANSWERED}
SET = {"unanswered": Unanswered.SET, "error_name": b"error"}

speeds = pytest.mark.parametrize("fast", [True, False])


def asked(count: int, **how: object) -> Stage:
    """A session with so many open NOTIFYs."""
    there = stage(**{"capabilities": APPLET, **how})
    ask(there, count)
    return there


def ask(there: Stage, count: int, first: int = 1) -> None:
    data = b"".join(notify(f"{2 * at + first}.1") for at in range(count))
    there.play(there.feed(Side.HAPROXY, data, read=len(data)))


def counted(out: Output, kind: type = NotifiesUnanswered) -> list[int]:
    return [event.count for event in out.events if isinstance(event, kind)]


def gone(out: Output) -> list[tuple[int, int]]:
    return [(event.open_notifies, event.again) for event in out.events if isinstance(event, LinkLost)]


def lose(there: Stage, link: int = 0) -> Output:
    out: Output = there.session.closed(Side.AGENT, there.now, reset=True, **({"link_id": link} if link else {}))
    return out


def sent(out: Output) -> list[bytes]:
    return [each.ids for order in (out, *out.more) for each in cut(order.to_agent) if each.type == FrameType.NOTIFY]


@pytest.mark.parametrize("more", [0, 1])
def test_a_step_gives_up_a_bounded_number_of_overdue_notifies(more: int) -> None:
    there = asked(MOST + more, answer_deadline_s=3.0)
    there.now += 3.0
    assert sum(counted(there.session.tick(there.now))) == MOST
    assert there.session.open_notifies == more
    assert (there.session.deadline <= there.now) is bool(more)
    there.play(there.due())
    assert there.session.open_notifies == 0


@pytest.mark.parametrize("more", [0, 1])
def test_a_step_gives_up_a_bounded_number_that_waited_too_long(more: int) -> None:
    there = stage(capabilities=APPLET, give_up_s=60.0, park_s=3.0)
    lose(there)
    ask(there, MOST + more)
    there.now += 3.0
    assert sum(counted(there.session.tick(there.now))) == MOST
    assert len(there.session.snapshot().parked) == more
    assert (there.session.deadline <= there.now) is bool(more)


@speeds
@pytest.mark.parametrize("more", [0, 1])
def test_a_step_takes_a_bounded_number_back_from_a_lost_link(more: int, fast: bool) -> None:
    there = asked(MOST + more, fast=fast, **AGAIN)
    out = lose(there)
    assert gone(out) == ([] if more else [(MOST, MOST)])
    assert there.session.open_notifies == more
    assert (there.session.deadline == -math.inf) is bool(more)
    if more:
        assert gone(there.session.tick(there.now)) == [(MOST + 1, MOST + 1)]
    assert there.session.deadline > there.now
    assert len(there.session.snapshot().parked) == MOST + more


def with_two_links(**how: object) -> Stage:
    """The first link has MOST + 1 open NOTIFYs, the second one."""
    there = stage(capabilities=APPLET, max_links=2, in_flight=MOST + 1, **how)
    ask(there, MOST + 2)
    there.session.agent_connected(there.now, 1)
    there.play(there.feed(Side.AGENT, agent_hello(), 1))
    assert [len(link.open) for link in there.session.snapshot().links.values()] == [MOST + 1, 1]
    return there


def test_what_was_not_taken_back_yet_is_still_open() -> None:
    there = with_two_links(**AGAIN)
    there.now += 0.001
    lose(there)
    last = notify(f"{2 * MOST + 1}.1")
    assert there.session.open_notifies == 2
    assert there.session.oldest_since == 1.0
    for _ in range(2):  # before and after its link was removed
        assert sent(there.session.receive(Side.HAPROXY, last, there.now)) == []  # it is not opened twice
    there.play(there.due())
    assert len(there.session.snapshot().parked) == MOST + 1


def test_what_was_not_taken_back_yet_makes_room_for_the_next() -> None:
    there = with_two_links(open_notifies=MOST + 2, give_up_s=5.0)
    there.now += 0.001
    lose(there)
    ask(there, MOST, 8 * MOST + 1)
    assert there.session.open_notifies == MOST + 2
    out = there.session.receive(Side.HAPROXY, notify("9999.1"), there.now)
    assert [(event.reason.value, event.count) for event in out.events if isinstance(event, NotifiesUnanswered)] == [("limit", 1)]
    assert there.session.open_notifies == MOST + 2


def test_a_second_link_that_is_lost_waits_for_the_first() -> None:
    there = stage(capabilities=APPLET, max_links=2, in_flight=MOST + 1, **AGAIN)
    ask(there, 2 * MOST + 2)
    there.session.agent_connected(there.now, 1)
    there.play(there.feed(Side.AGENT, agent_hello(), 1))
    there.play(there.due())
    assert there.session.open_notifies == 2 * MOST + 2
    assert gone(lose(there)) == gone(lose(there, 1)) == []
    found = [gone(there.session.tick(there.now)), gone(there.session.tick(there.now))]
    assert found == [[(MOST + 1, MOST + 1)], [(MOST + 1, MOST + 1)]]
    assert there.session.open_notifies == 0


def test_a_session_that_ends_answers_a_bounded_number_of_notifies() -> None:
    there = asked(MOST + 1, **SET)
    out = lose(there)
    written = list(cut(out.to_haproxy))
    assert [each.type for each in written] == [FrameType.ACK] * MOST + [FrameType.AGENT_DISCONNECT]
    assert written[-1].payload[13] == 13  # status: an ACK is still awaited
    assert counted(out) == [MOST + 1]
    assert there.session.open_notifies == 0


def test_behind_the_end_an_ack_of_the_last_is_late() -> None:
    there = asked(2 * MOST, give_up_s=5.0)
    there.session.receive(Side.HAPROXY, b"\x7f\xff\xff\xff\0", there.now)
    assert there.session.state is SessionState.CLOSING
    for number in (1, 4 * MOST - 1):
        [event] = there.session.receive(Side.AGENT, ack(f"{number}.1"), there.now).events
        assert event.anomaly.value == "late_ack"


def test_a_session_that_ends_meanwhile_tells_of_the_lost_link() -> None:
    there = asked(MOST + 2, **AGAIN)
    lose(there)
    out = there.session.closed(Side.HAPROXY, there.now, reset=True)
    assert gone(out) == [(MOST + 2, MOST)]
    assert sum(counted(out)) == MOST + 2
    assert there.session.open_notifies == 0


def test_a_session_released_meanwhile_leaves_nothing_counted() -> None:
    there = asked(MOST + 2, **AGAIN)
    lose(there)
    there.session.release()
    tally = there.session._conv.tally
    assert (tally.open_notifies, tally.parked_notifies, tally.held_bytes) == (0, 0, 0)


@speeds
@pytest.mark.parametrize("more", [0, 1])
def test_a_step_sends_a_bounded_number_of_waiting_notifies(more: int, fast: bool) -> None:
    there = stage(capabilities=APPLET, give_up_s=5.0, fast=fast)
    lose(there)
    ask(there, MOST + more)
    there.now += 0.3
    there.play(there.due())
    there.session.agent_connected(there.now, 1)
    out = there.session.receive(Side.AGENT, agent_hello(), there.now, 1)
    assert len(sent(out)) == MOST
    assert counted(out, NotifiesRedispatched) == [MOST]
    assert (there.session.deadline == -math.inf) is bool(more)
    if more:
        behind = there.session.receive(Side.HAPROXY, notify("9999.1"), there.now)
        assert sent(behind)[-1:] == [next(cut(notify("9999.1"))).ids]
        assert len(sent(behind)) == 2
    there.play(there.due())
    assert there.session.snapshot().parked == []


@pytest.mark.parametrize("more", [0, 1])
def test_a_step_answers_a_bounded_number_without_an_agent(more: int) -> None:
    there = stage(capabilities=APPLET, give_up_s=5.0, **SET)
    lose(there)
    ask(there, MOST + more)
    there.now += 6.0
    out = there.session.tick(there.now)
    answered = [each for each in cut(out.to_haproxy) if each.type == FrameType.ACK]
    assert MOST <= len(answered) <= MOST + more  # the end of the step may be the second to do so
    there.play(there.due())
    assert there.session.snapshot().parked == []


def test_what_is_to_be_given_up_is_sent_to_no_agent() -> None:
    there = stage(capabilities=APPLET, max_links=2, give_up_s=5.0, in_flight=MOST, redispatch=Redispatch.OFF)
    ask(there, 3 * MOST)
    lose(there)
    notifies = there.session._conv.notifies
    assert notifies.unfinished
    there.session.agent_connected(there.now, 1)
    out = there.session.receive(Side.AGENT, agent_hello(), there.now, 1)
    assert sent(out) == []
    there.play(there.due())
    assert not there.session.snapshot().parked


def test_a_session_without_an_agent_gives_all_up_at_its_end() -> None:
    there = stage(capabilities=APPLET, give_up_s=5.0)
    lose(there)
    ask(there, 4 * MOST)
    there.now += 6.0
    out = there.session.tick(there.now)
    assert sum(counted(out)) == 4 * MOST
    assert counted(out)[-1] == 3 * MOST
    assert there.session._conv.tally.parked_notifies == 0
    assert there.session.state is SessionState.CLOSING


@pytest.mark.parametrize("more", [0, 1])
def test_a_step_gives_up_a_bounded_number_of_superseded_notifies(more: int) -> None:
    there = stage(capabilities=b"", agent=b"")
    ask(there, MOST + more)
    there.now += 1.0
    out = there.session.receive(Side.HAPROXY, notify("9999.1"), there.now)
    assert sum(counted(out)) == MOST
    assert there.session.open_notifies == 1 + more
