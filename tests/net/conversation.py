"""SPOP for the tests of net/: core's sessions in the relay, and frames read from a peer."""

from spoe_guard.core.observed import open_session
from spoe_guard.core.terms.events import (
    AnomalySeen,
)
from spoe_guard.lab import frames
from spoe_guard.wire import frame, walk
from tests.net.stage import Stage

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

    async def asked(self, notify):
        """Return both sides of a conversation in which the agent has that NOTIFY in hand."""
        haproxy, agent = await self.talking()
        await haproxy.send(notify)
        assert await agent.read(len(notify)) == notify
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
    return frame.parse(head + await peer.read(walk.length_at(head, 0))) if len(head) == 4 else None


async def types_until_fin(peer):
    found = []
    while got := await frame_of(peer):
        found.append(got.type)
    return found


async def types_until_closing(haproxy):
    """Read up to the guard's DISCONNECT, close as HAProxy then does, and see that it was the last."""
    found = []
    while got := await frame_of(haproxy):
        found.append(got.type)
        if got.type == frame.AGENT_DISCONNECT:
            haproxy.fin()
    return found


def ack_of(notify_raw):
    return frames.ack(frame.parse(notify_raw), VERDICT)
