"""A connection and its socket: fair turns, the send queue, and every way to end."""

import asyncio
import socket

import pytest

from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.output import Close, Output
from spoe_guard.net import calls
from spoe_guard.net.calls import READ_BYTES
from spoe_guard.net.leg import HANDED_OVER, HIGH_WATER, LOW_WATER, OTHER_IS_FULL
from tests.net.doubles import FakeSession
from tests.net.peers import Peer
from tests.net.stage import Stage, unix_in, until

WORD = b"".join(number.to_bytes(4, "big") for number in range(750_000))  # 3 MB, more than the kernel takes at once


class Listens(FakeSession):
    """Passes nothing on. ``heard``: what HAProxy said, read by read."""

    def __init__(self, config, tally, now, route_state):
        super().__init__(config, tally, now, route_state)
        self.heard = []

    def receive(self, side, data, now, link_id=0):
        self.heard.append(data)
        return Output()


class Deaf(FakeSession):
    """Leaves both connections as they are when one says FIN."""

    def closed(self, side, now, *, reset, link_id=0):
        self.calls.append(("closed", side, reset))
        return Output()


async def talking(stage):
    """Return both peers, and HAProxy's leg, whose socket takes little at once."""
    haproxy, agent = await stage.both()
    leg = stage.relay.haproxy
    leg.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    haproxy.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    return haproxy, agent, leg


