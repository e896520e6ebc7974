"""One guard hands a session to the next, on the same connection of HAProxy's."""

from dataclasses import replace
from typing import Any

import pytest

from spoe_guard.core.conversation.route_state import RouteState
from spoe_guard.core.handed import Handed, NotTakenError, decode
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.events import EndReason, SessionEnded
from spoe_guard.core.terms.family import Family
from spoe_guard.core.terms.output import Close
from spoe_guard.wire.frame import FrameType
from tests.carrier import hear
from tests.core import frames
from tests.core.script import UP, Talk, running

pytestmark = pytest.mark.usefixtures("all_speeds")

HELLO = frames.haproxy_hello()
HANDED = Handed(HELLO, frames.SHOWN, one_at_a_time=False, family=Family.UNKNOWN, rest=b"")


def talk(**config: Any) -> Talk:
    return running(**{"give_up_s": 5.0, **config})


def taken(handed: Handed = HANDED, **config: Any) -> Talk:
    """The next guard's session, which has ``handed``."""
    successor = Talk(**{"give_up_s": 5.0, **config})
    out = successor.session.take_over(handed, successor.now)  # type: ignore[union-attr]
    assert (out.to_haproxy, out.to_agent, out.dial, out.events) == (b"", b"", False, ())
    return successor


# --- the guard that stops ---------------------------------------------------------------------------------------------


def test_a_session_with_nothing_open_can_be_handed_over() -> None:
    assert talk().session.to_hand_over() == HANDED


def test_with_it_goes_what_haproxy_was_told_and_which_it_is() -> None:
    before = running(
        give_up_s=5.0, hello=frames.haproxy_hello(capabilities=b"async"), answer=frames.agent_hello(max_frame_size=512)
    )
    handed = before.session.to_hand_over()
    assert handed is not None
    assert (handed.size, handed.one_at_a_time, handed.family) == (512, True, Family.APPLET)


def test_what_is_open_has_to_be_answered_first() -> None:
    before = talk()
    before.play("haproxy NOTIFY 1.1 -> ok")
    assert before.session.to_hand_over() is None
    before.play("agent ACK 1.1 -> ok")
    assert before.session.to_hand_over() == HANDED


def test_what_waits_for_a_link_has_to_be_answered_first() -> None:
    before = talk()
    before.play("""
        agent   AGENT_DISCONNECT 0 -> lost disconnect 0/0, to_agent HAPROXY_DISCONNECT 0
        haproxy NOTIFY 1.1         -> held, dial 1
    """)
    assert before.session.to_hand_over() is None


def test_without_an_agent_link_it_can_be_handed_over() -> None:
    before = talk()
    before.play("agent AGENT_DISCONNECT 0 -> lost disconnect 0/0, to_agent HAPROXY_DISCONNECT 0")
    assert before.session.to_hand_over() == HANDED


def test_what_haproxy_cannot_take_yet_has_to_go_first() -> None:
    before = talk()
    burst = b"".join(frames.sized(FrameType.NOTIFY, 100, f"{n}.1") for n in range(1, 200, 2))
    before.play("haproxy <burst> -> ok", burst=burst)
    answers = b"".join(frames.sized(FrameType.ACK, 100, f"{n}.1") for n in range(1, 200, 2))
    before._obey(hear(before.session, Side.AGENT, answers, before.now), b"", "")
    assert before.session.to_hand_over() is None
    before.now = before.session.deadline
    before.session.tick(before.now)
    assert before.session.to_hand_over() is not None


def test_a_partial_frame_is_handed_over_and_stays_until_it_is_taken() -> None:
    before = talk()
    before.play("haproxy NOTIFY 1.1[:9] -> held")
    assert before.session.to_hand_over() == replace(HANDED, rest=frames.notify("1.1")[:9])
    before.play("haproxy NOTIFY 1.1[9:] -> to_agent NOTIFY 1.1")


def test_inside_a_frame_that_is_skipped_it_cannot_be_handed_over() -> None:
    before = talk()
    before.session.receive(Side.HAPROXY, (16381).to_bytes(4, "big") + frames.notify("1.1")[4:].ljust(60), before.now)
    assert before.session.to_hand_over() is None


def test_before_agent_hello_it_cannot_be_handed_over() -> None:
    assert Talk(give_up_s=5.0).play(UP).session.to_hand_over() is None


def test_a_health_check_is_not_handed_over() -> None:
    assert running(give_up_s=5.0, hello=frames.bare_check()).session.to_hand_over() is None


