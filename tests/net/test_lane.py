"""The hot lane with real sessions: no byte or report is lost, delayed or reordered."""

import asyncio

import pytest

from spoe_guard.core.incoming.walker import FRAMES_A_TURN
from spoe_guard.core.lane import Lane
from spoe_guard.core.observed import open_session
from spoe_guard.core.terms.anomalies import Anomaly, Side
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.events import EndedBy, EndReason, LinkLost
from spoe_guard.lab import frames
from spoe_guard.net.leg import HIGH_WATER
from spoe_guard.net.relay import Relay
from spoe_guard.net.splice import Splice
from spoe_guard.wire import frame
from tests.builds import puts_in_place
from tests.carrier import Watched
from tests.net.conversation import VERDICT, Guarded, frame_of
from tests.net.stage import Stage, unix_in, until
from tests.net.test_witness import Witnesses

H, A = Side.HAPROXY, Side.AGENT
RUNT = bytes(4)
LASTING = SessionConfig(give_up_s=5.0, close_s=0.1)
PADDED = frames.text_verdict(b"verdict", b"x" * 8000)


class Laned(Guarded):
    """The stage with real sessions that say what they were asked about."""

    def __init__(self, **route):
        Stage.__init__(self, lambda *about: Watched(open_session(*about)), **route)

    async def known(self):
        """Return both sides of a conversation of a HAProxy up to 3.0 behind its handshake: its next NOTIFY is ordinary."""
        haproxy = await self.haproxy()
        await haproxy.send(frames.haproxy_hello())
        agent = await self.agent()
        assert (await frame_of(agent)).type == frame.HAPROXY_HELLO
        await agent.send(frames.agent_hello())
        assert (await frame_of(haproxy)).type == frame.AGENT_HELLO
        self.session.stepped = []
        return haproxy, agent


def asked(number, path=b"/path"):
    return frames.notify(number, 1, path)


def run_of(numbers, path=b"/path"):
    return b"".join(asked(number, path) for number in numbers)


def answers_to(numbers, verdict=VERDICT):
    return b"".join(frames.ack(frame.parse(asked(number)), verdict) for number in numbers)


async def passes(sender, data, receiver, arriving=None):
    await sender.send(data)
    arriving = data if arriving is None else arriving
    assert await receiver.read(len(arriving)) == arriving


async def disconnects_both(haproxy, agent, stage):
    await haproxy.send(frames.disconnect(frame.HAPROXY_DISCONNECT))
    assert (await frame_of(haproxy)).type == frame.AGENT_DISCONNECT
    assert (await frame_of(agent)).type == frame.HAPROXY_DISCONNECT
    agent.fin()
    await stage.over()


@pytest.mark.parametrize("observe", [False, True], ids=["enforced", "observed"])
async def test_an_ordinary_round_trip_does_not_ask_the_session(observe, family, tmp_path):
    async with Laned(unix_in=unix_in(family, tmp_path), config=SessionConfig(observe=observe)) as stage:
        haproxy, agent = await stage.known()
        for number in range(1, 21):
            await passes(haproxy, asked(number), agent)
            await passes(agent, answers_to([number]), haproxy)
        await until(lambda: stage.recorder.tally("default").ack_count == 20)
        assert stage.session.stepped == []
        haproxy.reset()
        agent.close()
        await stage.over()


async def test_of_a_read_with_something_odd_in_it_all_arrives_in_order():
    async with Laned() as stage:
        haproxy, agent = await stage.known()
        odd = frames.notify(4, 1, b"/path")[:8] + b"\3" + frames.notify(4, 1, b"/path")[9:]  # a flag nobody defines
        await haproxy.send(run_of([1, 2, 3]) + odd + run_of([5, 6]))
        assert [(await frame_of(agent)).stream_id for _ in range(6)] == [1, 2, 3, 4, 5, 6]
        await agent.send(answers_to([6, 5]) + RUNT + answers_to([4, 3, 2]))
        assert [(await frame_of(haproxy)).stream_id for _ in range(5)] == [6, 5, 4, 3, 2]
        assert stage.session.stepped == [odd + run_of([5, 6]), RUNT + answers_to([4, 3, 2])]
        assert stage.anomalies() == [Anomaly.RESERVED_FLAGS, Anomaly.RUNT_FRAME]
        await passes(agent, answers_to([1]), haproxy)
        await disconnects_both(haproxy, agent, stage)


