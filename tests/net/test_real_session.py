"""The relay with core's session in it: what real conversations look like on real sockets, both loops, TCP and Unix."""

import time

import pytest

from spoe_guard.core.address import Address
from spoe_guard.core.anomalies import Anomaly
from spoe_guard.core.config import SessionConfig
from spoe_guard.core.events import (
    AgentUnreachable,
    AnomalySeen,
    DialFailure,
    EndedBy,
    EndReason,
    NotifiesUnanswered,
    UnansweredReason,
)
from spoe_guard.core.observing import open_session
from spoe_guard.core.session import Session
from spoe_guard.lab import frames
from spoe_guard.wire import frame
from tests.net.stage import Stage, hanging_address, unix_in, until
from tests.net.test_dial import free_port

VERDICT = frames.text_verdict(b"verdict", b"allow")


class Guarded(Stage):
    """The stage with real sessions."""

    def __init__(self, **route):
        super().__init__(open_session, **route)

    async def talking(self):
        """Return both sides of a conversation behind its handshake."""
        haproxy = await self.haproxy()
        await haproxy.send(frames.haproxy_hello(frames.Family.MUX))
        agent = await self.agent()
        assert (await frame_of(agent)).type == frame.HAPROXY_HELLO
        await agent.send(frames.agent_hello())
        assert (await frame_of(haproxy)).type == frame.AGENT_HELLO
        return haproxy, agent

    def check_books(self):
        super().check_books()
        assert self.recorder.errors == []
        tally = self.recorder.tally("default")
        assert (tally.open_notifies, tally.held_bytes) == (0, 0)

    def events(self, kind):
        return [entry[2] for entry in self.recorder.log if entry[0] == "seen" and isinstance(entry[2], kind)]

    def anomalies(self):
        return [event.anomaly for event in self.events(AnomalySeen)]


async def frame_of(peer):
    head = await peer.read(4)
    return frame.parse(head + await peer.read(frame.length_at(head, 0))) if len(head) == 4 else None


async def types_until_fin(peer):
    found = []
    while got := await frame_of(peer):
        found.append(got.type)
    return found


async def types_until_closing(haproxy):
    """Read up to the guard's last word, close as HAProxy then does, and see that it was the last."""
    found = []
    while got := await frame_of(haproxy):
        found.append(got.type)
        if got.type == frame.AGENT_DISCONNECT:
            haproxy.fin()
    return found


def ack_of(notify_raw):
    return frames.ack(frame.parse(notify_raw), VERDICT)


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
        goodbye = frames.disconnect(frame.HAPROXY_DISCONNECT)
        await haproxy.send(goodbye)
        assert await types_until_fin(haproxy) == [frame.AGENT_DISCONNECT]
        assert await agent.read(len(goodbye)) == goodbye
        agent.close()
        await stage.over()
        assert stage.anomalies() == []
        assert stage.recorder.ends() == [(EndedBy.HAPROXY, EndReason.DISCONNECT)]
        tally = stage.recorder.tally("default")
        assert tally.ack_count == 3
        assert 0 < tally.ack_seconds < 3.0  # and not the whole milliseconds of uvloop's clock, see below


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


async def test_an_agent_that_cannot_be_reached_is_said_so():
    async with Guarded(agent=Address("127.0.0.1", free_port())) as stage:
        haproxy = await stage.haproxy()
        await haproxy.send(frames.haproxy_hello())
        assert await types_until_closing(haproxy) == [frame.AGENT_DISCONNECT]
        await stage.over()
        [event] = stage.events(AgentUnreachable)
        assert event.reason is DialFailure.REFUSED


async def test_a_dial_that_hangs_ends_after_the_connect_timeout():
    config = SessionConfig(connect_s=0.05)
    async with hanging_address() as nowhere, Guarded(agent=nowhere, config=config) as stage:
        haproxy = await stage.haproxy()
        await haproxy.send(frames.haproxy_hello())
        assert await types_until_closing(haproxy) == [frame.AGENT_DISCONNECT]
        await stage.over()
        [event] = stage.events(AgentUnreachable)
        assert event.reason is DialFailure.TIMEOUT


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


async def test_a_haproxy_that_resets_is_ordinary_and_the_agent_is_told_goodbye():
    async with Guarded() as stage:
        haproxy, agent = await stage.talking()
        haproxy.reset()
        assert (await frame_of(agent)).type == frame.HAPROXY_DISCONNECT
        agent.close()
        await stage.over()
        assert stage.anomalies() == []
        assert stage.recorder.ends() == [(EndedBy.HAPROXY, EndReason.RESET)]


async def test_the_answer_behind_a_goodbye_comes_before_it():
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


