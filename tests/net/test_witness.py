"""A witness of a session gets everything it carries, from its first connection to its end and no longer."""

import asyncio
from dataclasses import replace

import pytest

from spoe_guard.capture.files.model import End, Socket
from spoe_guard.capture.record.recorder import Recorder
from spoe_guard.core.observed import open_session
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.output import Output
from spoe_guard.lab import frames
from spoe_guard.net.guard import Guard
from spoe_guard.observe.stats import RouteStats
from spoe_guard.wire import frame
from tests.net.conversation import Guarded, frame_of
from tests.net.doubles import FakeSession
from tests.net.doubles import Recorder as Observer
from tests.net.stage import Stage, until
from tests.net.test_handover import LASTING, answered, met

H, A = Side.HAPROXY, Side.AGENT
RUNT = bytes(4)
ASKED = frames.notify(1, 1, b"/path")


class Witnesses:
    """The flight recorder; ``begun`` are the sessions that it was asked about."""

    def __init__(self, afterwards_s=60.0):
        self.begun = []
        self.takes = []
        loop = asyncio.get_running_loop()
        stats = {"default": RouteStats()}
        self.recorder = Recorder(stats, self._submit, lambda _, do: loop.call_later(afterwards_s, do), 16384, 1 << 20)

    def __call__(self, route, number):
        self.begun.append((route, number))
        return self.recorder if self.recorder.begin(route, number) else None

    def _submit(self, take):
        self.takes.append(take)
        return True

    def check_nothing_is_left(self):
        assert self.recorder._recordings == {}
        assert self.recorder.budget.used == 0


def sent(take, side):
    return b"".join(entry.data for whose, entry in take.entries if whose is side)


async def test_a_whole_session_is_told_with_its_connections_and_how_they_ended():
    witness = Witnesses()
    async with Guarded(witness=witness) as stage:
        haproxy, agent = await stage.talking()
        ports = haproxy.sock.getsockname()[1], stage.address.port, agent.sock.getpeername()[1], agent.sock.getsockname()[1]
        await answered(haproxy, agent, 1)
        await agent.send(RUNT)
        await answered(haproxy, agent, 2)
        await haproxy.send(frames.disconnect(frame.HAPROXY_DISCONNECT))
        await until(lambda: stage.recorder.ends() != [], "the end")
        haproxy.close()
        await stage.over()
    [take] = witness.takes
    assert witness.begun == [("default", take.session)]
    asked = [frames.notify(number, 1, b"/path") for number in (1, 2)]
    assert sent(take, H) == frames.haproxy_hello(frames.Family.MUX) + b"".join(asked) + frames.disconnect(
        frame.HAPROXY_DISCONNECT
    )
    assert sent(take, A).startswith(frames.agent_hello())
    assert RUNT in [entry.data for side, entry in take.entries if side is A]
    theirs, ours, dialled_from, agents = (Socket("127.0.0.1", port) for port in ports)
    assert take.sockets == {(H, 0): (theirs, ours), (A, 0): (dialled_from, agents)}
    chunks = take.capture("full").chunks
    assert any(chunk.end is End.FIN and not chunk.inward for chunk in chunks)  # the guard's own
    assert any(chunk.data[4:5] == bytes((frame.HAPROXY_HELLO,)) for chunk in chunks if chunk.side is A)  # when it had dialled
    witness.check_nothing_is_left()


@pytest.mark.parametrize(
    ("side", "reset", "end"), [(A, False, End.FIN), (A, True, End.RESET), (H, False, End.FIN), (H, True, End.RESET)]
)
async def test_how_a_peer_ended_its_connection_is_told(side, reset, end):
    witness = Witnesses()
    async with Guarded(witness=witness) as stage:
        haproxy, agent = await stage.talking()
        await agent.send(RUNT)
        await until(lambda: stage.anomalies() != [], "the anomaly")
        peer = haproxy if side is H else agent
        if reset:
            peer.reset()
        else:
            peer.close()
        await until(lambda: any(entry.extra and entry.extra.end is end for whose, entry in _entries(witness) if whose is side))
        haproxy.close()
        await stage.over()
    witness.check_nothing_is_left()


def _entries(witness):
    recordings = witness.recorder._recordings.values()
    return [entry for each in (*(take.entries for take in witness.takes), *(it.entries() for it in recordings)) for entry in each]


async def test_a_capture_is_complete_when_its_time_has_come_though_nothing_happens():
    witness = Witnesses(afterwards_s=0.01)
    async with Guarded(witness=witness) as stage:
        haproxy, agent = await stage.talking()
        await agent.send(RUNT)
        await until(lambda: witness.takes != [], "the capture")
        await answered(haproxy, agent, 1)
        haproxy.close()
        await stage.over()
    assert ASKED not in sent(witness.takes[0], H)
    witness.check_nothing_is_left()