async def test_ack_and_disconnect_of_one_read_are_one_write(monkeypatch):
    """Or HAProxy sends its next NOTIFY in between, and loses it: row `E7 ACKs, then DISCONNECT` of the hazards."""
    async with Laned() as stage:
        haproxy, agent = await stage.known()
        await passes(haproxy, asked(1), agent)
        receive, before, sent = Watched.receive, leg_of(stage, H).sent, []

        def looks(*about):
            sent.append(leg_of(stage, H).sent - before)
            return receive(*about)

        monkeypatch.setattr(Watched, "receive", looks)
        both = answers_to([1]) + frames.disconnect(frame.AGENT_DISCONNECT)
        await passes(agent, both, haproxy)
        assert (sent, leg_of(stage, H).sent - before) == ([0], len(both))
        haproxy.fin()
        agent.fin()
        await stage.over()


async def test_an_ack_does_not_wait_for_what_came_behind_it(monkeypatch):
    async with Laned() as stage:
        haproxy, agent = await stage.known()
        await passes(haproxy, asked(1), agent)
        with monkeypatch.context() as others:
            others.setattr(Relay, "crowded", lambda _: True)
            others.setattr(Relay, "wait", lambda *_: None)
            await passes(agent, answers_to([1]) + RUNT, haproxy, answers_to([1]))
        assert stage.anomalies() == []
        leg_of(stage, A).turn()
        assert stage.anomalies() == [Anomaly.RUNT_FRAME]
        await disconnects_both(haproxy, agent, stage)


async def test_bytes_that_come_one_by_one_arrive_as_they_were():
    async with Laned() as stage:
        haproxy, agent = await stage.known()
        run = run_of(range(1, 6))
        for at in range(0, len(run), 7):
            await haproxy.send(run[at : at + 7])
            await asyncio.sleep(0)
        assert await agent.read(len(run)) == run
        await passes(agent, answers_to(range(1, 6)), haproxy)
        await disconnects_both(haproxy, agent, stage)


def leg_of(stage, side):
    return stage.relay.haproxy if side is H else stage.relay._links[0].leg


MANY = range(1, 2001)
LONG = b"/" * 8000


@pytest.mark.parametrize("side", list(Side), ids=lambda side: f"{side.value}-does-not-read")
async def test_a_peer_that_does_not_read_stops_the_other_within_the_lane(side):
    """Read by read, as whole frames come; what the other one then sends stays in the kernel."""
    async with Laned() as stage:
        haproxy, agent = await stage.known()
        sender, receiver = (haproxy, agent) if side is A else (agent, haproxy)
        full, from_there = leg_of(stage, side), leg_of(stage, H if side is A else A)
        if side is H:
            for number in MANY:
                stage.relay.haproxy.take(asked(number, b"/"))
            assert await agent.read(len(run_of(MANY, b"/"))) == run_of(MANY, b"/")
        raw_ = [asked(number, LONG) if side is A else answers_to([number], PADDED) for number in MANY]
        count = 0
        while not full.full:
            from_there.take(raw_[count])
            count += 1
        unsent = full.unsent
        assert HIGH_WATER < unsent <= HIGH_WATER + len(raw_[0])
        assert stage.session.stepped == []
        rest = b"".join(raw_[count:])
        sent = sender.send_now(rest)
        for _ in range(20):
            await asyncio.sleep(0)
            sent += sender.send_now(rest[sent : sent + 1000])
            assert full.unsent == unsent
        whole = b"".join(raw_[:count])
        assert await receiver.read(len(whole)) == whole
        sending = asyncio.get_running_loop().create_task(sender.send(rest[sent:]))
        assert await receiver.read(len(rest)) == rest
        await sending
        assert not full.full
        assert stage.anomalies() == []
        del full, from_there
        haproxy.reset()
        agent.close()
        await stage.over()


