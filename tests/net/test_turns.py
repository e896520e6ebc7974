"""A peer that floods the guard with odd frames delays no other session and loses no byte."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest

from spoe_guard.core.incoming.walker import FRAMES_A_TURN
from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.events import EndedBy, EndReason
from spoe_guard.net.leg import HANDED_OVER
from spoe_guard.net.splice import Splice
from spoe_guard.net.turns import BUDGET_S, Turns
from tests.core.script import plant_a_bug
from tests.net.stage import unix_in, until
from tests.net.test_lane import Broken, Laned, answers_to, asked, disconnects_both, leg_of, passes, run_of
from tests.net.test_witness import Witnesses

H, A = Side.HAPROXY, Side.AGENT
RUNT = bytes(4)
FLOOD = RUNT * 10_000  # comes in one read
TURN = 4 * FRAMES_A_TURN  # bytes of it
PATIENT = SessionConfig(glitches=1_000_000)


def comes_at_once(leg, peer, data):
    """Send so much that the guard reads it in one piece."""
    leg.pause_reading(HANDED_OVER)
    assert peer.send_now(data) == len(data)
    leg.resume_reading(HANDED_OVER)


@pytest.mark.parametrize("observe", [False, True])
@pytest.mark.parametrize("side", [H, A])
async def test_others_have_their_turn_while_one_read_is_dealt_with(side, observe):
    async with Laned(config=replace(PATIENT, observe=observe)) as stage:
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
    async with Laned(config=PATIENT) as stage:
        haproxy, agent = await stage.known()
        await passes(haproxy, run_of(range(1, 101)), agent)
        comes_at_once(leg_of(stage, A), agent, RUNT * FRAMES_A_TURN + answers_to(range(1, 101)) + RUNT * FRAMES_A_TURN)
        assert await haproxy.read(len(answers_to(range(1, 101)))) == answers_to(range(1, 101))
        await until(lambda: stage.anomalies() == [Anomaly.RUNT_FRAME] * 2 * FRAMES_A_TURN, "the end of the flood")
        assert [len(each) for each in stage.session.stepped] == [2 * TURN + len(answers_to(range(1, 101))), TURN]
        await disconnects_both(haproxy, agent, stage)


@pytest.mark.parametrize("observe", [False, True])
async def test_what_log_and_recorder_have_no_room_for_is_only_counted(observe):
    witness, counted = Witnesses(), []
    witness.recorder.set(16384, 1 << 20, "error", (1, 60.0))
    async with Laned(config=replace(PATIENT, observe=observe), witness=witness) as stage:
        haproxy, agent = await stage.known()
        stage.recorder.wants = lambda _route, anomaly: anomaly is not Anomaly.RUNT_FRAME
        stage.recorder.counted = lambda *about, **applied: counted.append((*about, applied))
        await haproxy.send(RUNT * 3)
        await until(lambda: len(counted) == 3, "the runts")
        assert counted == [("default", H, Anomaly.RUNT_FRAME, Action.DROP, {"applied": not observe})] * 3
        witness.recorder.set(16384, 1 << 20, "warning", (1, 60.0))
        await haproxy.send(RUNT)
        await until(lambda: stage.anomalies() == [Anomaly.RUNT_FRAME], "the one that gets a capture")
        haproxy.reset()
        agent.close()
        await stage.over()
    witness.check_nothing_is_left()


@pytest.mark.parametrize("end", ["fin", "reset"])
async def test_what_came_before_an_end_is_heard_before_it(end, family, tmp_path):
    async with Laned(unix_in=unix_in(family, tmp_path), config=PATIENT) as stage:
        haproxy, agent = await stage.known()
        await passes(haproxy, asked(1), agent)
        comes_at_once(leg_of(stage, A), agent, FLOOD + answers_to([1]))
        agent.fin() if end == "fin" else agent.reset()
        assert await haproxy.read(len(answers_to([1]))) == answers_to([1])
        haproxy.fin()
        await stage.over()


async def test_a_failed_write_does_not_lose_what_the_peer_sent_before():
    """The leg ends at once, but the session hears of it behind the rest of the read."""
    async with Laned(config=PATIENT) as stage:
        haproxy, agent = await stage.known()
        await passes(haproxy, asked(1), agent)
        comes_at_once(leg_of(stage, A), agent, FLOOD + answers_to([1]))
        await until(lambda: leg_of(stage, A).unheard, "the flood")
        leg_of(stage, A)._end(reset=True)
        assert await haproxy.read(len(answers_to([1]))) == answers_to([1])
        haproxy.fin()
        await stage.over()


async def test_a_session_with_an_unheard_read_is_not_handed_over():
    async with Laned(config=replace(PATIENT, give_up_s=5.0)) as stage:
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
    async with Broken(splice_on_error=True, config=PATIENT) as stage:
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
    async with Laned(config=PATIENT) as stage:
        haproxy, _agent = await stage.known()
        comes_at_once(leg_of(stage, H), haproxy, FLOOD)
        await until(lambda: leg_of(stage, H).unheard, "the flood")
        seen = len(stage.anomalies())
        stage.relay.abort(EndedBy.GUARD, EndReason.DRAIN)
        await stage.over()
        assert len(stage.anomalies()) == seen


class Leg:
    """Waits for so many turns, and says in ``log`` that it had one; ``clock`` goes on by what each costs."""

    def __init__(self, name, turns, log, clock, slices=1):
        self.name, self.turns, self.log, self.clock, self.slices = name, turns, log, clock, slices

    def turn(self):
        self.log.append(self.name)
        self.clock.now += 0.4 * BUDGET_S
        self.slices -= 1
        if self.slices:
            self.turns.wait(self.name[0], self)


def a_clock():
    clock = SimpleNamespace(now=0.0)
    return clock, lambda: clock.now


async def test_routes_take_turns_and_so_do_the_connections_of_each():
    clock, time = a_clock()
    turns, log = Turns(clock=time), []
    for name in ("a1", "a2", "a3", "b1"):
        turns.wait(name[0], Leg(name, turns, log, clock, slices=2))
    await until(lambda: not turns.busy, "their turns")
    assert log == ["a1", "b1", "a2", "b1", "a3", "a1", "a2", "a3"]


async def test_a_turn_of_the_loop_spends_a_bounded_time():
    clock, time = a_clock()
    turns, log = Turns(clock=time), []
    turns.wait("a", Leg("a1", turns, log, clock, slices=7))
    counts = []
    while turns.busy:
        await asyncio.sleep(0)
        counts.append(len(log))
    assert [after - before for before, after in zip([0, *counts], counts, strict=False) if after > before] == [3, 3, 1]
    assert not turns.busy


class Held(Turns):
    """Nobody's turn comes before ``go``."""

    busy = True

    def __init__(self):
        super().__init__()
        self.legs = []

    def wait(self, route, leg):
        self.legs.append(leg)

    def go(self):
        self.busy = False
        for leg in self.legs:
            leg.turn()


