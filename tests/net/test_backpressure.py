"""Peers that do not read: memory stays bounded, the other direction continues, and no byte is lost once they read again."""

import asyncio
import socket

import pytest

from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.output import Close, Output
from spoe_guard.net.calls import READ_BYTES
from spoe_guard.net.dial import dial
from spoe_guard.net.leg import HIGH_WATER
from tests.net.doubles import FakeSession
from tests.net.peers import hanging_address
from tests.net.stage import Stage, unix_in, until

BLOCK = bytes(range(256)) * 1024


async def flood(peer, blocks):
    """Send ``blocks`` blocks, waiting for room; return how many went before it was cancelled."""
    sent = 0
    for _ in range(blocks):
        await peer.send(BLOCK)
        sent += 1
    return sent


def queued(side):
    def size(stage):
        leg = stage.relay.haproxy if side is Side.HAPROXY else stage.relay._links[0].leg
        return leg.unsent

    return size


@pytest.mark.parametrize("deaf", list(Side), ids=lambda side: f"{side.value}-never-reads")
async def test_a_deaf_peer_costs_bounded_memory_and_stops_only_its_direction(deaf, family, tmp_path):
    blocks = 100
    async with Stage(unix_in=unix_in(family, tmp_path)) as stage:
        haproxy, agent = await stage.both()
        talker, listener = (agent, haproxy) if deaf is Side.HAPROXY else (haproxy, agent)
        flooding = asyncio.get_running_loop().create_task(flood(talker, blocks))
        await until(lambda: queued(deaf)(stage) > HIGH_WATER, "a full leg")
        for _ in range(50):
            await listener.send(b"!")
            assert await talker.read(1) == b"!"
            assert queued(deaf)(stage) <= HIGH_WATER + READ_BYTES
        assert not flooding.done()
        got = await listener.read(blocks * len(BLOCK))
        assert got == BLOCK * blocks
        assert await flooding == blocks


async def test_a_peer_that_does_not_read_its_answers_is_not_read_either():
    """A session may answer HAProxy itself: without this, HAProxy alone could fill the guard's memory."""
    answer = b"x" * 100_000

    class Answers(FakeSession):
        answers = 0

        def receive(self, side, data, now, link_id=0):
            out = Output()
            out.to_haproxy = answer
            self.answers += 1
            return out

    async with Stage(Answers) as stage:
        haproxy, _agent = await stage.both()
        await until(lambda: haproxy.send_now(BLOCK) == 0, "a guard that does not read")
        assert queued(Side.HAPROXY)(stage) <= HIGH_WATER + 2 * len(answer)
        paused_at = stage.session.answers
        assert await haproxy.read(paused_at * len(answer)) == answer * paused_at
        await until(lambda: stage.session.answers > paused_at, "reading again")


async def test_haproxy_is_not_read_while_the_agent_is_dialled():
    async with hanging_address() as nowhere, Stage(agent=nowhere) as stage:
        haproxy = await stage.haproxy()
        await until(lambda: haproxy.send_now(BLOCK) == 0, "a guard that does not read")
        assert stage.session.early == b""
        stage.guard.abort_all()
        await stage.over()


async def test_a_new_leg_does_not_feed_one_that_is_full_already():
    word = b"x" * 8_000_000

    class Greets(FakeSession):
        def start(self, now):
            return Output()

        def receive(self, side, data, now, link_id=0):
            out = super().receive(side, data, now, link_id)
            if side is Side.HAPROXY:
                out.to_haproxy = word
                out.dial = True
            return out

    async with Stage(Greets) as stage:
        haproxy = await stage.haproxy()
        await haproxy.send(b"!")
        agent = await stage.agent()
        await until(lambda: stage.recorder.count("link opened") == 1)
        sent = 0

        def stuck():
            nonlocal sent
            more = agent.send_now(b"y" * READ_BYTES)
            sent += more
            return more == 0

        await until(stuck, "a guard that does not read")
        assert queued(Side.HAPROXY)(stage) <= len(word) + READ_BYTES
        assert await haproxy.read(len(word)) == word
        assert await haproxy.read(sent) == b"y" * sent


async def test_a_fin_is_told_once_even_if_the_other_side_fills_up():
    """A FIN can be read again each time reading is resumed."""

    class KeepsOpen(FakeSession):
        def closed(self, side, now, *, reset, link_id=0):
            self.calls.append(("closed", side))
            return Output()

        def receive(self, side, data, now, link_id=0):
            out = Output()
            out.to_haproxy = b"x" * 8_000_000
            return out

    async with Stage(KeepsOpen) as stage:
        haproxy, agent = await stage.both()
        haproxy.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)  # or the kernel would grow it to take it all
        agent.fin()
        await until(lambda: ("closed", Side.AGENT) in stage.session.calls)
        for _ in range(3):
            await haproxy.send(b"!")
            await until(lambda: stage.relay.haproxy.full)
            assert len(await haproxy.read(8_000_000)) == 8_000_000
            await until(lambda: not stage.relay.haproxy.full)
        assert stage.session.calls.count(("closed", Side.AGENT)) == 1
        stage.guard.abort_all()
        await stage.over()


async def test_a_link_that_was_replaced_holds_nobody():
    """It is still being flushed, and full; HAProxy belongs to the new one."""

    class Replaces(FakeSession):
        def receive(self, side, data, now, link_id=0):
            if data != b"replace":
                return super().receive(side, data, now, link_id)
            self.connected = False
            self.deadline = now
            out = Output()
            out.to_agent = b"x" * 8_000_000
            out.close_agent = Close.FLUSH
            return out

        def tick(self, now):
            self.deadline = float("inf")
            out = Output()
            out.dial = True
            return out

    async with Stage(Replaces, config=SessionConfig(close_s=60.0)) as stage:
        haproxy, old = await stage.both()
        await haproxy.send(b"replace")
        new = await stage.agent()
        await until(lambda: stage.recorder.count("link opened") == 2)
        await until(lambda: haproxy.send_now(BLOCK) == 0, "a new link that is full")
        assert stage.relay.haproxy._paused
        assert await old.rest() == b"x" * 8_000_000
        await until(lambda: stage.recorder.count("link closed") == 1)
        assert stage.relay.haproxy._paused
        assert await new.read(len(BLOCK)) == BLOCK
        stage.guard.abort_all()
        await stage.over()


async def test_the_hanging_address_hangs():
    async with hanging_address() as nowhere:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await dial([nowhere])
