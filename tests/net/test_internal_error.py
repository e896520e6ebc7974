"""A bug of ours: the session ends or becomes a plain TCP proxy; the guard counts it and continues."""

import socket

import pytest

from spoe_guard.core.terms.events import EndedBy, EndReason
from tests.net.doubles import FakeSession
from tests.net.peers import Peer
from tests.net.stage import Stage, until


class PlantedError(Exception):
    pass


def breaks(where):
    """Return a session with a bug in one of its methods."""

    def method(self, *args, **kwargs):
        self.calls.append(where)
        raise PlantedError(where)

    return type("Breaks", (FakeSession,), {where: method})


async def test_a_bug_ends_the_session_and_nothing_else():
    class Breaks(FakeSession):
        def receive(self, side, data, now, link_id=0):
            if data == b"bug":
                raise PlantedError
            return super().receive(side, data, now, link_id)

    async with Stage(Breaks) as stage:
        haproxy, agent = await stage.both()
        other = await stage.haproxy()
        others_agent = await stage.agent()
        await haproxy.send(b"bug")
        assert await haproxy.was_reset()
        assert await agent.was_reset()
        await until(lambda: stage.recorder.count("closed") == 1)
        assert [type(error) for error in stage.recorder.errors] == [PlantedError]
        assert stage.recorder.ends() == [(EndedBy.GUARD, EndReason.INTERNAL_ERROR)]
        assert stage.sessions[0].calls[-1] == "release"  # out of the route's gauges
        await other.send(b"still here")
        assert await others_agent.read(10) == b"still here"


@pytest.mark.parametrize("where", ["start", "receive", "agent_connected", "closed", "tick", "drain"])
async def test_a_bug_anywhere_in_a_session_is_counted_once_and_ends_it(where):
    async with Stage(breaks(where)) as stage:
        # Connected before the loop turns: one that waits for the connection may find it reset already.
        haproxy = Peer(socket.create_connection((stage.address.host, stage.address.port)))
        haproxy.sock.setblocking(False)
        await until(lambda: stage.sessions)
        if where == "start":
            assert await haproxy.was_reset()
        else:
            agent = await stage.agent()
            await until(lambda: stage.recorder.count("link opened") == 1)
            if where == "tick":
                stage.session.deadline = 0.0
            if where in ("receive", "tick"):
                await haproxy.send(b"!")
            if where == "closed":
                haproxy.fin()
            if where == "drain":
                await stage.guard.drain()
            assert await agent.was_reset()
        await stage.over()
        haproxy.close()
        assert [str(error) for error in stage.recorder.errors] == [where]
        assert stage.recorder.ends() == [(EndedBy.GUARD, EndReason.INTERNAL_ERROR)]


async def test_a_bug_in_making_a_session_turns_the_connection_away():
    def broken(config, tally, now, route_state):
        raise PlantedError

    async with Stage(broken) as stage:
        haproxy = await stage.haproxy()
        assert await haproxy.rest() == b""
        await stage.over()
        assert len(stage.recorder.errors) == 1
        assert stage.recorder.ends() == [(EndedBy.GUARD, EndReason.INTERNAL_ERROR)]


async def test_a_bug_in_release_does_not_hide_the_first_one():
    class BreaksTwice(breaks("receive")):
        def release(self):
            raise PlantedError("release")

    async with Stage(BreaksTwice, splice_on_error=True) as stage:
        haproxy, agent = await stage.both()
        await haproxy.send(b"!")
        assert await haproxy.was_reset()
        assert await agent.was_reset()
        await stage.over()
        assert [str(error) for error in stage.recorder.errors] == ["receive", "release"]
