"""A scripted agent: it behaves, and misbehaves once on the n-th NOTIFY."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from spoe_guard.lab import frames, streams
from spoe_guard.lab.misbehaviour import End, Misbehaviour
from spoe_guard.wire import frame, kv


def echo(notify: frame.Frame) -> bytes:
    """Answer with the NOTIFY's own first argument in the variable ``verdict``, so that a mixed-up answer is recognizable."""
    return frames.text_verdict(b"verdict", frames.first_argument(notify))


@dataclass(frozen=True, slots=True)
class Script:
    """What an agent does.

    NOTIFYs are counted over all connections, from 1. At the ``on_notify``-th the agent collects NOTIFYs of that connection
    until ``hold`` of them are open, commits ``misbehaviour``, and behaves from then on; None: it always behaves.
    To behave is to send ``hello`` (None: its own AGENT-HELLO, with the offered size), to answer each NOTIFY after ``delay_s``
    seconds with the action list that ``answer`` returns, and to answer DISCONNECT with DISCONNECT and a close.
    """

    misbehaviour: Misbehaviour | None = None
    on_notify: int = 1
    hold: int = 1
    answer: Callable[[frame.Frame], bytes] = echo
    hello: bytes | None = None
    delay_s: float = 0.0


class ScriptedAgent:
    """An agent on TCP or a Unix socket that follows a script. It accepts whatever it receives.

    ``received`` holds every frame of every connection, in order; ``answered`` the NOTIFYs whose ACK it has written completely.
    ``on_answered`` is called with each of those, after the write.
    """

    def __init__(self, script: Script | None = None, on_answered: Callable[[frame.Frame], None] | None = None) -> None:
        self.script = script or Script()
        self.received: list[list[frame.Frame]] = []
        self.answered: list[frame.Frame] = []
        self.notifies = 0
        self.played = False
        self._on_answered = on_answered
        self._servers: list[asyncio.Server] = []
        self._links: set[_Link] = set()

    async def listen_tcp(self, host: str = streams.LOCALHOST, port: int = 0) -> int:
        """Listen on ``host`` and return the port; 0 lets the kernel choose."""
        server = await asyncio.start_server(self._accepted, host, port)
        self._servers.append(server)
        bound: int = server.sockets[0].getsockname()[1]
        return bound

    async def listen_unix(self, path: str) -> None:
        """Listen on a Unix socket."""
        self._servers.append(await asyncio.start_unix_server(self._accepted, path))

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        for server in self._servers:
            await streams.stop_listening(server)
        links = list(self._links)
        for link in links:
            link.abort()
        for link in links:
            await link.ended.wait()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(self, reader, writer)
        self._links.add(link)
        try:
            await link.converse()
        finally:
            self._links.discard(link)
            link.ended.set()

    def its_turn(self) -> bool:
        """Count a NOTIFY; return whether to misbehave on it."""
        self.notifies += 1
        return self.script.misbehaviour is not None and not self.played and self.notifies >= self.script.on_notify

    def wrote_answer(self, notify: frame.Frame) -> None:
        """Note that the ACK for ``notify`` has been written completely."""
        self.answered.append(notify)
        if self._on_answered is not None:
            self._on_answered(notify)


class _Link:
    """One connection of HAProxy's."""

    def __init__(self, agent: ScriptedAgent, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._agent = agent
        self._script = agent.script
        self._reader = reader
        self._writer = writer
        self._held: list[frame.Frame] = []
        self._aborted = asyncio.Event()
        self.ended = asyncio.Event()

    def abort(self) -> None:
        self._aborted.set()
        self._writer.transport.abort()

    async def converse(self) -> None:
        received: list[frame.Frame] = []
        self._agent.received.append(received)
        try:
            while got := await streams.read_frame(self._reader):
                received.append(got)
                if not await self._react(got):
                    return
        except ConnectionError:
            pass  # how the peer ends is not judged
        finally:
            self._writer.close()
            with contextlib.suppress(ConnectionError):
                await self._writer.wait_closed()

    async def _react(self, got: frame.Frame) -> bool:
        """React to the frame ``got``; return False when the connection should end."""
        if got.type == frame.HAPROXY_HELLO:
            self._writer.write(_agent_hello(got) if self._script.hello is None else self._script.hello)
        elif got.type == frame.NOTIFY:
            return await self._notified(got)
        elif got.type == frame.HAPROXY_DISCONNECT:
            self._writer.write(frames.disconnect(frame.AGENT_DISCONNECT))
            return False
        return True

    async def _notified(self, notify: frame.Frame) -> bool:
        if not self._agent.its_turn():
            if self._script.delay_s:
                asyncio.get_running_loop().call_later(self._script.delay_s, self._answer, notify)
            else:
                self._answer(notify)
            return True
        self._held.append(notify)
        if len(self._held) < self._script.hold:
            return True
        self._agent.played = True
        held, self._held = self._held, []
        return await self._go_wrong(held)

    def _answer(self, notify: frame.Frame) -> None:
        if not self._writer.is_closing():
            self._writer.write(frames.ack(notify, self._script.answer(notify)))
            self._agent.wrote_answer(notify)

    async def _go_wrong(self, held: Sequence[frame.Frame]) -> bool:
        misbehaviour = self._script.misbehaviour
        assert misbehaviour is not None  # noqa: S101  # see its_turn()
        acks = [ack for notify in held if (ack := frame.parse(frames.ack(notify, self._script.answer(notify))))]
        end: End | None = None
        for step in misbehaviour.play(acks):
            if isinstance(step, End):
                end = step
            else:
                self._writer.write(step)
                await self._writer.drain()
        for notify in held[: len(held) - misbehaviour.unanswered]:
            self._agent.wrote_answer(notify)
        if end is End.RESET:
            streams.reset(self._writer)
        if end is End.LINGER:
            await self._aborted.wait()
        return end is None


def _agent_hello(offer: frame.Frame) -> bytes:
    """Return an AGENT-HELLO that accepts ``offer``: its max-frame-size, and pipelining if offered."""
    pairs = {pair.name: pair.value for pair in kv.parse(offer.raw, offer.payload_at, len(offer.raw))[0]}
    size, offered = pairs.get(b"max-frame-size"), pairs.get(b"capabilities")
    pipelining = b"pipelining" if isinstance(offered, bytes) and b"pipelining" in offered else b""
    return frames.agent_hello(size if isinstance(size, int) else frame.DEFAULT_MAX_FRAME_SIZE, pipelining)
