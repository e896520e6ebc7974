"""A bug of ours with `on_internal_error: splice`: the session becomes a plain TCP proxy that lost no byte."""

import asyncio
import socket

from spoe_guard.address import Address
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.events import EndedBy, EndReason
from spoe_guard.core.terms.output import Output
from spoe_guard.net.leg import HIGH_WATER
from spoe_guard.net.splice import Splice
from tests.net.doubles import FakeSession
from tests.net.peers import Peer
from tests.net.stage import Stage, unix_in, until


class PlantedError(Exception):
    pass


class BreaksHolding(FakeSession):
    """Holds every byte back, and breaks at the byte ``#``; ``dials``: where in the conversation it asks for the agent."""

    dials = True

    def __init__(self, config, tally, now, route_state):
        super().__init__(config, tally, now, route_state)
        self.late = b""

    def start(self, now):
        out = Output()
        out.dial = self.dials
        return out

    def agent_connected(self, now, link_id=0):
        self.calls.append("agent_connected")
        return Output()

    def receive(self, side, data, now, link_id=0):
        if side is Side.AGENT:
            self.late += data
        else:
            self.early += data
        if b"#" in data:
            raise PlantedError
        return Output()

    def release(self):
        return self.early, self.late


SPLICED = {"splice_on_error": True}


async def test_splicing_hands_on_what_was_held_and_then_every_byte(family, tmp_path):
    async with Stage(BreaksHolding, unix_in=unix_in(family, tmp_path), **SPLICED) as stage:
        haproxy, agent = await stage.both()
        await haproxy.send(b"held one ")
        await until(lambda: stage.session.early == b"held one ")
        await agent.send(b"held two ")
        await until(lambda: stage.session.late == b"held two ")
        await haproxy.send(b"#")
        assert await agent.read(10) == b"held one #"
        assert await haproxy.read(9) == b"held two "
        await haproxy.send(b"\0\xff raw")
        await agent.send(b"raw too")
        assert await agent.read(6) == b"\0\xff raw"
        assert await haproxy.read(7) == b"raw too"
        haproxy.fin()
        assert await agent.rest() == b""
        await agent.send(b"after the fin")
        agent.close()
        assert await haproxy.rest() == b"after the fin"
        await stage.over()
        assert [type(error) for error in stage.recorder.errors] == [PlantedError]
        assert stage.recorder.ends() == [(EndedBy.AGENT, EndReason.CLOSED)]
        tally = stage.recorder.tally("default")
        assert (tally.bytes_to_agent, tally.bytes_to_haproxy) == (6, 7 + 13)  # the session had counted the rest


async def test_a_bug_before_the_agent_was_dialled_splices_to_a_dial():
    class NeverDials(BreaksHolding):
        dials = False

    async with Stage(NeverDials, **SPLICED) as stage:
        haproxy = await stage.haproxy()
        await haproxy.send(b"first #")
        agent = await stage.agent()
        assert await agent.read(7) == b"first #"


async def test_a_bug_while_the_agent_is_dialled_waits_for_that_dial(tmp_path):
    class BreaksInTick(BreaksHolding):
        def __init__(self, config, tally, now, route_state):
            super().__init__(config, tally, now, route_state)
            self.deadline = now + 0.01
            self.early = b"held "

        def tick(self, now):
            raise PlantedError

    path = str(tmp_path / "full")
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as filler:
        listening.bind(path)
        listening.listen(0)
        filler.connect(path)
        async with Stage(BreaksInTick, agent=Address(path=path), **SPLICED) as stage:
            haproxy = await stage.haproxy()
            await until(lambda: stage.sessions and isinstance(stage.relay.session, Splice))
            assert stage.relay._links[0].dialling
            await haproxy.send(b"late")
            listening.accept()[0].close()
            await until(lambda: stage.recorder.count("link opened") == 1)
            with listening.accept()[0] as sock:
                sock.setblocking(False)
                assert await Peer(sock).read(9) == b"held late"