async def test_while_others_wait_a_new_odd_read_waits_too():
    """But what is ordinary in it passes at once."""
    async with Laned(config=PATIENT) as stage:
        haproxy, agent = await stage.known()
        turns = stage.relay._turns = Held()
        haproxy.send_now(run_of(range(1, 3)) + RUNT)
        assert await agent.read(len(run_of(range(1, 3)))) == run_of(range(1, 3))
        await until(lambda: leg_of(stage, H).unheard, "the rest")
        assert (turns.legs, stage.session.stepped) == ([leg_of(stage, H)], [])
        turns.go()
        assert (leg_of(stage, H).unheard, stage.session.stepped) == (0, [RUNT])
        turns.legs.clear()
        await passes(agent, answers_to(range(1, 3)), haproxy)
        await disconnects_both(haproxy, agent, stage)


async def test_an_ack_that_waits_for_its_turn_is_not_late():
    async with Laned(config=SessionConfig(answer_deadline_s=0.05)) as stage:
        haproxy, agent = await stage.known()
        await passes(haproxy, asked(1), agent)
        turns = stage.relay._turns = Held()
        await agent.send(RUNT + answers_to([1]))
        assert await haproxy.read(len(answers_to([1]))) == answers_to([1])
        assert stage.anomalies() == [Anomaly.RUNT_FRAME]
        turns.go()
        turns.legs.clear()
        await disconnects_both(haproxy, agent, stage)


async def test_a_flood_that_waits_does_not_put_a_deadline_off():
    async with Laned(config=SessionConfig(answer_deadline_s=0.05)) as stage:
        haproxy, agent = await stage.known()
        await passes(haproxy, asked(1), agent)
        turns = stage.relay._turns = Held()
        await agent.send(RUNT * FRAMES_A_TURN * 2 + answers_to([1]))
        await until(lambda: stage.anomalies()[-1:] == [Anomaly.NOTIFY_UNANSWERED], "the deadline")
        assert stage.anomalies() == [Anomaly.RUNT_FRAME] * FRAMES_A_TURN + [Anomaly.NOTIFY_UNANSWERED]
        turns.go()
        turns.go()
        turns.legs.clear()
        assert stage.anomalies()[-1:] == [Anomaly.LATE_ACK]
        await disconnects_both(haproxy, agent, stage)


async def test_the_end_of_a_connection_waits_for_what_came_before():
    async with Laned(config=PATIENT) as stage:
        haproxy, agent = await stage.known()
        await passes(haproxy, asked(1), agent)
        turns = stage.relay._turns = Held()
        comes_at_once(leg_of(stage, A), agent, RUNT + answers_to([1]))
        await until(lambda: leg_of(stage, A).unheard, "the answer")
        leg_of(stage, A)._end(reset=True)
        for _ in range(5):
            await asyncio.sleep(0)
        assert stage.anomalies() == []
        turns.go()
        turns.legs.clear()
        assert await haproxy.read(len(answers_to([1]))) == answers_to([1])
        await until(lambda: Anomaly.DISCONNECT_MISSING in stage.anomalies(), "its end")
        haproxy.fin()
        await stage.over()
