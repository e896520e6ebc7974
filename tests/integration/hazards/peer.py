"""A programmable agent for the rows of the hazard table: bytes at any moment, pauses, and every way to end."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from spoe_guard.lab import frames, streams
from spoe_guard.lab.agent import echo
from spoe_guard.lab.misbehaviour import End
from spoe_guard.wire import actions, frame, kv, typed_data, walk
from tests.integration.agent import OnThread


@dataclass(frozen=True)
class Largest:
    """One write: the ACK, padded to the longest frame that the agent was offered."""

    ack: frame.Frame


Step = bytes | float | End | Largest  # one write; a pause in seconds; the end of the connection
Steps = Sequence[Step]
RESET_S = 10.0


@dataclass(frozen=True)
class Peer:
    """What the agent does in place of what it should; None: it behaves.

    ``accept``: as soon as the connection is there. ``hello``: in place of AGENT-HELLO, given HAPROXY-HELLO. ``play``: in place
    of answering ``hold`` NOTIFYs of one connection, given the ACKs that are due, once; with ``every`` each time; so many that
    come over several connections are answered well. ``goodbye``: in
    place of answering HAPROXY-DISCONNECT. ``capabilities``: of its AGENT-HELLO. ``only_first``: what is wrong with ``accept``,
    ``hello`` and ``goodbye`` is so on the first connection only.
    """

    accept: Steps | None = None
    hello: Callable[[frame.Frame], Steps] | None = None
    play: Callable[[Sequence[frame.Frame]], Steps] | None = None
    goodbye: Steps | None = None
    hold: int = 1
    every: bool = False
    capabilities: bytes = b"pipelining"
    only_first: bool = False


def good_hello(offer: frame.Frame, capabilities: bytes = b"pipelining") -> bytes:
    """Return the AGENT-HELLO that takes the size that ``offer`` has, and of ``capabilities`` those that it has."""
    offered = _keys(offer)[b"capabilities"]
    assert isinstance(offered, bytes)
    common = [each for each in capabilities.split(b",") if each in offered.split(b",")]
    return frames.agent_hello(offered_size(offer), b",".join(common))


def offered_size(offer: frame.Frame) -> int:
    """Return the max-frame-size that ``offer``, a HAPROXY-HELLO, has."""
    size = _keys(offer)[b"max-frame-size"]
    assert isinstance(size, int)
    return size


def _keys(text: frame.Frame) -> dict[bytes, typed_data.Value]:
    return {pair.name: pair.value for pair in kv.parse(text.raw, text.payload_at, len(text.raw))[0]}


def padded(ack, size):
    """The ACK with a second variable, so that it takes ``size`` bytes on the wire."""
    spare = size - len(ack.raw)
    filler = max(0, spare - 16)
    while True:
        grown = frame.with_payload(ack, ack.payload + actions.set_var(walk.SCOPE_TXN, b"filler", typed_data.STR, b"x" * filler))
        if len(grown) >= size:
            assert len(grown) == size
            return grown
        filler += size - len(grown)


class HazardAgent(OnThread):
    """Plays ``peer`` once ``armed``; until then, and afterwards, it behaves. ``connections`` counts those it accepted."""

    def __init__(self, peer: Peer) -> None:
        super().__init__()
        self.peer = peer
        self.armed = False
        self.played = 0
        self.connections = 0
        self.answered = 0  # NOTIFYs on which ``every`` was played: each ends with an ACK, written whole
        self._offered = frame.DEFAULT_MAX_FRAME_SIZE
        self._held: list[tuple[frame.Frame, asyncio.StreamWriter]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def reset(self, peer: Peer) -> None:
        """Drop every connection, and play ``peer`` from now on, once ``armed``."""
        asyncio.run_coroutine_threadsafe(self._reset(peer), self._loop).result(RESET_S)

    async def _reset(self, peer: Peer) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.peer, self.armed, self.played, self.connections, self.answered = peer, False, 0, 0, 0
        self._held.clear()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accepted, streams.LOCALHOST, 0, backlog=4096)
        self.address = f"{streams.LOCALHOST}:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        await streams.stop_listening(self._server)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self._converse(reader, writer)
        except ConnectionError:
            pass  # it is over either way
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._tasks.discard(task)
            writer.close()

    def _wrong(self) -> bool:
        """Whether this connection is one to go wrong on before a NOTIFY comes."""
        return self.armed and not (self.peer.only_first and self.played)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.peer.accept is not None and self._wrong() and await self._do(writer, self.peer.accept):
            return
        while got := await streams.read_frame(reader):
            if await self._react(got, writer):
                return

    async def _react(self, got: frame.Frame, writer: asyncio.StreamWriter) -> bool:
        """Do what ``got`` asks for; whether the conversation is over."""
        if got.type == frame.HAPROXY_HELLO:
            self._offered = offered_size(got)
            steps: Steps = [good_hello(got, self.peer.capabilities)]
            if self.peer.hello is not None and self._wrong():
                steps = self.peer.hello(got)
            return await self._do(writer, steps, counts=self.peer.hello is not None and self.armed)
        if got.type == frame.HAPROXY_DISCONNECT:
            if self.peer.goodbye is not None and self._wrong():
                return await self._do(writer, self.peer.goodbye)
            writer.write(frames.disconnect(frame.AGENT_DISCONNECT))
            return True
        if got.type != frame.NOTIFY:
            return False
        if self.peer.play is None or not self.armed or (self.played and not self.peer.every):
            writer.write(frames.ack(got, echo(got)))
            return False
        self._held.append((got, writer))
        if len(self._held) < self.peer.hold:
            return False
        held, self._held = self._held, []
        if any(where is not writer for _, where in held):  # HAProxy spread them over connections: they are answered well
            for notify, where in held:
                where.write(frames.ack(notify, echo(notify)))
            return False
        due = [ack for each, _ in held if (ack := frame.parse(frames.ack(each, echo(each))))]
        self.answered += self.peer.every
        return await self._do(writer, self.peer.play(due))

    async def _do(self, writer: asyncio.StreamWriter, steps: Steps, *, counts: bool = True) -> bool:
        """Do all of them; whether one of them was the end."""
        self.played += counts
        for step in steps:
            if isinstance(step, float):
                await asyncio.sleep(step)  # the pause is what the row is about
            elif isinstance(step, bytes | Largest):
                size = frame.LENGTH_BYTES + self._offered
                writer.write(step if isinstance(step, bytes) else padded(step.ack, size))
                await writer.drain()
            else:
                if step is End.RESET:
                    streams.reset(writer)
                if step is End.LINGER:
                    await asyncio.Event().wait()  # until this agent is reset
                return True
        return False
