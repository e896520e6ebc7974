"""The same promises over real sockets: the whole relay on both event loops, segmented by real writes."""

import asyncio
import contextlib
import socket
from dataclasses import replace

import pytest
import uvloop
from hypothesis import given, settings

from spoe_guard.address import Address
from spoe_guard.core.observed import open_session
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.states import SessionState
from spoe_guard.core.terms.tally import Tally
from spoe_guard.net.guard import Guard
from spoe_guard.net.route import Route
from tests.net.stage import until
from tests.properties import spop
from tests.properties.agents_view import broken_to_agent
from tests.properties.conversations import HAPROXY, Say, against_both, as_told, healthy, pieces, segmentations
from tests.properties.driver import terms_of
from tests.properties.effort import marks
from tests.properties.haproxys_view import broken_to_haproxy
from tests.properties.transcript import Did, Step

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
DEADLINE_S = 10.0
BRIEF = SessionConfig(
    connect_s=2.0, hello_s=0.1, frame_s=0.1, idle_s=0.4, close_s=0.3, disconnect_hold_s=0.05, held_bytes=65536
)  # fmt: skip

pytestmark = [*marks, pytest.mark.parametrize("loop", LOOPS)]
# An example here takes tens of milliseconds, and up to a second where a timeout has to ring.
briefly = settings(max_examples=max(20, settings.default.max_examples // 5))


class Silent:
    """An observer that only remembers what went wrong."""

    def __init__(self):
        self.tallied, self.errors, self.open = Tally(), [], 0

    def tally(self, route):
        return self.tallied

    def session_opened(self, route, session, peer):
        self.open += 1

    def wants(self, route, anomaly):
        return True

    def session_closed(self, route, session):
        self.open -= 1

    def accept_failed(self, route, why):
        pass

    def internal_error(self, route, session, error):
        self.errors.append(error)

    def seen(self, route, session, events):
        pass

    def agent_dialled(self, route, agent, reason, detail):
        pass

    def link_opened(self, route, agent):
        pass

    def link_closed(self, route, agent):
        pass


class Peer(asyncio.Protocol):
    """Keeps what it gets; closes when told to, and not before."""

    def __init__(self, changed):
        self.sent = self.got = b""
        self.transport = None
        self.ended = self.was_reset = False
        self._changed = changed

    def connection_made(self, transport):
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._changed.set()

    def data_received(self, data):
        self.got += data
        self._changed.set()

    def eof_received(self):
        self.ended = True
        self._changed.set()
        return True

    def connection_lost(self, exc):
        self.ended, self.was_reset = True, exc is not None
        self._changed.set()

    def say(self, data):
        if not self.ended:
            self.sent += data
            self.transport.write(data)


class Stage:
    """A guard between two such peers."""

    def __init__(self, config):
        self.config = config
        self.observer = Silent()
        self.sessions = []

    async def __aenter__(self):
        self.loop = asyncio.get_running_loop()
        self.complaints = []
        self.loop.set_exception_handler(lambda _, context: self.complaints.append(context))
        self._changed = asyncio.Event()
        self.haproxy, self.agent = Peer(self._changed), Peer(self._changed)
        self._listening = await self.loop.create_server(lambda: self.agent, "127.0.0.1", 0)
        agent = Address(*self._listening.sockets[0].getsockname())
        route = Route("default", Address("127.0.0.1", 0), (agent,), config=self.config)
        self.guard = Guard([route], self.observer, self._new)
        await self.guard.start()
        address = self.guard.addresses["default"]
        await self.loop.create_connection(lambda: self.haproxy, address.host, address.port)
        return self

    def _new(self, config, tally, now, route_state):
        self.sessions.append(open_session(config, tally, now, route_state))
        return self.sessions[-1]

    async def until(self, condition):
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def say(self, move, sizes):
        peer = self.haproxy if move.side == HAPROXY else self.agent
        await self.until(lambda: peer.transport is not None or self.haproxy.ended)
        if peer.transport is not None:
            for piece in pieces(move.data, sizes):
                peer.say(piece)
                await asyncio.sleep(0)

    def leave(self):
        """Both peers close: the agent says so, HAProxy follows."""
        for peer in (self.agent, self.haproxy):
            if peer.transport is not None:
                peer.transport.close()

    async def __aexit__(self, kind, *_):
        self.leave()
        self._listening.close()
        await self.guard.drain(0.0 if kind else None)
        if kind is None:
            assert self.complaints == []
            assert self.observer.errors == []
            assert self.observer.open == self.guard.sessions == 0
            assert (self.observer.tallied.held_bytes, self.observer.tallied.open_notifies) == (0, 0)


def spoken(moves):
    """Real time passes by itself here, and who leaves when is part of the test."""
    return [move for move in moves if isinstance(move, Say)]


def play(loop, main):
    with contextlib.closing(main), asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main)


@briefly
@given(healthy(), segmentations)
def test_a_healthy_conversation_passes_byte_for_byte_over_sockets(loop, moves, sizes):
    async def main():
        async with Stage(SessionConfig()) as stage:
            for move in spoken(moves):
                await stage.say(move, sizes)
                await stage.until(lambda: len(stage.agent.got) >= len(stage.haproxy.sent))
                await stage.until(lambda: not stage.agent.sent or len(stage.haproxy.got) >= len(as_told(stage.agent.sent)))
            assert stage.haproxy.got == as_told(stage.agent.sent)
            expected = spop.haproxy_hello(16368) + stage.haproxy.sent[len(spop.haproxy_hello()) :]
            assert stage.agent.got[: len(expected)] == expected
            last_word = stage.agent.got[len(stage.haproxy.sent) :]
            if last_word:  # the agent had sent DISCONNECT
                assert spop.read_frame(last_word).type == spop.HAPROXY_DISCONNECT

    play(loop, main())


@briefly
@given(against_both, segmentations)
def test_whatever_comes_over_sockets_every_byte_is_accounted_for_and_well_formed(loop, moves, sizes):
    async def main():
        async with Stage(BRIEF) as stage:
            haproxy, agent = stage.haproxy, stage.agent
            for move in spoken(moves):
                await stage.say(move, sizes)
            # Nobody does anything more: the guard's timeouts end the session, and each peer gets its FIN behind the last byte.
            await stage.until(lambda: haproxy.ended)
            await stage.until(lambda: agent.ended or agent.transport is None)
            [session] = stage.sessions
            # FIN comes with AGENT-DISCONNECT, and the end when the agent's side is done, too.
            await until(lambda: session.state is SessionState.CLOSED, "the end of the session")
            stands = session.snapshot()
            for came, books, went in ((haproxy, stands.to_agent, agent), (agent, stands.to_haproxy, haproxy)):
                written = books.forwarded + books.authored
                assert len(went.got) == written or (went.was_reset and len(went.got) < written)
                assert books.forwarded + books.dropped <= len(came.sent)  # behind a close nothing is read
            assert session.held == 0
            # The kernel discards what it still holds for a peer it resets.
            met = (
                agent.transport is not None and not agent.was_reset
            )  # the kernel discards what it still holds for a peer it resets
            transcript = [Step(0.0, Did.HAPROXY_SAID, haproxy.sent)]
            transcript += [Step(0.0, Did.AGENT_GOT, agent.got)] if met else []
            transcript.append(Step(0.0, Did.AGENT_SAID, agent.sent))
            transcript += [Step(0.0, Did.HAPROXY_GOT, haproxy.got)] if not haproxy.was_reset else []
            transcript += [Step(0.0, Did.AGENT_CLOSED)] if met else []
            transcript = [step for step in transcript if step.data or step.did is Did.AGENT_CLOSED]
            terms = terms_of(stage.config)
            assert broken_to_haproxy(transcript, terms) + broken_to_agent(transcript, terms) == []

    play(loop, main())


@briefly
@given(against_both, segmentations)
def test_observing_changes_no_byte_over_sockets(loop, moves, sizes):
    async def main():
        async with Stage(replace(BRIEF, observe=True)) as stage:
            haproxy, agent = stage.haproxy, stage.agent
            for move in spoken(moves):
                await stage.say(move, sizes)
            await stage.until(lambda: agent.transport is not None)
            for ending, other in ((agent, haproxy), (haproxy, agent)):
                ending.transport.write_eof()
                await stage.until(lambda other=other: other.ended)
            assert (haproxy.got, agent.got) == (agent.sent, haproxy.sent)

    play(loop, main())
