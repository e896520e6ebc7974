"""The relay with core's session: real conversations on real sockets, both loops, TCP and Unix."""

from spoe_guard.address import Address
from spoe_guard.core.conversation.notifies import SETTLED_AT_ONCE
from spoe_guard.core.terms.anomalies import Anomaly
from spoe_guard.core.terms.config import SessionConfig, Unanswered
from spoe_guard.core.terms.events import (
    AgentUnreachable,
    DialFailure,
    EndedBy,
    EndReason,
    NotifiesUnanswered,
    UnansweredReason,
)
from spoe_guard.lab import frames
from spoe_guard.wire import frame
from tests.net.conversation import Guarded, ack_of, frame_of, types_until_closing, types_until_fin
from tests.net.peers import hanging_address
from tests.net.stage import unix_in, until
from tests.net.test_dial import free_port


async def test_a_healthy_conversation_passes_byte_for_byte(family, tmp_path):
    async with Guarded(unix_in=unix_in(family, tmp_path)) as stage:
        haproxy, agent = await stage.talking()
        for stream_id in (1, 3, 5):
            asked = frames.notify(stream_id, 1, b"/path")
            await haproxy.send(asked)
            assert await agent.read(len(asked)) == asked
            answer = ack_of(asked)
            await agent.send(answer)
            assert await haproxy.read(len(answer)) == answer
        its_disconnect = frames.disconnect(frame.HAPROXY_DISCONNECT)
        await haproxy.send(its_disconnect)
        assert await types_until_fin(haproxy) == [frame.AGENT_DISCONNECT]
        assert await agent.read(len(its_disconnect)) == its_disconnect
        agent.close()
        await stage.over()
        assert stage.anomalies() == []
        assert stage.recorder.ends() == [(EndedBy.HAPROXY, EndReason.DISCONNECT)]
        tally = stage.recorder.tally("default")
        assert tally.ack_count == 3
        assert 0 < tally.ack_seconds < 30.0  # seconds, and not the whole milliseconds of uvloop's clock, see below


async def test_the_time_of_an_answer_is_finer_than_a_millisecond():
    """uvloop's own clock stands still within a turn of the loop and counts milliseconds; the histogram begins at 0.5 ms."""
    async with Guarded() as stage:
        haproxy, agent = await stage.talking()
        tally = stage.recorder.tally("default")
        for count in range(1, 21):
            asked = frames.notify(2 * count - 1, 1, b"/path")
            await haproxy.send(asked)
            await agent.read(len(asked))
            await agent.send(ack_of(asked))
            await until(lambda count=count: tally.ack_count == count)
        assert tally.ack_seconds * 1000 % 1 != 0
        haproxy.reset()
        agent.reset()
        await stage.over()


async def test_noise_never_reaches_an_agent():
    async with Guarded() as stage:
        haproxy = await stage.haproxy()
        await haproxy.send(b"GET / HTTP/1.1\r\n\r\n")
        assert await haproxy.rest() == b""
        await stage.over()
        assert stage.anomalies() == [Anomaly.NOT_SPOP]
        assert stage.recorder.count("link opened") == 0


async def a_notify_without_an_agent(stage):
    """HAProxy connects and asks, and no agent is there: it gets AGENT-HELLO from the guard, and then its end."""
    haproxy = await stage.haproxy()
    await haproxy.send(frames.haproxy_hello())
    assert (await frame_of(haproxy)).type == frame.AGENT_HELLO
    await haproxy.send(frames.notify(1, 1, b"/path"))
    assert await types_until_closing(haproxy) == [frame.AGENT_DISCONNECT]
    await stage.over()
    [event] = stage.events(AgentUnreachable)
    assert stage.events(NotifiesUnanswered) == [NotifiesUnanswered(UnansweredReason.AGENT_AWAY, 1)]
    return event.reason


async def test_an_agent_that_cannot_be_reached_is_said_so():
    async with Guarded(agent=Address("127.0.0.1", free_port())) as stage:
        assert await a_notify_without_an_agent(stage) is DialFailure.REFUSED


async def test_a_dial_that_hangs_ends_after_the_connect_timeout():
    config = SessionConfig(connect_s=0.05)
    async with hanging_address() as nowhere, Guarded(agent=nowhere, config=config) as stage:
        assert await a_notify_without_an_agent(stage) is DialFailure.TIMEOUT


async def test_an_agent_that_dies_with_a_notify_open_is_spoken_for(family, tmp_path):
    async with Guarded(unix_in=unix_in(family, tmp_path)) as stage:
        haproxy, agent = await stage.talking()
        asked = frames.notify(1, 1, b"/path")
        await haproxy.send(asked)
        assert await agent.read(len(asked)) == asked
        agent.reset()
        assert await types_until_closing(haproxy) == [frame.AGENT_DISCONNECT]
        await stage.over()
        assert Anomaly.DISCONNECT_MISSING in stage.anomalies()
        assert stage.events(NotifiesUnanswered) == [NotifiesUnanswered(UnansweredReason.AGENT_GONE, 1)]
        [told] = stage.events(NotifiesUnanswered)
        assert told.agents == ((str(stage.route.agent[0]), 1),)


async def test_each_notify_of_a_lost_link_is_told_with_its_agents_address():
    """More than a step settles: the rest is settled when the link is gone."""
    count = 2 * SETTLED_AT_ONCE
    config = SessionConfig(unanswered=Unanswered.SET, error_name=b"error", give_up_s=5.0)
    async with Guarded(config=config) as stage:
        haproxy, agent = await stage.talking()
        asked = b"".join(frames.notify(number, 1, b"/path") for number in range(1, count + 1))
        await haproxy.send(asked)
        assert await agent.read(len(asked)) == asked
        agent.reset()
        for _ in range(count):
            assert (await frame_of(haproxy)).type == frame.ACK
        haproxy.reset()
        await stage.over()
        told = stage.events(NotifiesUnanswered)
        assert [event.count for event in told] == [SETTLED_AT_ONCE] * 2
        assert [event.agents for event in told] == [((str(stage.route.agent[0]), event.count),) for event in told]


async def test_a_reset_by_haproxy_is_ordinary_and_the_agent_gets_disconnect():
    async with Guarded() as stage:
        haproxy, agent = await stage.talking()
        haproxy.reset()
        assert (await frame_of(agent)).type == frame.HAPROXY_DISCONNECT
        agent.close()
        await stage.over()
        assert stage.anomalies() == []
        assert stage.recorder.ends() == [(EndedBy.HAPROXY, EndReason.RESET)]


async def test_an_answer_behind_a_disconnect_is_passed_before_it():
    async with Guarded() as stage:
        haproxy, agent = await stage.talking()
        asked = frames.notify(1, 1, b"/path")
        await haproxy.send(asked)
        await agent.read(len(asked))
        await agent.send(frames.disconnect(frame.AGENT_DISCONNECT))
        await agent.send(ack_of(asked))
        agent.close()
        assert await types_until_closing(haproxy) == [frame.ACK, frame.AGENT_DISCONNECT]
        await stage.over()