async def test_notifies_passed_to_a_lost_agent_are_counted_as_unanswered():
    """A write finds it broken, and the session has not heard of it yet."""
    async with Laned(config=LASTING) as stage:
        haproxy, agent = await stage.known()
        await passes(haproxy, asked(1), agent)
        await passes(agent, answers_to([1]), haproxy)
        stage.session.stepped = []
        agent.reset()
        for number in (2, 3):
            stage.relay.haproxy.take(asked(number))  # before the loop says anything of the agent
        assert not leg_of(stage, A).connected
        assert stage.session.stepped == []
        await until(lambda: stage.events(LinkLost) != [], "the loss")
        assert [event.open_notifies for event in stage.events(LinkLost)] == [2]
        assert stage.recorder.tally("default").open_notifies == 0
        haproxy.reset()
        await stage.over()


async def test_what_an_agent_says_when_haproxy_is_gone_goes_nowhere():
    async with Laned() as stage:
        haproxy, agent = await stage.known()
        await passes(haproxy, run_of([1, 2, 3]), agent)
        haproxy.reset()
        for number in (1, 2):
            leg_of(stage, A).take(answers_to([number]))
        assert not stage.relay.haproxy.connected
        assert stage.session.stepped == []
        assert (await frame_of(agent)).type == frame.HAPROXY_DISCONNECT
        agent.close()
        await stage.over()
        assert stage.recorder.ends() == [(EndedBy.HAPROXY, EndReason.RESET)]


async def test_an_agent_that_resets_behind_its_answers_has_answered():
    async with Laned(config=LASTING) as stage:
        haproxy, agent = await stage.known()
        await passes(haproxy, run_of([1, 2]), agent)
        await passes(agent, answers_to([1, 2]), haproxy)
        agent.reset()
        await until(lambda: stage.events(LinkLost) != [], "the loss")
        assert [event.open_notifies for event in stage.events(LinkLost)] == [0]
        haproxy.reset()
        await stage.over()


async def test_links_are_dealt_what_is_ordinary_and_each_has_its_answers_back():
    config = SessionConfig(give_up_s=5.0, max_links=2, in_flight=1, close_s=0.1)
    async with Laned(config=config) as stage:
        haproxy, agent = await stage.known()
        await haproxy.send(run_of([1, 2]))
        other = await stage.agent()
        assert (await frame_of(other)).type == frame.HAPROXY_HELLO
        await other.send(frames.agent_hello())
        assert await agent.read(len(asked(1))) == asked(1)
        assert await other.read(len(asked(2))) == asked(2)
        for number in range(1, 21, 2):
            await passes(agent, answers_to([number]), haproxy)
            await passes(other, answers_to([number + 1]), haproxy)
            if number == 1:
                stage.session.stepped = []
            await haproxy.send(run_of([number + 2, number + 3]))
            got = [await frame_of(agent), await frame_of(other)]
            if got[0].stream_id > got[1].stream_id:
                agent, other = other, agent
            assert [raw_.stream_id for raw_ in sorted(got, key=lambda raw_: raw_.stream_id)] == [number + 2, number + 3]
        assert stage.session.stepped == []
        haproxy.reset()
        await stage.over()


class PlantedError(Exception):
    pass


class Broken(Laned):
    """In which something of ours breaks once, with an error of the class ``planted``."""

    planted: type[Exception] = PlantedError

    def check_books(self):
        assert [type(error) for error in self.recorder.errors] == [self.planted]
        self.recorder.errors.clear()
        super().check_books()


def breaks(*_):
    raise PlantedError


async def test_an_ack_in_front_of_what_breaks_us_arrives():
    async with Broken(splice_on_error=True) as stage:
        haproxy, agent = await stage.known()
        await passes(haproxy, asked(1), agent)
        stage.session.receive = breaks
        await passes(agent, answers_to([1]) + RUNT, haproxy, answers_to([1]))
        haproxy.fin()
        agent.fin()
        await stage.over()


