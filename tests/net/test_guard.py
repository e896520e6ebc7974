"""All sessions of a guard: limits, accepting under pressure, and the drain."""

import asyncio
import resource
import socket
import time
from dataclasses import replace

import pytest

from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.events import EndedBy, EndReason
from spoe_guard.core.terms.output import Close, Output
from spoe_guard.net import own_limits
from spoe_guard.net.bind import ListenError
from spoe_guard.net.guard import Guard
from spoe_guard.net.listener import Listener
from tests.net.doubles import FakeSession, Recorder
from tests.net.peers import Peer, hanging_address
from tests.net.stage import DEADLINE_S, LOCALHOST, Stage, files_left, unix_in, until


async def test_people_are_told_who_connected(family, tmp_path):
    async with Stage(unix_in=unix_in(family, tmp_path)) as stage:
        haproxy, _agent = await stage.both()
        host, port = haproxy.sock.getsockname() if family == "tcp" else ("", "")
        [opened] = [entry for entry in stage.recorder.log if entry[0] == "opened"]
        assert opened == ("opened", 1, f"{host}:{port}" if family == "tcp" else "unix")


async def test_at_the_limit_the_others_are_served_and_one_more_is_closed():
    async with Stage(connections=2) as stage:
        first, _ = await stage.both()
        second = await stage.haproxy()
        second_agent = await stage.agent()
        third = await stage.haproxy()
        assert await third.rest() == b""
        assert stage.recorder.ends() == [(EndedBy.GUARD, EndReason.LIMIT)]
        assert stage.recorder.log.count(("closed", 3)) == 1
        await second.send(b"at the limit")
        assert await second_agent.read(12) == b"at the limit"
        first.fin()
        await until(lambda: stage.guard.sessions == 1)
        await stage.haproxy()
        fourth = await stage.agent()
        assert await first.rest() == b""
        await until(lambda: len(stage.sessions) == 3)
        fourth.close()


async def test_new_sessions_are_served_by_another_route_and_running_ones_keep_theirs():
    async with Stage(connections=1) as stage:
        await stage.both()
        before = stage.relay.route
        await stage.use([replace(before, connections=2, config=SessionConfig(idle_s=7.0))])
        await stage.haproxy()
        await until(lambda: len(stage.sessions) == 2)
        routes = [relay.route for relay in stage.guard._relays.values()]
        assert routes == [before, stage.guard.route("default")]
        assert routes[1].config.idle_s == 7.0
        third = await stage.haproxy()
        assert await third.rest() == b""
        assert stage.recorder.ends() == [(EndedBy.GUARD, EndReason.LIMIT)]


async def test_sessions_do_not_dial_again_in_step():
    spreads = []

    class Spread(FakeSession):
        def __init__(self, config, tally, now, route_state):
            super().__init__(config, tally, now, route_state)
            spreads.append(route_state.spread)

    async with Stage(Spread) as stage:
        for _ in range(8):
            await stage.haproxy()
        await until(lambda: len(spreads) == 8)
    assert len(set(spreads)) == 8
    assert all(0.0 <= spread <= 1.0 for spread in spreads)


async def test_a_burst_of_connections_is_served():
    """A reloading HAProxy opens everything at once."""
    async with Stage(connections=1000) as stage:
        stage._listening.listen(512)
        peers = [Peer(socket.socket()) for _ in range(200)]
        for peer in peers:
            peer.sock.setblocking(False)
            peer.sock.connect_ex((stage.address.host, stage.address.port))
        agents = [await stage.agent() for _ in peers]
        assert stage.guard.sessions == 200
        for peer in peers:
            await peer.send(b"!")
        assert [await agent.read(1) for agent in agents] == [b"!"] * 200
        for peer in peers:
            peer.close()
        await stage.over(200)


SHORT = "the guard has no file descriptor left of {} (RLIMIT_NOFILE); raise LimitNOFILE= of the unit, or ulimit -n"


