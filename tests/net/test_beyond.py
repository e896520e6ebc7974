"""Connections beyond ``limits.connections``: held for a while, given the next place, and never more than a bound of them."""

import asyncio
import resource
import time
from dataclasses import replace

import pytest

from spoe_guard.core.conversation import refusal
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.events import EndedBy, EndReason
from spoe_guard.lab import frames
from spoe_guard.net import guard as guards
from spoe_guard.net import own_limits
from spoe_guard.wire import frame
from tests.builds import puts_in_place
from tests.net.conversation import Guarded, frame_of
from tests.net.stage import Stage, files_left, unix_in, until

LIMIT = (EndedBy.GUARD, EndReason.LIMIT)
APPLET = frames.haproxy_hello(frames.Family.APPLET)
MUX = frames.haproxy_hello(frames.Family.MUX)


async def held_s(peer, said=b""):
    """Return for how long ``peer``, which says that, is held before it is closed."""
    began = time.monotonic()
    if said:
        await peer.send(said)
    assert await peer.rest() == b""
    return time.monotonic() - began


async def test_one_connection_past_the_limit_is_held_before_it_is_closed(family, tmp_path):
    async with Stage(connections=1, unix_in=unix_in(family, tmp_path)) as stage:
        await stage.both()
        assert await held_s(await stage.haproxy()) > 0.24
        assert stage.recorder.ends() == [LIMIT]
        assert stage.recorder.log.count(("closed", 2)) == 1


async def test_a_haproxy_that_would_reconnect_at_once_is_held_longer_each_time():
    async with Stage(connections=1) as stage:
        await stage.both()
        for least in (0.24, 0.49, 0.99):
            assert await held_s(await stage.haproxy(), APPLET) > least
        assert await held_s(await stage.haproxy(), MUX) < 0.9


async def test_who_hangs_up_beyond_the_limit_is_gone_at_once():
    async with Stage(connections=1) as stage:
        await stage.both()
        for end in ("fin", "reset"):
            peer = await stage.haproxy()
            await until(lambda: len(stage.guard._beyond["default"]._waiting) == 1)
            began = time.monotonic()
            getattr(peer, end)()
            await until(lambda: not stage.guard._beyond["default"]._waiting)
            assert time.monotonic() - began < 0.2
        assert stage.recorder.ends() == [LIMIT] * 2


async def test_who_says_too_much_beyond_the_limit_is_closed_at_once():
    async with Stage(connections=1) as stage:
        await stage.both()
        assert await held_s(await stage.haproxy(), APPLET.ljust(refusal.MOST_HEARD, b"!")) > 0.24
        peer = await stage.haproxy()
        await peer.send(bytes(refusal.MOST_HEARD))
        began = time.monotonic()
        await peer.send(b"!")
        assert await peer.rest() == b""
        assert time.monotonic() - began < 0.2


async def test_the_next_place_goes_to_the_one_that_has_waited_for_longest(family, tmp_path):
    """Whatever it said while it waited is not lost."""
    async with Guarded(connections=1, unix_in=unix_in(family, tmp_path)) as stage:
        first, first_agent = await stage.talking()
        second = await stage.haproxy()
        await second.send(APPLET)
        third = await stage.haproxy()
        await until(lambda: len(stage.guard._beyond["default"]._waiting) == 2)
        first.fin()
        first_agent.fin()
        agent = await stage.agent()
        assert (await frame_of(agent)).type == frame.HAPROXY_HELLO
        await agent.send(frames.agent_hello())
        assert (await frame_of(second)).type == frame.AGENT_HELLO
        assert await third.rest() == b""
        assert LIMIT in stage.recorder.ends()


async def test_a_higher_limit_serves_those_that_wait():
    async with Stage(connections=1) as stage:
        await stage.both()
        await stage.haproxy()
        await until(lambda: len(stage.guard._beyond["default"]._waiting) == 1)
        await stage.use([replace(stage.route, connections=2)])
        await until(lambda: len(stage.sessions) == 2)
        assert not stage.guard._beyond["default"]._waiting


async def test_those_that_are_turned_away_take_no_place_from_haproxy():
    async with Guarded(connections=1) as stage:
        for _ in range(3):
            noise = await stage.haproxy()
            await noise.send(b"\x16\x03\x01")
        await until(lambda: len(stage.anomalies()) == 3)
        await stage.talking()


@puts_in_place
async def test_one_more_than_may_be_held_is_closed_at_once(monkeypatch):
    monkeypatch.setattr(guards, "MOST_HELD", 2)
    async with Stage(connections=1) as stage:
        await stage.both()
        held = [await stage.haproxy() for _ in range(2)]
        await until(lambda: len(stage.guard._beyond["default"]._waiting) == 2)
        assert await held_s(await stage.haproxy()) < 0.2
        assert stage.recorder.ends() == [LIMIT]
        assert [await peer.rest() for peer in held] == [b"", b""]


@puts_in_place
async def test_one_stranger_more_than_may_be_held_takes_a_place(monkeypatch):
    monkeypatch.setattr(guards, "MOST_HELD", 2)
    for bound in ("SHORTEST_S", "BLIND_S"):  # nobody is refused before the place is given
        monkeypatch.setattr(refusal, bound, 20.0)
    async with Guarded(connections=1, config=SessionConfig(close_s=2.0)) as stage:
        strangers = [await stage.haproxy() for _ in range(3)]
        for noise in strangers:
            await noise.send(b"\x16\x03\x01")
        await until(lambda: len(stage.anomalies()) == 3)
        waiting = await stage.haproxy()
        await until(lambda: len(stage.guard._beyond["default"]._waiting) == 1)
        await waiting.send(MUX)
        strangers[0].close()
        agent = await stage.agent()
        assert (await frame_of(agent)).type == frame.HAPROXY_HELLO


async def test_under_a_low_limit_of_descriptors_fewer_are_held():
    assert own_limits.affordable(256) == 256
    with files_left(0):
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert own_limits.affordable(2 * limit) == limit // 8


async def test_a_guard_that_stops_holds_nobody():
    async with Stage(connections=1, drained=False) as stage:
        haproxy, agent = await stage.both()
        peer = await stage.haproxy()
        await until(lambda: len(stage.guard._beyond["default"]._waiting) == 1)
        draining = asyncio.get_running_loop().create_task(stage.guard.drain())
        assert await held_s(peer) < 0.2
        haproxy.close()
        agent.close()
        await draining


@pytest.mark.parametrize("said", [b"", APPLET])
async def test_a_session_that_cannot_begin_is_closed(said):
    """A bug of ours in the making of a session costs that session only, also of one that had waited."""

    class Once:
        def __call__(self, *_):
            raise RuntimeError("planted")

    async with Stage(connections=1) as stage:
        first, _ = await stage.both()
        peer = await stage.haproxy()
        await until(lambda: len(stage.guard._beyond["default"]._waiting) == 1)
        if said:
            await peer.send(said)
        stage._make = Once()
        first.fin()
        assert await peer.rest() == b""
        assert [str(error) for error in stage.recorder.errors] == ["planted"]
        assert (EndedBy.GUARD, EndReason.INTERNAL_ERROR) in stage.recorder.ends()
