"""A session with several agent links: each is dialled, written, paused, closed and lost independently."""

import asyncio

import pytest

from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.events import DialFailure, EndedBy, EndReason
from spoe_guard.core.terms.output import Close, LinkOutput, Output
from spoe_guard.net.leg import DIALLING, HIGH_WATER
from tests.net.doubles import FakeSession
from tests.net.peers import hanging_address
from tests.net.stage import Stage, unix_in, until

BLOCK = bytes(256) * 1024
WORD = b"x" * 8_000_000  # more than the kernel takes at once


class Links(FakeSession):
    """Does as HAProxy says in one byte and a number: d dial, w write, f flush and close, a abort. ``calls``: what it heard."""

    def start(self, now):
        out = Output()
        out.dial = True
        return out

    def receive(self, side, data, now, link_id=0):
        out = Output()
        if side is Side.AGENT:
            out.to_haproxy = b"%d" % link_id + data
            return out
        orders = [data[at : at + 2] for at in range(0, len(data), 2)]
        out.link_id = int(orders[0][1:])
        _obey(out, orders[0])
        out.more = [_obey(LinkOutput(int(order[1:])), order) for order in orders[1:]]
        return out

    def agent_connected(self, now, link_id=0):
        self.calls.append(("up", link_id))
        return Output()

    def agent_failed(self, reason, detail, now, link_id=0):
        self.calls.append(("failed", link_id, reason))
        return Output()

    def closed(self, side, now, *, reset, link_id=0):
        self.calls.append(("closed", side, link_id, reset))
        return super().closed(side, now, reset=reset) if side is Side.HAPROXY else Output()

    def end(self, how, by, reason):
        out = super().end(how, by, reason)
        out.more = [LinkOutput(number) for number in range(1, 5)]
        for order in out.more:
            order.close_agent = how
        return out


def _obey(order, sent):
    match sent[:1]:
        case b"d":
            order.dial = True
        case b"w":
            order.to_agent = sent
        case b"s":
            order.to_agent = WORD
        case b"f":
            order.close_agent = Close.FLUSH
        case b"a":
            order.close_agent = Close.ABORT
    return order


async def linked(stage, links):
    """Return HAProxy and so many agents, by the number of their links."""
    haproxy, first = await stage.both()
    agents = [first]
    for number in range(1, links):
        await haproxy.send(b"d%d" % number)
        agents.append(await stage.agent())
        await until(lambda up=number: ("up", up) in stage.session.calls)
    return haproxy, agents


async def test_each_link_is_written_to_and_heard_by_its_number(family, tmp_path):
    async with Stage(Links, unix_in=unix_in(family, tmp_path)) as stage:
        haproxy, agents = await linked(stage, 3)
        for number in (2, 0, 1):
            await haproxy.send(b"w%d" % number)
            assert await agents[number].read(2) == b"w%d" % number
            await agents[number].send(b"!")
            assert await haproxy.read(2) == b"%d!" % number


async def test_one_step_writes_to_several_links_dials_and_closes():
    async with Stage(Links) as stage:
        haproxy, agents = await linked(stage, 3)
        await haproxy.send(b"w2w0f1d3")
        assert await agents[2].read(2) == b"w2"
        assert await agents[0].read(2) == b"w0"
        assert await agents[1].rest() == b""
        await stage.agent()
        await until(lambda: ("up", 3) in stage.session.calls)
        assert sorted(stage.relay._links) == [0, 2, 3]


async def test_a_lost_link_is_told_by_its_number_once_and_forgotten():
    async with Stage(Links) as stage:
        haproxy, agents = await linked(stage, 2)
        agents[0].reset()
        await until(lambda: ("closed", Side.AGENT, 0, True) in stage.session.calls)
        await until(lambda: list(stage.relay._links) == [1])
        await haproxy.send(b"w0w1f0")  # nothing comes of what is for a link that is gone
        assert await agents[1].read(2) == b"w1"
        assert [call for call in stage.session.calls if call[0] == "closed"] == [("closed", Side.AGENT, 0, True)]


async def test_a_fin_is_reported_by_link_number_and_keeps_the_link_open():
    async with Stage(Links) as stage:
        haproxy, agents = await linked(stage, 2)
        agents[1].fin()
        await until(lambda: ("closed", Side.AGENT, 1, False) in stage.session.calls)
        await haproxy.send(b"w1")
        assert await agents[1].read(2) == b"w1"
        await haproxy.send(b"f1")
        assert await agents[1].rest() == b""
        await until(lambda: list(stage.relay._links) == [0])
        assert [call for call in stage.session.calls if call[0] == "closed"] == [("closed", Side.AGENT, 1, False)]


async def test_haproxys_connection_outlives_all_its_links():
    async with Stage(Links) as stage:
        haproxy, agents = await linked(stage, 2)
        for agent in agents:
            agent.reset()
        await until(lambda: stage.recorder.count("link closed") == 2)
        assert stage.guard.sessions == 1
        await haproxy.send(b"d2")
        agent = await stage.agent()
        await until(lambda: ("up", 2) in stage.session.calls)
        await haproxy.send(b"w2")
        assert await agent.read(2) == b"w2"


async def test_a_failed_dial_is_told_by_its_number():
    async with Stage(Links) as stage:
        haproxy, _ = await linked(stage, 1)
        stage._listening.close()
        await haproxy.send(b"d1")
        await until(lambda: ("failed", 1, DialFailure.REFUSED) in stage.session.calls)
        assert list(stage.relay._links) == [0]


