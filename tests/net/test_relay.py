"""One session and its two connections: bytes, order, ends."""

import socket
import time

import pytest

from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.events import EndedBy, EndReason
from spoe_guard.core.terms.output import Close, Output
from tests.net.doubles import FakeSession
from tests.net.stage import Stage, unix_in, until


async def test_bytes_pass_both_ways(family, tmp_path):
    async with Stage(unix_in=unix_in(family, tmp_path)) as stage:
        haproxy, agent = await stage.both()
        await haproxy.send(b"to the agent")
        assert await agent.read(12) == b"to the agent"
        await agent.send(b"to haproxy")
        assert await haproxy.read(10) == b"to haproxy"
        haproxy.fin()
        assert await agent.rest() == b""
        assert await haproxy.rest() == b""
        await stage.over()
        assert stage.session.calls == ["start", "agent_connected", ("closed", Side.HAPROXY, False)]
        assert stage.recorder.ends() == [(EndedBy.HAPROXY, EndReason.CLOSED)]


async def test_the_agent_is_dialled_only_when_the_session_asks():
    class DialsOnHello(FakeSession):
        def start(self, now):
            return Output()

        def receive(self, side, data, now, link_id=0):
            out = super().receive(side, data, now, link_id)
            out.dial = side is Side.HAPROXY and not self.connected
            return out

    async with Stage(DialsOnHello) as stage:
        haproxy = await stage.haproxy()
        await until(lambda: stage.guard.sessions == 1)
        with pytest.raises(BlockingIOError):
            stage._listening.accept()
        await haproxy.send(b"hello")
        agent = await stage.agent()
        assert await agent.read(5) == b"hello"


async def test_what_is_written_before_a_flush_arrives_before_the_fin(family, tmp_path):
    word = b"x" * 3_000_000  # more than the kernel takes at once

    class LastWord(FakeSession):
        def receive(self, side, data, now, link_id=0):
            out = self.end(Close.FLUSH, EndedBy.HAPROXY, EndReason.DISCONNECT)
            out.to_haproxy = word
            out.to_agent = word
            return out

    async with Stage(LastWord, unix_in=unix_in(family, tmp_path)) as stage:
        haproxy, agent = await stage.both()
        await haproxy.send(b"!")
        assert await haproxy.rest() == word
        assert await agent.rest() == word


async def test_half_closes_and_still_reads(family, tmp_path):
    class PassesFin(FakeSession):
        def closed(self, side, now, *, reset, link_id=0):
            if side is Side.HAPROXY and not reset:
                out = Output()
                out.close_agent = Close.HALF
                return out
            return super().closed(side, now, reset=reset, link_id=link_id)

    async with Stage(PassesFin, unix_in=unix_in(family, tmp_path)) as stage:
        haproxy, agent = await stage.both()
        await haproxy.send(b"question")
        haproxy.fin()
        assert await agent.rest() == b"question"
        await agent.send(b"answer")
        assert await haproxy.read(6) == b"answer"
        agent.close()
        assert await haproxy.rest() == b""


async def test_a_reset_is_told_as_a_reset_and_passed_on_as_one():
    async with Stage() as stage:
        haproxy, agent = await stage.both()
        haproxy.reset()
        assert await agent.was_reset()
        await stage.over()
        assert ("closed", Side.HAPROXY, True) in stage.session.calls
        assert stage.recorder.ends() == [(EndedBy.HAPROXY, EndReason.RESET)]


async def test_a_reset_agent_is_told_as_a_reset():
    async with Stage() as stage:
        haproxy, agent = await stage.both()
        agent.reset()
        assert await haproxy.was_reset()
        await stage.over()
        assert ("closed", Side.AGENT, True) in stage.session.calls


async def test_abort_throws_away_what_is_queued():
    class Aborts(FakeSession):
        def receive(self, side, data, now, link_id=0):
            out = self.end(Close.ABORT, EndedBy.GUARD, EndReason.LIMIT)
            out.to_agent = b"x" * 3_000_000
            return out

    async with Stage(Aborts) as stage:
        haproxy, agent = await stage.both()
        await haproxy.send(b"!")
        await stage.over()  # although the agent reads nothing
        assert await haproxy.was_reset()
        assert await agent.was_reset()


