"""How much of one read a session processes before other sessions get their turn."""

import pytest

from spoe_guard.core.incoming.walker import BYTES_A_TURN, FRAMES_A_TURN
from spoe_guard.core.observed import ObservedSession
from spoe_guard.core.terms.anomalies import Anomaly, Side
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.tally import Tally
from spoe_guard.wire.frame import FrameType
from tests.core import frames
from tests.core.observed import RUNNING
from tests.core.observed import observe as observed
from tests.core.script import Talk, running

RUNT = frames.raw(b"")


def talk() -> Talk:
    return running().play("haproxy NOTIFY 1.1 -> ok")


@pytest.mark.parametrize("observe", [False, True])
@pytest.mark.parametrize("side", list(Side))
def test_a_turn_handles_a_bounded_number_of_odd_frames(side: Side, observe: bool) -> None:
    session, now = (observed(RUNNING) if observe else talk()).session, 1.0
    out = session.receive(side, RUNT * FRAMES_A_TURN, now)
    assert (out.left, len(out.events)) == (0, FRAMES_A_TURN)
    out = session.receive(side, RUNT * (FRAMES_A_TURN + 1), now)
    assert (out.left, len(out.events)) == (len(RUNT), FRAMES_A_TURN)
    if observe:
        assert (out.to_agent if side is Side.HAPROXY else out.to_haproxy) == RUNT * FRAMES_A_TURN
    out = session.receive(side, RUNT, now)
    assert (out.left, len(out.events)) == (0, 1)


@pytest.mark.parametrize("observe", [False, True])
@pytest.mark.parametrize("side", list(Side))
def test_a_turn_handles_bytes_of_odd_frames_up_to_a_bound(side: Side, observe: bool) -> None:
    session, now = (observed(RUNNING) if observe else talk()).session, 1.0
    within = frames.raw(b"\x2a" + bytes(BYTES_A_TURN - 6))  # of a type nobody knows; one byte short of the bound
    out = session.receive(side, within + RUNT, now)
    assert (out.left, len(out.events)) == (0, 2)
    out = session.receive(side, frames.raw(b"\x2a" + bytes(BYTES_A_TURN - 5)) + RUNT, now)
    assert (out.left, len(out.events)) == (len(RUNT), 1)
    out = session.receive(side, RUNT, now)
    assert (out.left, len(out.events)) == (0, 1)


def test_what_is_left_is_in_no_book_until_it_is_given_again() -> None:
    spoken = talk()
    spoken.play("agent <flood> -> " + ", ".join(["drop runt_frame"] * (2 * FRAMES_A_TURN + 1) + ["to_haproxy ACK 1.1"]),
                flood=RUNT * (2 * FRAMES_A_TURN + 1) + frames.sized(FrameType.ACK, 60, "1.1"))  # fmt: skip
    assert spoken.tally.held_bytes == 0
    left = spoken.session.receive(Side.HAPROXY, RUNT * 200, spoken.now).left
    assert left == 4 * (200 - FRAMES_A_TURN)
    assert spoken.tally.bytes_to_agent == len(spoken.sent[Side.HAPROXY]) + 4 * FRAMES_A_TURN


def test_the_part_of_a_frame_that_was_kept_is_never_left() -> None:
    spoken = talk()
    ack = frames.sized(FrameType.ACK, 100, "9.1")
    assert not spoken.session.receive(Side.AGENT, ack[:-1], spoken.now).left
    out = spoken.session.receive(Side.AGENT, ack[-1:] + RUNT * FRAMES_A_TURN, spoken.now)
    assert out.left == len(RUNT)
    assert not spoken.session.held


def test_an_agent_that_sends_too_many_frames_early_is_not_understood() -> None:
    """Only in observe mode can it say anything then: its bytes pass, whatever is made of them."""
    session = ObservedSession(SessionConfig(observe=True), Tally(), 0.0)
    session.start(0.0)
    session.agent_connected(0.0)
    early = frames.sized(FrameType.ACK, 20, "1.1") * (FRAMES_A_TURN + 1)
    assert session.receive(Side.AGENT, early, 0.0).to_haproxy == early
    events = session.receive(Side.HAPROXY, frames.haproxy_hello(), 0.0).events
    assert [event.anomaly for event in events][-2:] == [Anomaly.FRAME_BEFORE_HELLO, Anomaly.GARBLED_STREAM]
    assert len(events) == FRAMES_A_TURN + 1
