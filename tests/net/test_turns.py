"""A peer that floods the guard with odd frames delays no other session and loses no byte."""

import pytest

from spoe_guard.core.incoming.walker import FRAMES_A_TURN
from spoe_guard.core.terms.anomalies import Anomaly, Side
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.events import EndedBy, EndReason
from spoe_guard.net.leg import HANDED_OVER
from spoe_guard.net.splice import Splice
from tests.core.script import plant_a_bug
from tests.net.stage import unix_in, until
from tests.net.test_lane import Broken, Laned, answers_to, asked, disconnects_both, leg_of, passes, run_of

H, A = Side.HAPROXY, Side.AGENT
RUNT = bytes(4)
FLOOD = RUNT * 10_000  # comes in one read
TURN = 4 * FRAMES_A_TURN  # bytes of it


def comes_at_once(leg, peer, data):
    """Send so much that the guard reads it in one piece."""
    leg.pause_reading(HANDED_OVER)
    assert peer.send_now(data) == len(data)
    leg.resume_reading(HANDED_OVER)


@pytest.mark.parametrize("observe", [False, True])
@pytest.mark.parametrize("side", [H, A])
async def test_others_have_their_turn_while_one_read_is_dealt_with(side, observe):
    async with Laned(config=SessionConfig(observe=observe)) as stage:
        haproxy, agent = await stage.known()
        leg, told = leg_of(stage, side), stage.session
        other = await stage.haproxy()
        await until(lambda: len(stage.sessions) == 2, "the other session")
        told.stepped = stage.sessions[1].stepped = asked_about = []
        comes_at_once(leg, haproxy if side is H else agent, FLOOD)
        del leg, told
        await until(lambda: asked_about, "its first turn")
        await other.send(b"\0")
        turns = -(-len(FLOOD) // TURN)
        await until(lambda: len(asked_about) == turns + 1, "the other's turn and all of the flood")
        assert asked_about.index(b"\0") < turns / 2
        asked_about.remove(b"\0")
        assert [len(each) for each in asked_about] == [len(FLOOD) - TURN * turn for turn in range(turns)]


async def test_behind_a_flood_what_is_ordinary_goes_by_the_lane_again():
    async with Laned() as stage:
        haproxy, agent = await stage.known()
        await passes(haproxy, run_of(range(1, 101)), agent)
        comes_at_once(leg_of(stage, A), agent, RUNT * FRAMES_A_TURN + answers_to(range(1, 101)) + RUNT * FRAMES_A_TURN)
        assert await haproxy.read(len(answers_to(range(1, 101)))) == answers_to(range(1, 101))
        await until(lambda: stage.anomalies() == [Anomaly.RUNT_FRAME] * 2 * FRAMES_A_TURN, "the end of the flood")
        assert [len(each) for each in stage.session.stepped] == [2 * TURN + len(answers_to(range(1, 101))), TURN]
        await disconnects_both(haproxy, agent, stage)


@pytest.mark.parametrize("end", ["fin", "reset"])
async def test_what_came_before_an_end_is_heard_before_it(end, family, tmp_path):
    async with Laned(unix_in=unix_in(family, tmp_path)) as stage:
        haproxy, agent = await stage.known()
        await passes(haproxy, asked(1), agent)
        comes_at_once(leg_of(stage, A), agent, FLOOD + answers_to([1]))
        agent.fin() if end == "fin" else agent.reset()
        assert await haproxy.read(len(answers_to([1]))) == answers_to([1])
        haproxy.fin()
        await stage.over()


async def test_a_failed_write_does_not_lose_what_the_peer_sent_before():
    """The leg ends at once, but the session hears of it behind the rest of the read."""
    async with Laned() as stage:
        haproxy, agent = await stage.known()
        await passes(haproxy, asked(1), agent)
        comes_at_once(leg_of(stage, A), agent, FLOOD + answers_to([1]))
        await until(lambda: leg_of(stage, A).unheard, "the flood")
        leg_of(stage, A)._end(reset=True)
        assert await haproxy.read(len(answers_to([1]))) == answers_to([1])
        haproxy.fin()
        await stage.over()


async def test_a_session_with_an_unheard_read_is_not_handed_over():
    async with Laned(config=SessionConfig(give_up_s=5.0)) as stage:
        haproxy, agent = await stage.known()
        comes_at_once(leg_of(stage, H), haproxy, FLOOD)
        await until(lambda: leg_of(stage, H).unheard, "the flood")
        assert stage.session.to_hand_over() is not None
        assert stage.relay.to_hand_over() is None
        await until(lambda: not leg_of(stage, H).unheard, "its end")
        assert stage.relay.to_hand_over() is not None
        await disconnects_both(haproxy, agent, stage)


@pytest.mark.parametrize("side", [H, A])
async def test_a_splice_gets_what_was_not_heard(side):
    async with Broken(splice_on_error=True) as stage:
        haproxy, agent = await stage.known()
        sender, receiver = (haproxy, agent) if side is H else (agent, haproxy)
        comes_at_once(leg_of(stage, side), sender, FLOOD)
        await until(lambda: leg_of(stage, side).unheard, "the flood")
        waits = leg_of(stage, side).unheard
        stage.planted = KeyError
        plant_a_bug(stage.session)
        await until(lambda: isinstance(stage.relay.session, Splice), "the splice")
        assert await receiver.read(waits) == bytes(waits)
        await passes(sender, b"anything", receiver)
        haproxy.fin()
        agent.fin()
        await stage.over()


async def test_an_unheard_read_of_an_aborted_connection_is_dropped():
    async with Laned() as stage:
        haproxy, _agent = await stage.known()
        comes_at_once(leg_of(stage, H), haproxy, FLOOD)
        await until(lambda: leg_of(stage, H).unheard, "the flood")
        seen = len(stage.anomalies())
        stage.relay.abort(EndedBy.GUARD, EndReason.DRAIN)
        await stage.over()
        assert len(stage.anomalies()) == seen