async def test_nagle_is_off_on_both_legs():
    async with Stage() as stage:
        await stage.both()
        socks = [leg.sock for leg in stage.relay._legs]
        assert [bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)) for sock in socks] == [True, True]


async def test_a_peer_that_stalls_at_the_close_is_aborted_within_close_s(family, tmp_path):
    class Stuffs(FakeSession):
        def receive(self, side, data, now, link_id=0):
            out = self.end(Close.FLUSH, EndedBy.HAPROXY, EndReason.DISCONNECT)
            out.to_agent = b"x" * 8_000_000
            return out

    config = SessionConfig(close_s=0.2)
    async with Stage(Stuffs, unix_in=unix_in(family, tmp_path), config=config) as stage:
        haproxy, _agent = await stage.both()
        began = time.monotonic()
        await haproxy.send(b"!")
        assert await haproxy.rest() == b""
        assert stage.guard.sessions == 1  # its own close waited for nobody
        await stage.over()
        assert time.monotonic() - began > 0.19


async def test_one_timer_ticks_at_the_deadline_and_not_before():
    class Waits(FakeSession):
        def __init__(self, config, tally, now, route_state):
            super().__init__(config, tally, now, route_state)
            self.ticks = []
            self.deadline = now + 60.0

        def receive(self, side, data, now, link_id=0):
            self.deadline = self.due = now + 0.05
            return Output()

        def tick(self, now):
            self.ticks.append(now)
            return self.end(Close.FLUSH, EndedBy.GUARD, EndReason.IDLE_TIMEOUT)

    async with Stage(Waits) as stage:
        haproxy, _agent = await stage.both()
        await haproxy.send(b"!")
        assert await haproxy.rest() == b""
        [tick] = stage.session.ticks
        assert stage.session.due <= tick < stage.session.due + 2.0


async def test_a_deadline_that_moves_away_costs_no_timer():
    armed = []

    class Moves(FakeSession):
        def __init__(self, config, tally, now, route_state):
            super().__init__(config, tally, now, route_state)
            self.deadline = now + 0.5  # all that is sent below goes before

        def receive(self, side, data, now, link_id=0):
            self.deadline = now + 60.0
            armed.append(stage.relay._timer)
            return super().receive(side, data, now, link_id)

    async with Stage(Moves) as stage:
        haproxy, agent = await stage.both()
        for _ in range(20):
            await haproxy.send(b"!")
            await agent.read(1)
        assert len(set(map(id, armed))) == 1
        armed.clear()
        await until(lambda: stage.relay._armed > time.monotonic() + 1.0, "a timer at the later deadline")
        assert "tick" not in stage.session.calls


async def test_bytes_that_come_while_the_agent_is_dialled_are_not_lost(family, tmp_path):
    async with Stage(unix_in=unix_in(family, tmp_path)) as stage:
        haproxy = await stage.haproxy()
        await haproxy.send(b"early ")
        agent = await stage.agent()
        await haproxy.send(b"bird")
        assert await agent.read(10) == b"early bird"


async def test_a_second_dial_replaces_the_agent_link():
    class DialsAgain(FakeSession):
        def closed(self, side, now, *, reset, link_id=0):
            if side is Side.HAPROXY:
                return super().closed(side, now, reset=reset, link_id=link_id)
            self.connected = False
            self.deadline = now
            out = Output()
            out.close_agent = Close.FLUSH
            return out

        def tick(self, now):
            self.deadline = float("inf")
            out = Output()
            out.dial = True
            return out

    async with Stage(DialsAgain) as stage:
        haproxy, first = await stage.both()
        first.close()
        second = await stage.agent()
        await haproxy.send(b"to the new one")
        assert await second.read(14) == b"to the new one"
        await second.send(b"from it")
        assert await haproxy.read(7) == b"from it"
        haproxy.fin()
        await stage.over()
        assert stage.recorder.count("link opened") == 2