class Breaks(FakeSession):
    """At the byte ``#``."""

    def receive(self, side, data, now, link_id=0):
        if data == b"#":
            raise ValueError
        return super().receive(side, data, now, link_id)


class Pauses(FakeSession):
    """Takes nothing of a read in its first turn: it is busy with earlier reads."""

    paused = False

    def receive(self, side, data, now, link_id=0):
        self.paused = not self.paused
        if not self.paused:
            return super().receive(side, data, now, link_id)
        out = Output()
        out.left = len(data)
        return out


async def test_a_turn_that_takes_nothing_of_a_read_is_no_read():
    witness = Witnesses()
    async with Stage(Pauses, witness=witness) as stage:
        haproxy, agent = await stage.both()
        await haproxy.send(b"told")
        assert await agent.read(4) == b"told"
        [recording] = witness.recorder._recordings.values()
        told = [entry for side, entry in recording.entries() if side is H and not entry.extra]
        assert [entry.data for entry in told] == [b"told"]
        haproxy.close()
        agent.close()
        await stage.over()


@pytest.mark.parametrize("splice", [False, True])
async def test_of_a_session_that_broke_nothing_more_is_told(splice):
    witness = Witnesses()
    async with Stage(Breaks, witness=witness, splice_on_error=splice) as stage:
        haproxy, agent = await stage.both()
        await haproxy.send(b"told")
        assert await agent.read(4) == b"told"
        [recording] = witness.recorder._recordings.values()
        assert [entry.data for side, entry in recording.entries() if side is H and entry.data] == [b"told"]
        await haproxy.send(b"#")
        await until(lambda: witness.recorder._recordings == {}, "the end of the recording")
        if splice:
            await haproxy.send(b"not told")
            assert await agent.read(8) == b"not told"
        haproxy.close()
        agent.close()
        await stage.over()
    witness.check_nothing_is_left()


async def test_a_session_that_is_turned_away_is_nobodys():
    witness = Witnesses()
    async with Stage(witness=witness, connections=1) as stage:
        haproxy, _ = await stage.both()
        other = await stage.haproxy()
        assert await other.read(1) == b""
        assert len(witness.begun) == 1
        haproxy.close()
        await stage.over(2)
    witness.check_nothing_is_left()


async def test_the_successors_witness_gets_the_hello_it_did_not_read():
    ours, theirs = Witnesses(), Witnesses()
    async with Guarded(shared=True, config=LASTING, witness=ours) as stage:
        haproxy, agent = await stage.talking()
        observer = Observer()
        shared = {"reuse_port": True, "handover": stage.handover}
        successor = Guard([replace(stage.route, listen=stage.address)], observer, open_session, witness=theirs, **shared)
        await successor.start()
        await answered(haproxy, agent, 1)
        await stage.guard.drain()
        ours.check_nothing_is_left()
        await haproxy.send(ASKED)
        agent = await stage.agent()
        await met(agent)
        assert await agent.read(len(ASKED)) == ASKED
        await until(lambda: theirs.recorder._recordings != {})
        [recording] = theirs.recorder._recordings.values()
        told = [entry.data for side, entry in recording.entries() if side is H and entry.data]
        assert told == [frames.haproxy_hello(frames.Family.MUX), ASKED]
        assert recording.sockets[H, 0][0] == Socket("127.0.0.1", haproxy.sock.getsockname()[1])
        haproxy.close()
        await until(lambda: not successor.sessions, "the end of the session")
        await successor.drain()
    theirs.check_nothing_is_left()


async def test_an_agent_link_that_is_lost_leaves_what_it_said():
    witness = Witnesses()
    async with Guarded(config=LASTING, witness=witness) as stage:
        haproxy, agent = await stage.talking()
        for number in range(1, 40):
            await answered(haproxy, agent, number)
        first = agent.sock.getpeername()[1]
        agent.close()
        await haproxy.send(frames.notify(50, 1, b"/path"))
        agent = await stage.agent()
        await met(agent)
        assert (await frame_of(agent)).type == frame.NOTIFY
        [recording] = witness.recorder._recordings.values()
        entries = [entry for side, entry in recording.entries() if side is A]
        assert {entry.link_id for entry in entries} == {0, 1}
        assert [(track.side, track.link_id) for track in recording._tracks] == [(H, 0), (A, 1)]
        assert sum(entry.data[4:5] == bytes((frame.ACK,)) for entry in entries) == 39
        assert next(pair[0].port for key, pair in recording.sockets.items() if key[0] is A) == first
        haproxy.close()
        await stage.over()
    witness.check_nothing_is_left()