async def test_a_splice_takes_the_legs_off_the_lane():
    async with Broken(splice_on_error=True) as stage:
        haproxy, agent = await stage.known()
        await passes(haproxy, asked(1), agent)
        stage.session.receive = breaks
        await haproxy.send(RUNT)
        await until(lambda: isinstance(stage.relay.session, Splice), "the splice")
        assert leg_of(stage, H).lane is leg_of(stage, A).lane is None
        tally = stage.recorder.tally("default")
        before = tally.frames_to_agent[frame.NOTIFY], tally.frames_to_haproxy[frame.ACK]
        await passes(haproxy, asked(2), agent)
        await passes(agent, answers_to([2, 1, 1]), haproxy)
        assert (tally.frames_to_agent[frame.NOTIFY], tally.frames_to_haproxy[frame.ACK]) == before
        haproxy.fin()
        agent.fin()
        await stage.over()


@puts_in_place
@pytest.mark.parametrize("where", ["up", "down"])
async def test_a_bug_in_the_lane_ends_the_session_and_not_the_guard(where, monkeypatch):
    async with Broken() as stage:
        haproxy, agent = await stage.known()
        await passes(haproxy, run_of([1, 2]), agent)
        with monkeypatch.context() as planted:
            planted.setattr(Lane, where, breaks)
            await (haproxy.send(asked(3)) if where == "up" else agent.send(answers_to([1])))
            assert await haproxy.was_reset()
            assert await agent.was_reset()
        await stage.over()
        assert stage.recorder.ends() == [(EndedBy.GUARD, EndReason.INTERNAL_ERROR)]
        stage.sessions.clear()
        haproxy, agent = await stage.known()
        await passes(haproxy, asked(1), agent)
        await passes(agent, answers_to([1]), haproxy)
        await disconnects_both(haproxy, agent, stage)


@puts_in_place
@pytest.mark.parametrize(("side", "passes_first"), [(H, True), (H, False), (A, False)])
async def test_a_bug_in_the_lane_loses_no_byte_with_splice_on_error(side, passes_first, monkeypatch):
    """HAProxy's reads pass in runs, and the bug may be behind the first one."""
    where = "up" if side is H else "down"
    original = getattr(Lane, where)

    def breaks_behind(self, data, pos, now):
        if passes_first and pos == 0:
            return original(self, data, pos, now)
        raise PlantedError

    async with Broken(splice_on_error=True) as stage:
        haproxy, agent = await stage.known()
        await passes(haproxy, run_of([1, 2]), agent)
        monkeypatch.setattr(Lane, where, breaks_behind)
        sender, receiver = (haproxy, agent) if side is H else (agent, haproxy)
        whole = run_of([3, 4]) + RUNT + asked(5) if side is H else answers_to([2]) + RUNT + answers_to([1])
        await passes(sender, whole, receiver)
        await passes(sender, b"anything", receiver)
        haproxy.fin()
        agent.fin()
        await stage.over()


async def test_the_recorder_is_told_of_what_passed_in_order_with_the_rest():
    witness = Witnesses()
    async with Laned(witness=witness) as stage:
        haproxy, agent = await stage.known()
        await passes(haproxy, run_of([1, 2]), agent)
        await passes(agent, answers_to([2]), haproxy)
        mixed = answers_to([1]) + RUNT * (FRAMES_A_TURN + 1)
        await agent.send(mixed)
        await haproxy.read(len(answers_to([1])))
        await until(lambda: len(stage.anomalies()) == FRAMES_A_TURN + 1)
        await passes(haproxy, asked(3), agent)
        await passes(agent, answers_to([3]), haproxy)
        assert stage.session.stepped == [RUNT * (FRAMES_A_TURN + 1), RUNT]
        await haproxy.send(frames.disconnect(frame.HAPROXY_DISCONNECT))
        await until(lambda: stage.recorder.ends() != [] or witness.takes != [], "the end")
        haproxy.close()
        await stage.over()
    [take] = witness.takes
    told = [(side, entry.data) for side, entry in take.entries if entry.data]
    assert told == [
        (H, frames.haproxy_hello()),
        (A, frames.agent_hello()),
        (H, run_of([1, 2])),
        (A, answers_to([2])),
        (A, answers_to([1])),
        (A, RUNT * FRAMES_A_TURN),
        (A, RUNT),
        (H, asked(3)),
        (A, answers_to([3])),
        (H, frames.disconnect(frame.HAPROXY_DISCONNECT)),
    ]
    witness.check_nothing_is_left()