async def test_an_agent_that_never_closes_is_left_within_close_s(family, tmp_path):
    config = SessionConfig(close_s=0.2)
    async with Guarded(unix_in=unix_in(family, tmp_path), config=config) as stage:
        haproxy, agent = await stage.talking()
        began = time.monotonic()
        await haproxy.send(frames.disconnect(frame.HAPROXY_DISCONNECT))
        assert await types_until_fin(haproxy) == [frame.AGENT_DISCONNECT]
        assert await types_until_fin(agent) == [frame.HAPROXY_DISCONNECT]  # and FIN, although it does not close
        await stage.over()
        assert 0.19 < time.monotonic() - began < 3.0


async def test_drain_lets_open_notifies_be_answered(family, tmp_path):
    async with Guarded(unix_in=unix_in(family, tmp_path), drained=False) as stage:
        haproxy, agent = await stage.talking()
        asked = frames.notify(1, 1, b"/path")
        await haproxy.send(asked)
        await agent.read(len(asked))
        draining = haproxy.loop.create_task(stage.guard.drain())
        await until(lambda: not stage.guard._listeners)
        await agent.send(ack_of(asked))
        assert await types_until_closing(haproxy) == [frame.ACK, frame.AGENT_DISCONNECT]
        assert (await frame_of(agent)).type == frame.HAPROXY_DISCONNECT
        agent.close()
        await draining
        assert stage.recorder.ends() == [(EndedBy.GUARD, EndReason.DRAIN)]


async def test_drain_is_bounded_whatever_both_sides_do():
    config = SessionConfig(close_s=0.2, disconnect_hold_s=0.2)
    async with Guarded(drained=False, config=config) as stage:
        haproxy, agent = await stage.talking()
        await haproxy.send(frames.notify(1, 1, b"/path"))
        await frame_of(agent)
        began = time.monotonic()
        await stage.guard.drain()
        assert 0.3 < time.monotonic() - began < 3.0
        assert (await frame_of(haproxy)).type == frame.AGENT_DISCONNECT
        assert (await frame_of(agent)).type == frame.HAPROXY_DISCONNECT


async def test_an_idle_session_ends():
    async with Guarded(config=SessionConfig(idle_s=0.1)) as stage:
        haproxy, agent = await stage.talking()
        assert await types_until_closing(haproxy) == [frame.AGENT_DISCONNECT]
        assert (await frame_of(agent)).type == frame.HAPROXY_DISCONNECT
        agent.close()
        await stage.over()
        assert stage.recorder.ends() == [(EndedBy.GUARD, EndReason.IDLE_TIMEOUT)]


async def test_observing_changes_no_byte(family, tmp_path):
    nonsense = frames.notify(1, 1, b"/path") + b"\0\0\0\0" + b"GET / HTTP/1.1\r\n\r\n"
    async with Guarded(unix_in=unix_in(family, tmp_path), config=SessionConfig(observe=True)) as stage:
        haproxy = await stage.haproxy()
        await haproxy.send(nonsense)
        agent = await stage.agent()
        assert await agent.read(len(nonsense)) == nonsense
        await agent.send(nonsense[::-1])
        assert await haproxy.read(len(nonsense)) == nonsense[::-1]
        haproxy.fin()
        assert await agent.rest() == b""
        await agent.send(b"after its fin")
        agent.close()
        assert await haproxy.rest() == b"after its fin"
        await stage.over()
        assert stage.anomalies()
        assert not any(event.applied for event in stage.events(AnomalySeen))


async def test_observing_passes_a_reset_on():
    async with Guarded(config=SessionConfig(observe=True)) as stage:
        haproxy, agent = await stage.both()
        agent.reset()
        assert await haproxy.was_reset()
        await stage.over()


@pytest.mark.parametrize("splice", [False, True], ids=["close", "splice"])
async def test_a_bug_in_the_session(splice, monkeypatch):
    """Only between two reads: what a read held when it met the bug is lost, see Session.release."""

    class Checked(Guarded):
        def check_books(self):
            assert [str(error) for error in self.recorder.errors] == ["planted"]
            self.recorder.errors.clear()
            super().check_books()

    async with Checked(splice_on_error=splice) as stage:
        haproxy, agent = await stage.talking()
        asked = frames.notify(1, 1, b"/path")
        await haproxy.send(asked[:20])
        await until(lambda: stage.session.held == 20)

        def planted(*_):
            raise RuntimeError("planted")

        monkeypatch.setattr(Session, "tick", planted)
        stage.session.deadline = 0.0
        stage.relay._arm()
        if splice:
            assert await agent.read(20) == asked[:20]
            await haproxy.send(asked[20:])
            assert await agent.read(len(asked) - 20) == asked[20:]
            haproxy.reset()
        else:
            assert await haproxy.was_reset()
            assert await agent.was_reset()
        await stage.over()