async def turns(count=5):
    """Let the loop look for bytes so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_is_written_stays_in_order_while_some_of_it_waits(family, tmp_path):
    whole = b"".join(number.to_bytes(4, "big") for number in range(1_000_000))
    async with Stage(unix_in=unix_in(family, tmp_path)) as stage:
        haproxy, _agent = await stage.both()
        leg = stage.relay.haproxy
        leg.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        got, waited = bytearray(), 0
        for at in range(0, len(whole), 100_000):
            leg.write(whole[at : at + 100_000])  # as soon as one has gone in part only, the next one may not go first
            waited += leg.unsent > 0
            if at % 300_000 == 0:  # then there is room in the socket, and something that waits
                got += await haproxy.read(50_000)
        got += await haproxy.read(len(whole) - len(got))
        assert waited > 3
        assert bytes(got) == whole
        leg.write(b"behind")
        assert await haproxy.read(6) == b"behind"
        await until(lambda: stage.relay.haproxy.unsent == 0)
        leg.write(b"at once again")
        assert haproxy.sock.recv(100) == b"at once again"
        del leg


@pytest.mark.parametrize("how", [Close.FLUSH, Close.ABORT])
async def test_behind_its_end_nothing_is_written(how):
    async with Stage() as stage:
        haproxy, _agent = await stage.both()
        leg = stage.relay.haproxy
        leg.close(how, 5.0)
        leg.write(b"too late")
        del leg
        if how is Close.FLUSH:
            assert await haproxy.rest() == b""
        else:
            assert await haproxy.was_reset()


async def test_a_write_that_finds_the_connection_broken_ends_the_leg():
    async with Stage() as stage:
        haproxy, _agent = await stage.both()
        leg = stage.relay.haproxy
        leg.pause_reading(OTHER_IS_FULL)  # or it would hear of it by reading
        haproxy.reset()
        for _ in range(2):  # the first may meet the reset, the second the end
            leg.write(b"to nobody")
        assert not leg.connected
        assert leg.descriptor == -1
        assert stage.session.calls == ["start", "agent_connected"]  # it hears of it when it is not asking for something
        del leg
        await until(lambda: ("closed", Side.HAPROXY, True) in stage.session.calls)
        await stage.over()


async def test_each_connection_is_read_once_per_turn_up_to_a_bound(tmp_path):
    async with Stage(Listens, unix_in=tmp_path) as stage:
        talker, _ = await stage.both()
        other = await stage.haproxy()
        await stage.agent()
        await until(lambda: stage.recorder.count("link opened") == 2)
        legs = [relay.haproxy for relay in stage.guard._relays.values()]
        stage.sessions[1].heard = stage.sessions[0].heard = reads = []
        for leg in legs:
            leg.pause_reading(HANDED_OVER)
        sent = talker.send_now(bytes(1_000_000))
        assert sent > 3 * READ_BYTES
        assert other.send_now(b"?") == 1
        for leg in legs:
            leg.resume_reading(HANDED_OVER)
        del leg, legs
        await until(lambda: sum(map(len, reads)) == sent + 1)
        assert reads.index(b"?") <= 1
        reads.remove(b"?")
        assert {len(read) for read in reads[:-1]} == {READ_BYTES}


async def test_a_large_write_reaches_a_slow_reader_whole_and_in_order(family, tmp_path):
    async with Stage(unix_in=unix_in(family, tmp_path)) as stage:
        haproxy, _agent, leg = await talking(stage)
        leg.write(WORD)
        waits = [leg.unsent]
        del leg
        got = bytearray()
        while len(got) < len(WORD):
            got += await haproxy.read(min(20_000, len(WORD) - len(got)))
            waits.append(stage.relay.haproxy.unsent)
        assert bytes(got) == WORD
        assert waits == sorted(waits, reverse=True)
        assert len(set(waits)) > 3
        assert waits[-1] == 0
        assert not stage.relay.haproxy.full


async def test_a_connection_that_is_held_is_not_read_to_its_end_either(family, tmp_path):
    async with Stage(Listens, unix_in=unix_in(family, tmp_path)) as stage:
        haproxy, _agent = await stage.both()
        stage.relay.haproxy.pause_reading(HANDED_OVER)
        await haproxy.send(b"last words")
        haproxy.fin()
        await turns()
        assert stage.session.heard == []
        assert not stage.relay.haproxy.eof
        stage.relay.haproxy.resume_reading(HANDED_OVER)
        await until(lambda: ("closed", Side.HAPROXY, False) in stage.session.calls)
        assert stage.session.heard == [b"last words"]


async def test_a_connection_that_is_held_before_it_begins_is_not_read():
    class DialsNobody(Listens):
        def start(self, now):
            self.calls.append("start")
            return Output()

    async with Stage(DialsNobody) as stage:
        haproxy = Peer(socket.create_connection((stage.address.host, stage.address.port)))
        haproxy.sock.setblocking(False)
        stage.guard._listeners[0]._accept()
        stage.relay.haproxy.pause_reading(HANDED_OVER)
        await haproxy.send(b"early")
        await until(lambda: stage.session.calls == ["start"])
        await turns()
        assert stage.session.heard == []
        stage.relay.haproxy.resume_reading(HANDED_OVER)
        await until(lambda: stage.session.heard == [b"early"])
        haproxy.close()
        await stage.over()


async def test_a_fin_goes_behind_queued_bytes_and_reading_continues(family, tmp_path):
    async with Stage(unix_in=unix_in(family, tmp_path)) as stage:
        haproxy, agent, leg = await talking(stage)
        leg.write(WORD)
        leg.close(Close.HALF, 5.0)
        assert leg.unsent > 0
        del leg
        stage.relay.haproxy.write(b"too late")
        assert await haproxy.rest() == WORD
        await haproxy.send(b"heard")
        assert await agent.read(5) == b"heard"


async def test_a_fin_that_has_nothing_before_it_goes_at_once(family, tmp_path):
    async with Stage(unix_in=unix_in(family, tmp_path)) as stage:
        haproxy, agent = await stage.both()
        stage.relay.haproxy.close(Close.HALF, 5.0)
        stage.relay.haproxy.write(b"too late")
        assert haproxy.sock.recv(100) == b""
        assert stage.relay.haproxy.connected
        await haproxy.send(b"heard")
        assert await agent.read(5) == b"heard"


async def test_a_reset_is_seen_by_what_waits_to_be_sent():
    async with Stage() as stage:
        haproxy, agent, leg = await talking(stage)
        leg.write(WORD)
        assert leg.unsent > 0
        leg.pause_reading(HANDED_OVER)  # or it would hear of it by reading
        del leg
        haproxy.reset()
        await until(lambda: ("closed", Side.HAPROXY, True) in stage.session.calls)
        assert await agent.was_reset()
        await stage.over()
        assert stage.session.calls.count(("closed", Side.HAPROXY, True)) == 1


async def test_what_came_before_a_reset_is_heard_and_then_the_reset(family, tmp_path):
    """uvloop forgets a descriptor of which epoll reports an error, after one call."""
    async with Stage(Listens, unix_in=unix_in(family, tmp_path)) as stage:
        haproxy, _agent = await stage.both()
        leg = stage.relay.haproxy
        leg.pause_reading(HANDED_OVER)
        leg.write(b"unread")  # a Unix socket that is closed with something unread resets
        sent = haproxy.send_now(b"last words" if family == "tcp" else bytes(1_000_000))
        haproxy.reset()
        leg.resume_reading(HANDED_OVER)
        del leg
        await until(lambda: ("closed", Side.HAPROXY, True) in stage.session.calls)
        assert sum(map(len, stage.session.heard)) == sent
        assert family == "tcp" or sent > 3 * READ_BYTES


async def test_an_abort_throws_away_what_is_queued_and_resets():
    async with Stage() as stage:
        haproxy, _agent, leg = await talking(stage)
        leg.write(WORD)
        assert leg.unsent > 0
        leg.abort()
        assert (leg.unsent, leg.descriptor, leg.connected) == (0, -1, False)
        leg.abort()
        del leg
        assert await haproxy.was_reset()


async def test_a_close_flushes_what_is_queued_and_reads_no_more(family, tmp_path):
    async with Stage(Listens, unix_in=unix_in(family, tmp_path)) as stage:
        haproxy, _agent, leg = await talking(stage)
        leg.write(WORD)
        leg.close(Close.FLUSH, 5.0)
        if family == "unix":  # a TCP connection that is closed with something unread is reset
            await haproxy.send(b"?")
        await turns()
        assert leg.connected
        leg.write(b"too late")
        del leg
        assert await (haproxy.rest() if family == "tcp" else haproxy.read(len(WORD))) == WORD
        await until(lambda: not stage.relay.haproxy.connected)
        assert stage.session.heard == []
        assert stage.relay.haproxy.descriptor == -1


@pytest.mark.puts_in_place
async def test_nothing_spins_behind_an_end_or_on_a_connection_that_is_held(family, tmp_path, monkeypatch):
    asked = []
    real = calls.receive

    def receive(fd):
        asked.append(fd)
        return real(fd)

    monkeypatch.setattr(calls, "receive", receive)
    async with Stage(Deaf, unix_in=unix_in(family, tmp_path)) as stage:
        haproxy, agent = await stage.both()
        leg = stage.relay.haproxy
        leg.pause_reading(HANDED_OVER)
        await haproxy.send(b"?")
        await turns()
        assert asked == []
        assert not asyncio.get_running_loop().remove_reader(leg.descriptor), "it is told again and again of the byte"
        haproxy.fin()
        leg.resume_reading(HANDED_OVER)
        await until(lambda: stage.relay.haproxy.eof)
        assert asked == [leg.descriptor] * 2  # the byte, and the end
        await turns()
        leg.pause_reading(OTHER_IS_FULL)
        leg.resume_reading(OTHER_IS_FULL)
        await turns()
        assert asked == [leg.descriptor] * 2
        assert stage.session.calls.count(("closed", Side.HAPROXY, False)) == 1
        await agent.send(b"the other way")
        assert await haproxy.read(13) == b"the other way"
        del leg
        stage.guard.abort_all()
        await stage.over()


async def test_a_leg_is_full_past_high_water_and_free_at_low_water():
    async with Stage() as stage:
        haproxy, _agent = await stage.both()
        leg, agents = stage.relay.haproxy, stage.relay._links[0].leg
        written = 0
        while not leg.unsent:  # no turn of the loop between these
            leg.write(bytes(HIGH_WATER // 2))
            written += HIGH_WATER // 2
        rest = HIGH_WATER - leg.unsent
        leg.write(bytes(rest))
        assert (leg.unsent, leg.full, agents._paused) == (HIGH_WATER, False, 0)
        leg.write(b"!")
        assert (leg.unsent, leg.full, agents._paused) == (HIGH_WATER + 1, True, OTHER_IS_FULL)
        assert await haproxy.read(written + rest + 1) == bytes(written + rest) + b"!"
        del leg, agents
        await until(lambda: not stage.relay.haproxy.full)
        assert stage.relay.haproxy.unsent <= LOW_WATER
        assert stage.relay._links[0].leg._paused == 0


async def test_a_connection_that_was_ended_in_the_same_turn_is_not_read(family, tmp_path):
    """Both have bytes: the first one to be read ends the other."""
    read = []

    class EndsAll(FakeSession):
        def receive(self, side, data, now, link_id=0):
            read.append(data)
            stage.guard.abort_all()
            return Output()

    async with Stage(EndsAll, unix_in=unix_in(family, tmp_path)) as stage:
        peers = [await stage.haproxy() for _ in range(2)]
        for _ in peers:
            await stage.agent()
        await until(lambda: stage.recorder.count("link opened") == 2)
        legs = [relay.haproxy for relay in stage.guard._relays.values()]
        for leg in legs:
            leg.pause_reading(HANDED_OVER)
        for peer in peers:
            await peer.send(b"?")
        for leg in legs:
            leg.resume_reading(HANDED_OVER)
        del leg, legs
        await stage.over(2)
        await turns()
        assert read == [b"?"]