def test_a_session_that_ends_with_its_link_is_not_handed_over() -> None:
    assert talk(give_up_s=0.0).session.to_hand_over() is None


def test_behind_a_disconnect_a_session_is_not_handed_over() -> None:
    before = talk()
    before.session.receive(Side.HAPROXY, b"\xff\xff\xff\xff" + bytes(8), before.now)
    assert before.session.to_hand_over() is None


def test_once_handed_over_haproxy_gets_nothing_and_the_agent_a_disconnect() -> None:
    before = talk()
    out = before.session.handed_over(before.now)
    assert (out.to_haproxy, out.close_haproxy) == (b"", Close.KEEP)
    assert out.to_agent == frames.haproxy_disconnect()
    out = before.session.closed(Side.AGENT, before.now, reset=False)
    assert isinstance(out.events[-1], SessionEnded)
    assert out.events[-1].reason is EndReason.HANDED_OVER


# --- the guard that takes over ----------------------------------------------------------------------------------------


def test_the_next_notify_has_an_agent_dialled_and_is_answered() -> None:
    successor = taken()
    successor._up.discard("to_agent")
    successor.play("""
        haproxy NOTIFY 1.1      -> held, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up, redispatched unsent 1, to_agent1 NOTIFY 1.1
        agent1  ACK 1.1         -> ok
    """)


ANSWERED = """
    haproxy NOTIFY 1.1      -> held, dial 1
    agent1  up              -> to_agent1 HAPROXY_HELLO
    agent1  AGENT_HELLO     -> replacement up, redispatched unsent 1, to_agent1 NOTIFY 1.1
"""


def test_what_the_guard_before_wrote_is_read_first() -> None:
    reads = {"read": -1}
    successor = taken(route_state=RouteState(read=lambda: reads["read"]))
    successor._up.discard("to_agent")
    successor.play(ANSWERED + "agent1 ACK 1.1 -> held\nguard waits 0.02 -> nothing")
    reads["read"] = 0
    successor.play("guard waits 0.01 -> to_haproxy ACK 1.1")


@pytest.mark.parametrize("one_at_a_time", [True, False])
def test_after_a_handover_an_haproxy_that_may_pipeline_is_paced(one_at_a_time: bool) -> None:
    successor = taken(replace(HANDED, one_at_a_time=one_at_a_time), route_state=RouteState(read=lambda: None))
    successor._up.discard("to_agent")
    successor.play(ANSWERED + f"agent1 ACK 1.1 -> {'ok' if one_at_a_time else 'held'}")


def test_after_a_handover_haproxy_still_gets_one_notify_at_a_time() -> None:
    successor = taken(replace(HANDED, one_at_a_time=True))
    successor.play("""
        haproxy NOTIFY 1.1      -> held, dial 1
        guard   waits 0.01      -> nothing
        haproxy NOTIFY 3.1      -> pass notify_unanswered, unanswered superseded 1
    """)


def test_a_longer_frame_than_the_next_agent_takes_is_bridged() -> None:
    successor = taken()
    long = frames.sized(FrameType.NOTIFY, 600, "1.1")
    successor.play(
        """
        haproxy <long>          -> held, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  <small>         -> replacement up, drop notify_oversize, pass notify_unanswered, unanswered notify_dropped 1
    """,
        long=long,
        small=frames.agent_hello(max_frame_size=512),
    )


@pytest.mark.parametrize(
    ("handed", "config"),
    [
        (replace(HANDED, hello=b"no frame"), {}),
        (replace(HANDED, hello=frames.notify("1.1")), {}),
        (replace(HANDED, hello=frames.bare_check()), {}),
        (HANDED, {"give_up_s": 0.0}),
    ],
)
def test_what_cannot_be_gone_on_with_is_not_taken(handed: Handed, config: dict[str, Any]) -> None:
    with pytest.raises(NotTakenError):
        taken(handed, **config)


# --- between them -----------------------------------------------------------------------------------------------------


def test_it_is_read_as_it_was_written() -> None:
    handed = Handed(HELLO, 512, one_at_a_time=True, family=Family.MUX, rest=b"\0\0")
    assert decode(handed.encode()) == handed


@pytest.mark.parametrize(
    "sent",
    [b"", b"{}", b"[]", b"\xff", b'{"version": 2}', HANDED.encode().replace(b"unknown", b"other"), HANDED.encode()[:-3]],
)
def test_what_is_no_session_is_not_taken(sent: bytes) -> None:
    with pytest.raises(NotTakenError):
        decode(sent)
