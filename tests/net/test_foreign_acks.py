"""Async on real sockets: an ACK on one connection's link reaches the other connection, the one its NOTIFY came on."""

from spoe_guard.core.terms.anomalies import Anomaly
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.events import EndedBy, EndReason
from spoe_guard.lab import frames
from spoe_guard.wire import frame
from tests.net.conversation import Guarded, ack_of, frame_of
from tests.net.stage import until

ASYNC = frozenset(("pipelining", "async"))
ASKED = frames.notify(1, 1, b"/path")


async def two_connections(stage):
    """Return both sides of two conversations of one engine."""
    found = []
    for _ in range(2):
        haproxy = await stage.haproxy()
        await haproxy.send(frames.haproxy_hello())
        agent = await stage.agent()
        assert (await frame_of(agent)).type == frame.HAPROXY_HELLO
        await agent.send(frames.agent_hello(capabilities=b"pipelining,async"))
        assert (await frame_of(haproxy)).type == frame.AGENT_HELLO
        found += [haproxy, agent]
    await found[0].send(ASKED)
    assert await found[1].read(len(ASKED)) == ASKED
    return found


async def test_an_ack_on_another_link_leaves_on_its_notifys_connection():
    async with Guarded(config=SessionConfig(capabilities=ASYNC)) as stage:
        haproxy, agent, other_haproxy, other_agent = await two_connections(stage)
        await other_agent.send(ack_of(ASKED))
        assert await haproxy.read(len(ack_of(ASKED))) == ack_of(ASKED)
        for peer in (haproxy, other_haproxy):
            await peer.send(frames.disconnect(frame.HAPROXY_DISCONNECT))
            assert (await frame_of(peer)).type == frame.AGENT_DISCONNECT  # and no ACK in front of it
        for peer in (agent, other_agent):
            assert (await frame_of(peer)).type == frame.HAPROXY_DISCONNECT
            peer.fin()
        await stage.over(2)
        assert stage.anomalies() == [Anomaly.FOREIGN_ACK]
        assert stage.recorder.tally("default").ack_count == 1


async def test_observed_it_passes_where_it_came_and_both_books_are_right():
    async with Guarded(config=SessionConfig(capabilities=ASYNC, observe=True)) as stage:
        haproxy, agent, other_haproxy, other_agent = await two_connections(stage)
        await other_agent.send(ack_of(ASKED))
        assert await other_haproxy.read(len(ack_of(ASKED))) == ack_of(ASKED)
        assert stage.recorder.tally("default").open_notifies == 0
        for peer in (haproxy, other_haproxy, agent, other_agent):
            peer.fin()
        await stage.over(2)
        assert stage.anomalies()[:1] == [Anomaly.FOREIGN_ACK]


async def test_one_for_a_session_that_is_gone_is_lost_and_nothing_else():
    async with Guarded(config=SessionConfig(capabilities=ASYNC)) as stage:
        stage.guard.hand_over(99, ack_of(ASKED))
        await two_connections(stage)
    assert stage.recorder.ends() == [(EndedBy.GUARD, EndReason.DRAIN)] * 2


class Broken:
    """A session that takes no bytes any more."""

    def __init__(self, session):
        self._session = session

    def __getattr__(self, name):
        return getattr(self._session, name)

    receive = None


async def test_a_session_that_a_bug_broke_takes_none():
    """Spliced, it is a plain TCP proxy, and of its engine no more."""
    async with Guarded(config=SessionConfig(capabilities=ASYNC), splice_on_error=True) as stage:
        haproxy, agent, _, other_agent = await two_connections(stage)
        stage.guard._relays[1].session = Broken(stage.sessions[0])
        await haproxy.send(ASKED)
        await until(lambda: stage.recorder.errors)
        stage.guard.hand_over(1, ack_of(ASKED))
        await other_agent.send(ack_of(ASKED))
        await until(lambda: stage.anomalies() == [Anomaly.UNMATCHED_ACK])
        await agent.send(ack_of(ASKED))
        assert await haproxy.read(len(ack_of(ASKED))) == ack_of(ASKED)
        assert len(stage.recorder.errors) == 1
        stage.recorder.errors.clear()