async def _with_a_hanging_dial(stage, nowhere):
    haproxy, agents = await linked(stage, 1)
    object.__setattr__(stage.route, "agent", (nowhere,))
    await haproxy.send(b"d1")
    await until(lambda: 1 in stage.relay._links)
    return haproxy, agents[0]


@pytest.mark.parametrize("how", [b"a1", b"f1"])
async def test_a_later_dial_holds_nobody_and_is_forgotten_when_given_up(how):
    async with hanging_address() as nowhere, Stage(Links) as stage:
        haproxy, agent = await _with_a_hanging_dial(stage, nowhere)
        assert not stage.relay.haproxy._paused
        await haproxy.send(b"w0")
        assert await agent.read(2) == b"w0"
        await haproxy.send(how)
        await until(lambda: list(stage.relay._links) == [0])


async def test_a_dial_under_way_keeps_the_relay_until_it_is_given_up():
    async with hanging_address() as nowhere, Stage(Links) as stage:
        haproxy, agent = await _with_a_hanging_dial(stage, nowhere)
        agent.reset()
        await until(lambda: list(stage.relay._links) == [1])
        haproxy.fin()  # and the session's end gives up every dial
        assert await haproxy.rest() == b""
        await stage.over()
        assert stage.recorder.count("closed") == 1


async def test_only_the_first_dial_holds_haproxy():
    async with hanging_address() as nowhere, Stage(Links, agent=nowhere) as stage:
        await stage.haproxy()
        await until(lambda: stage.guard.sessions == 1 and stage.relay.haproxy._paused == DIALLING)
        stage.guard.abort_all()
        await stage.over()


async def test_haproxy_is_not_read_until_every_link_has_room_again():
    async with Stage(Links) as stage:
        haproxy, agents = await linked(stage, 3)
        await haproxy.send(b"s1s2")
        await until(lambda: stage.relay._links[1].leg.full and stage.relay._links[2].leg.full)
        assert stage.relay.haproxy._paused
        assert await agents[1].read(len(WORD)) == WORD
        await until(lambda: not stage.relay._links[1].leg.full)
        assert stage.relay.haproxy._paused
        await agents[0].send(b"!")  # the others are read meanwhile
        assert await haproxy.read(2) == b"0!"
        assert await agents[2].read(len(WORD)) == WORD
        await until(lambda: not stage.relay.haproxy._paused)


@pytest.mark.parametrize("how", ["closed by the guard", "lost"])
async def test_a_full_link_that_goes_holds_haproxy_no_longer(how):
    async with Stage(Links, config=SessionConfig(close_s=60.0)) as stage:
        haproxy, agents = await linked(stage, 2)
        await haproxy.send(b"s1f1" if how == "closed by the guard" else b"s1")
        await until(lambda: stage.relay._links[1].leg.full)
        if how == "lost":
            assert stage.relay.haproxy._paused
            agents[1].reset()
        await until(lambda: not stage.relay.haproxy._paused)
        await haproxy.send(b"w0")
        assert await agents[0].read(2) == b"w0"
        stage.guard.abort_all()
        await stage.over()


async def test_a_haproxy_that_does_not_read_stops_every_link_new_ones_too():
    class Floods(Links):
        def receive(self, side, data, now, link_id=0):
            out = super().receive(side, data, now, link_id)
            if data == b"d3":
                out.to_haproxy = WORD
            return out

    async with Stage(Floods) as stage:
        haproxy, agents = await linked(stage, 3)
        await haproxy.send(b"d3")
        agents.append(await stage.agent())
        await until(lambda: ("up", 3) in stage.session.calls and stage.relay.haproxy.full)
        for agent in agents:
            await until(lambda peer=agent: peer.send_now(BLOCK) == 0, "a guard that does not read")
        assert stage.relay.haproxy.unsent <= len(WORD) + len(agents) * 4 * HIGH_WATER + len(agents)
        reading = asyncio.get_running_loop().create_task(haproxy.read(len(WORD)))
        assert await reading == WORD
        stage.guard.abort_all()
        await stage.over()


class Breaks(Links):
    def receive(self, side, data, now, link_id=0):
        if data == b"#":
            raise RuntimeError("a bug")
        return super().receive(side, data, now, link_id)


async def test_a_session_with_one_link_left_is_spliced_to_that_one():
    async with Stage(Breaks, splice_on_error=True) as stage:
        haproxy, agents = await linked(stage, 2)
        agents[0].reset()
        await until(lambda: list(stage.relay._links) == [1])
        await haproxy.send(b"#")
        await until(lambda: stage.recorder.errors != [])
        await haproxy.send(b"on")
        assert await agents[1].read(2) == b"on"
        await agents[1].send(b"back")
        assert await haproxy.read(4) == b"back"
        haproxy.fin()
        assert await agents[1].rest() == b""
        agents[1].fin()
        await stage.over()


@pytest.mark.parametrize("links", [0, 2])
async def test_a_session_with_no_link_or_several_is_not_spliced(links):
    async with Stage(Breaks, splice_on_error=True) as stage:
        haproxy, agents = await linked(stage, max(links, 1))
        if not links:
            agents[0].reset()
            await until(lambda: not stage.relay._links)
        await haproxy.send(b"#")
        assert await haproxy.was_reset()
        await stage.over()
        assert stage.recorder.ends() == [(EndedBy.GUARD, EndReason.INTERNAL_ERROR)]
