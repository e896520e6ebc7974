"""What sessions keep is counted over all of them, and the one that gives way keeps nothing."""

import pytest

from spoe_guard.core.conversation.parking import EACH_BYTES
from spoe_guard.core.conversation.route_state import RouteState
from spoe_guard.core.conversation.total_bytes import TotalBytes
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.config import Redispatch
from tests.core import frames
from tests.core.script import Talk, running

LONG = frames.sized(frames.FrameType.NOTIFY, 1000, "1.1")


def test_the_bound_is_reached_one_byte_beyond_it() -> None:
    told: list[float] = []
    total = TotalBytes(10, lambda: told.append(total.held))
    total.add(10)
    assert (total.beyond, told) == (False, [])
    total.add(1)
    assert (total.beyond, told) == (True, [11])
    total.add(-1)
    total.limit(9)
    assert (total.beyond, told) == (True, [11])  # told when it grows again
    total.add(1)
    assert told == [11, 11]
    total.limit(12)
    total.count_beside(1)
    assert not total.beyond
    total.count_beside(2)
    assert total.beyond


def test_a_bound_that_nobody_watches_changes_nothing() -> None:
    total = TotalBytes(0)
    total.add(1)
    assert total.beyond


@pytest.mark.parametrize("observe", [False, True])
def test_what_sessions_keep_is_counted_together(*, observe: bool) -> None:
    total = TotalBytes()
    one, two = (Talk(route_state=RouteState(total=total), observe=observe) for _ in range(2))
    for count, talk in enumerate((one, two), 1):
        talk.session.start(talk.now)
        talk.session.receive(Side.HAPROXY, frames.haproxy_hello()[:9], talk.now)
        assert total.held == 9 * count
    assert one.session.in_memory == (18 if observe else 9)  # what came before the agent is connected, too
    one.session.release()
    assert total.held == 9
    two.session.release()
    assert total.held == 0


def test_copies_of_notifies_count_where_they_are_kept() -> None:
    total = TotalBytes()
    talk = running(route_state=RouteState(total=total), redispatch=Redispatch.UNANSWERED, give_up_s=5.0)
    talk.play("haproxy <long> -> ok\nhaproxy <long>[0:9] -> held", long=LONG)
    assert (talk.session.held, talk.session.in_memory, total.held) == (9, 9 + len(LONG), 9 + len(LONG))


@pytest.mark.parametrize("observe", [False, True])
def test_it_is_told_once_that_haproxy_said_hello(*, observe: bool) -> None:
    met: list[int] = []
    talk = Talk(route_state=RouteState(met=lambda: met.append(1)), observe=observe)
    talk.session.start(talk.now)
    hello = frames.haproxy_hello()
    talk.session.receive(Side.HAPROXY, hello[:-1], talk.now)
    assert met == []
    talk.session.receive(Side.HAPROXY, hello[-1:] + hello, talk.now)
    assert met == [1]


BYE = "to_agent HAPROXY_DISCONNECT 0, to_haproxy AGENT_DISCONNECT 13"
LOST = f"pass notify_unanswered, unanswered limit 1, {BYE}"
PART = {
    "nothing": ("", BYE),
    "part of a NOTIFY": ("haproxy <long>[0:500] -> held", BYE),
    "part of an ACK": ("haproxy <long> -> ok\nagent ACK 1.1[0:9] -> held", LOST),
    "an ACK in fragments": (
        "haproxy <long> -> ok\nagent <torn> -> held",
        LOST.replace("to_agent", "drop missing_fin, to_agent"),
    ),
}


@pytest.mark.parametrize(("part", "told"), PART.values(), ids=PART)
def test_who_gives_way_keeps_nothing_and_both_sides_learn_of_it(part: str, told: str) -> None:
    total = TotalBytes()
    talk = running(route_state=RouteState(total=total)).play(part, long=LONG, torn=frames.ack(flags=0))
    assert (total.held > 0) == bool(part)
    talk.play(f"guard yields -> {told}")
    assert (talk.session.held, talk.session.in_memory, total.held) == (0, 0, 0)
    talk.play("haproxy <long>[500:] -> nothing\nagent <long> -> nothing", long=LONG)
    assert total.held == 0
    talk.play("agent fin -> close agent\nhaproxy fin -> close haproxy, end guard limit")


def test_parked_notifies_count_as_unanswered_when_their_session_gives_way() -> None:
    total = TotalBytes()
    talk = running(route_state=RouteState(total=total), give_up_s=5.0)
    lost = "answer disconnect_missing, lost closed 0/0, to_agent HAPROXY_DISCONNECT 0, close agent"
    talk.play(f"agent fin -> {lost}\nhaproxy <long> -> held", long=LONG)
    assert total.held == len(LONG) + EACH_BYTES  # it is an object, too
    talk.play("guard yields -> pass notify_unanswered, unanswered limit 1, to_haproxy AGENT_DISCONNECT 13")
    assert total.held == 0


def test_what_haproxy_does_not_read_is_dropped_when_its_session_gives_way() -> None:
    total = TotalBytes()
    talk = running(route_state=RouteState(read=lambda: 0, total=total))
    sent = b"".join(frames.sized(frames.FrameType.ACK, 3000, f"{number}.1") for number in (1, 3, 5))
    talk.play(
        "haproxy NOTIFY 1.1 + NOTIFY 3.1 + NOTIFY 5.1 -> ok\nagent <sent> -> held, to_haproxy ACK 1.1, to_haproxy ACK 3.1",
        sent=sent,
    )
    assert total.held > 0
    talk.play(f"guard yields -> {BYE}")
    assert total.held == 0


def test_a_session_that_is_over_gives_way_to_nobody() -> None:
    talk = running().play("guard yields -> " + BYE)
    talk.play("guard yields -> nothing\nguard waits 2 -> close haproxy, close agent, end guard limit\nguard yields -> nothing")