async def test_without_a_file_descriptor_left_connections_wait_and_nothing_spins(monkeypatch):
    wait = Listener._wait
    async with Stage() as stage:
        peers = [Peer(socket.socket()) for _ in range(3)]
        for peer in peers:
            peer.sock.setblocking(False)
        with files_left():
            for peer in peers:
                peer.sock.connect_ex((stage.address.host, stage.address.port))
            await until(lambda: stage.guard._listeners[0]._pause is not None, "a pause in accepting")
            began, tried = time.monotonic(), []
            monkeypatch.setattr(Listener, "_wait", lambda self, seconds: (tried.append(seconds), wait(self, seconds)))
            await until(lambda: len(tried) >= 3, "three more tries")
            assert time.monotonic() - began > 0.19  # two pauses between them
            assert stage.recorder.count("opened") == 0
            told = {entry for entry in stage.recorder.log if entry[0] == "accept failed"}
            limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            assert told == {("accept failed", "default", SHORT.format(limit))}
        agents = [await stage.agent() for _ in peers]  # none was dropped
        for peer in peers:
            await peer.send(b"!")
        assert [await agent.read(1) for agent in agents] == [b"!"] * 3
        for peer in peers:
            peer.close()
        await stage.over(3)


async def test_accepting_stops_while_sessions_still_get_their_agent_links():
    async with Stage() as stage:
        stage._listening.listen(512)
        peers = [Peer(socket.socket()) for _ in range(64)]
        with files_left(len(peers)):
            for peer in peers:
                peer.sock.setblocking(False)
                peer.sock.connect_ex((stage.address.host, stage.address.port))
            await until(lambda: stage.recorder.count("accept failed") >= 3, "three tries to accept")
            accepted = stage.recorder.count("opened")
            assert 0 < accepted < len(peers)
            await until(lambda: stage.recorder.count("link opened") == accepted, "an agent link for each")
            assert own_limits.lack(own_limits.reserve()) == 0
        agents = [await stage.agent() for _ in peers]
        for peer in peers:
            await peer.send(b"!")
        assert [await agent.read(1) for agent in agents] == [b"!"] * len(peers)
        for peer in peers:
            peer.close()
        await stage.over(len(peers))


async def test_a_guard_that_cannot_accept_can_be_stopped():
    async with Stage() as stage:
        peer = Peer(socket.socket())
        peer.sock.setblocking(False)
        with files_left():
            peer.sock.connect_ex((stage.address.host, stage.address.port))
            await until(lambda: stage.guard._listeners[0]._pause is not None, "a pause in accepting")
            await stage.guard.drain()
            assert stage.guard._listeners == []
        peer.close()


async def test_drain_with_nothing_open_is_done_at_once():
    async with Stage(drained=False, config=SessionConfig(close_s=60.0, disconnect_hold_s=60.0)) as stage:
        async with asyncio.timeout(DEADLINE_S):
            await stage.guard.drain()
        with socket.socket() as late:
            assert late.connect_ex((stage.address.host, stage.address.port)) != 0


async def test_drain_ends_as_soon_as_the_last_session_did(family, tmp_path):
    class Drains(FakeSession):
        def drain(self, now):
            self.calls.append("drain")
            return Output()

    config = SessionConfig(close_s=5.0)
    async with Stage(Drains, drained=False, unix_in=unix_in(family, tmp_path), config=config) as stage:
        haproxy, agent = await stage.both()
        draining = asyncio.get_running_loop().create_task(stage.guard.drain())
        await until(lambda: "drain" in stage.session.calls)
        await agent.send(b"the last answer")
        assert await haproxy.read(15) == b"the last answer"
        haproxy.fin()
        await draining
        assert stage.recorder.ends() == [(EndedBy.HAPROXY, EndReason.CLOSED)]
        assert not (tmp_path / "guard").exists()


class Stays(FakeSession):
    """Does not end when told to."""

    def drain(self, now):
        self.calls.append("drain")
        return Output()


async def test_a_session_that_stays_is_reset_at_the_bound():
    config = SessionConfig(close_s=0.1, disconnect_hold_s=0.1)
    async with Stage(Stays, drained=False, config=config) as stage:
        haproxy, agent = await stage.both()
        began = time.monotonic()
        await stage.guard.drain()
        assert time.monotonic() - began > 0.19
        assert await haproxy.was_reset()
        assert await agent.was_reset()
        assert stage.recorder.ends() == [(EndedBy.GUARD, EndReason.DRAIN)]
        assert "release" in stage.session.calls


async def test_a_peer_that_does_not_read_cannot_hold_up_a_drain():
    class Stuffs(FakeSession):
        def drain(self, now):
            out = self.end(Close.FLUSH, EndedBy.GUARD, EndReason.DRAIN)
            out.to_agent = b"x" * 8_000_000
            return out

    async with Stage(Stuffs, drained=False, config=SessionConfig(close_s=0.1, disconnect_hold_s=0.1)) as stage:
        await stage.both()
        began = time.monotonic()
        await stage.guard.drain()
        assert time.monotonic() - began > 0.09
        assert stage.recorder.ends() == [(EndedBy.GUARD, EndReason.DRAIN)]