async def test_a_spliced_session_whose_agent_cannot_be_dialled_is_reset():
    class NeverDials(BreaksHolding):
        dials = False

    async with Stage(NeverDials, **SPLICED) as stage:
        stage._listening.close()
        haproxy = await stage.haproxy()
        await haproxy.send(b"#")
        assert await haproxy.was_reset()
        await stage.over()
        assert stage.recorder.ends() == [(EndedBy.GUARD, EndReason.UNREACHABLE)]


async def test_there_is_nothing_to_splice_to_when_the_agent_is_gone():
    class LosesTheAgent(BreaksHolding):
        def closed(self, side, now, *, reset, link_id=0):
            return Output()

    async with Stage(LosesTheAgent, **SPLICED) as stage:
        haproxy, agent = await stage.both()
        agent.reset()
        await until(lambda: stage.recorder.count("link closed") == 1)
        await haproxy.send(b"#")
        assert await haproxy.was_reset()
        await stage.over()
        assert stage.recorder.ends() == [(EndedBy.GUARD, EndReason.INTERNAL_ERROR)]


async def test_a_fin_before_the_bug_is_passed_on_by_the_splice():
    class Ignores(BreaksHolding):
        def closed(self, side, now, *, reset, link_id=0):
            self.calls.append("closed")
            return Output()

    async with Stage(Ignores, **SPLICED) as stage:
        haproxy, agent = await stage.both()
        await haproxy.send(b"last")
        haproxy.fin()
        await until(lambda: "closed" in stage.session.calls)
        await agent.send(b"#")
        assert await agent.rest() == b"last"
        assert await haproxy.read(1) == b"#"


async def test_a_spliced_session_keeps_back_pressure():
    async with Stage(BreaksHolding, **SPLICED) as stage:
        haproxy, agent = await stage.both()
        await haproxy.send(b"#")
        assert await agent.read(1) == b"#"
        block, sent = b"z" * 262144, 0

        def stuck():
            nonlocal sent
            more = haproxy.send_now(block)
            sent += more
            return more == 0

        await until(stuck, "a guard that does not read")
        assert stage.relay._links[0].leg.unsent <= HIGH_WATER + len(block)
        assert await agent.read(sent) == b"z" * sent


async def test_a_spliced_session_ends_when_idle():
    async with Stage(BreaksHolding, config=SessionConfig(idle_s=0.05), **SPLICED) as stage:
        haproxy, agent = await stage.both()
        await haproxy.send(b"#")
        assert await haproxy.rest() == b""
        assert await agent.rest() == b"#"
        await stage.over()
        assert stage.recorder.ends() == [(EndedBy.GUARD, EndReason.IDLE_TIMEOUT)]


async def test_a_spliced_session_with_traffic_is_not_idle():
    async with Stage(BreaksHolding, config=SessionConfig(idle_s=1.0), **SPLICED) as stage:
        haproxy, agent = await stage.both()
        await haproxy.send(b"#")
        loop = asyncio.get_running_loop()
        end = loop.time() + 1.5
        while loop.time() < end:
            await haproxy.send(b"!")
            await agent.read(1)
            await asyncio.sleep(0.01)
        assert stage.recorder.ends() == []


async def test_a_spliced_session_drains_at_once():
    async with Stage(BreaksHolding, **SPLICED) as stage:
        haproxy, agent = await stage.both()
        await haproxy.send(b"#")
        assert await agent.read(1) == b"#"
        await stage.guard.drain()
        assert stage.recorder.ends() == [(EndedBy.GUARD, EndReason.DRAIN)]
        assert await agent.rest() == b""


async def test_a_reset_passes_through_a_splice():
    async with Stage(BreaksHolding, **SPLICED) as stage:
        haproxy, agent = await stage.both()
        await haproxy.send(b"#")
        assert await agent.read(1) == b"#"
        agent.reset()
        assert await haproxy.was_reset()
        await stage.over()
        assert stage.recorder.ends() == [(EndedBy.AGENT, EndReason.RESET)]
