"""A bug of ours in the middle of a read loses no byte: the unprocessed bytes go to the shell that splices."""

import pytest

from spoe_guard.core.incoming.agent.effort import WORK_A_TURN
from spoe_guard.core.terms.anomalies import Side
from tests.core import frames
from tests.core.script import HANDSHAKE, Talk, plant_a_bug


def running(**config):
    talk = Talk(**config)
    talk.play(HANDSHAKE if not config.get("observe") else "guard starts -> dial\n" + OBSERVED)
    return talk


NOISE = b"\0\0\0\0any bytes"
OBSERVED = """
    agent   up            -> nothing
    haproxy HAPROXY_HELLO -> ok
    agent   AGENT_HELLO   -> ok
"""


@pytest.mark.parametrize("whole_frames", [0, 1])
def test_what_a_bug_did_not_reach_is_released_in_order(whole_frames):
    talk = running()
    first, second = frames.notify("1.1"), frames.notify("3.1")
    plant_a_bug(talk.session)
    odd = b"\0\0\0\0" + second
    with pytest.raises(KeyError):
        talk.session.receive(Side.HAPROXY, first * whole_frames + odd, talk.now)
    assert talk.session.release() == (first * whole_frames + odd, b"")
    assert talk.tally.open_notifies == 0
    assert talk.tally.held_bytes == 0


def test_a_bug_behind_a_pause_releases_what_came_again_once():
    """What the torn stream has in hand is a part of frames that were taken, and lost with it."""
    talk, rest = running(), 20 * NOISE
    talk.session.receive(Side.HAPROXY, frames.notify("1.1"), talk.now)
    talk.session._agents[0].torn._effort.take_of_turn(WORK_A_TURN)
    several = frames.raw(frames.ack("1.1") + b"\7" * 50)  # it is one frame, but that is seen in the next turn
    assert talk.session.receive(Side.AGENT, several + rest, talk.now).left == 1 + len(rest)
    plant_a_bug(talk.session)
    with pytest.raises(KeyError):
        talk.session.receive(Side.AGENT, several[-1:] + rest, talk.now)
    assert talk.session.release() == (b"", several[-1:] + rest)
    assert talk.tally.held_bytes == 0


@pytest.mark.parametrize("side", Side)
def test_an_observing_session_keeps_at_hand_what_its_shadow_broke_on(side):
    talk = running(observe=True)
    plant_a_bug(talk.session._shadow)
    with pytest.raises(KeyError):
        talk.session.receive(side, NOISE, talk.now)
    assert talk.session.release() == ((NOISE, b"") if side is Side.HAPROXY else (b"", NOISE))


def test_what_went_on_is_not_at_hand_any_more():
    talk = running(observe=True)
    talk.session.receive(Side.HAPROXY, frames.notify("1.1"), talk.now)
    assert talk.session.release() == (b"", b"")