async def test_a_session_that_ended_is_not_reported_again_when_reset():
    class Stuffs(FakeSession):
        def drain(self, now):
            out = self.end(Close.FLUSH, EndedBy.AGENT, EndReason.DISCONNECT)
            out.to_agent = b"x" * 8_000_000
            return out

    async with Stage(Stuffs, drained=False, config=SessionConfig(close_s=60.0)) as stage:
        await stage.both()
        draining = asyncio.get_running_loop().create_task(stage.guard.drain())
        await until(stage.recorder.ends)
        stage.guard.abort_all()
        await draining
        assert stage.recorder.ends() == [(EndedBy.AGENT, EndReason.DISCONNECT)]


async def test_a_second_signal_cuts_the_drain_short():
    async with Stage(Stays, drained=False, config=SessionConfig(close_s=60.0)) as stage:
        haproxy, agent = await stage.both()
        draining = asyncio.get_running_loop().create_task(stage.guard.drain())
        await until(lambda: "drain" in stage.session.calls)
        stage.guard.abort_all()
        await draining
        assert await haproxy.was_reset()
        assert await agent.was_reset()


async def test_draining_twice_is_draining_once():
    async with Stage(drained=False) as stage:
        await stage.both()
        await asyncio.gather(stage.guard.drain(), stage.guard.drain())
        await stage.guard.drain()
        assert stage.recorder.ends() == [(EndedBy.GUARD, EndReason.DRAIN)]


async def test_a_connection_accepted_in_the_last_moment_is_drained_too():
    async with Stage(Stays, drained=False, config=SessionConfig(close_s=0.1, disconnect_hold_s=0.0)) as stage:
        haproxy = Peer(socket.create_connection((stage.address.host, stage.address.port)))
        haproxy.sock.setblocking(False)
        stage.guard._listeners[0]._accept()  # and it has not even begun
        await stage.guard.drain()
        assert "drain" in stage.session.calls
        assert await haproxy.was_reset()
        haproxy.close()


async def test_everything_can_be_aborted_before_anything_is_attached():
    async with Stage(Stays, drained=False) as stage:
        haproxy = Peer(socket.create_connection((stage.address.host, stage.address.port)))
        haproxy.sock.setblocking(False)
        stage.guard._listeners[0]._accept()
        stage.guard.abort_all()
        assert stage.guard.sessions == 0
        await stage.guard.drain()
        assert await haproxy.was_reset()
        haproxy.close()
        assert stage.session.calls == ["release"]


async def test_a_drain_gives_up_a_dial_that_hangs():
    async with hanging_address() as nowhere, Stage(agent=nowhere, drained=False) as stage:
        haproxy = await stage.haproxy()
        await until(lambda: stage.sessions and "start" in stage.session.calls)
        await stage.guard.drain()
        assert await haproxy.rest() == b""


async def test_what_is_queued_when_the_guard_stops_is_accepted_and_served_first():
    config = SessionConfig(disconnect_hold_s=0.1)
    async with Stage(drained=False, config=config) as stage:
        where = (stage.address.host, stage.address.port)
        queued = [socket.create_connection(where) for _ in range(3)]  # no turn of the loop between these and the stop
        draining = asyncio.get_running_loop().create_task(stage.guard.drain())
        for sock in queued:
            sock.sendall(b"?")
            sock.setblocking(False)
            agent = await stage.agent()
            assert await agent.read(1) == b"?"
        await draining
        assert stage.recorder.count("opened") == 3
        for sock in queued:
            assert await asyncio.get_running_loop().sock_recv(sock, 1) == b""  # FIN, no reset
            sock.close()


async def test_two_guards_share_an_address_only_if_both_say_so():
    async with Stage() as stage:
        route = replace(stage.route, listen=stage.address)
        with pytest.raises(ListenError):
            await Guard([route], stage.recorder, reuse_port=True).start()
    first = Guard([replace(route, listen=LOCALHOST)], Recorder(), reuse_port=True)
    await first.start()
    shared = replace(route, listen=first.addresses["default"])
    with pytest.raises(ListenError):
        await Guard([shared], Recorder()).start()
    second = Guard([shared], Recorder(), reuse_port=True)
    await second.start()
    await first.drain()
    await second.drain()
