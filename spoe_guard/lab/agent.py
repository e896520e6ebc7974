"""A scripted agent: it behaves, and misbehaves once on the n-th NOTIFY, or goes wrong again and again."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from spoe_guard.lab import frames, streams
from spoe_guard.lab.faults import Due, Elsewhere, Fault, Later, On, Step
from spoe_guard.lab.misbehaviour import End, Misbehaviour
from spoe_guard.wire import frame, kv, typed_data

T = TypeVar("T")

LATE_AT_ONCE: Final = 10_000  # ACKs that wait for their time; beyond them one is written at once


def echo(notify: frame.Frame) -> bytes:
    """Answer with the NOTIFY's own first argument in the variable ``verdict``, so that a mixed-up answer is recognizable."""
    return frames.text_verdict(b"verdict", frames.first_argument(notify))


def never() -> bool:
    """Return False: the agent goes wrong on no frame."""
    return False


@dataclass(frozen=True, slots=True)
class Script:
    """What an agent does.

    NOTIFYs are counted over all connections, from 1. At the ``on_notify``-th the agent collects NOTIFYs of that connection
    until ``hold`` of them are open, commits ``misbehaviour``, and behaves from then on; None: it always behaves.
    To behave is to send ``hello`` (None: its own AGENT-HELLO, with the offered size), to answer each NOTIFY, whole or in
    fragments, after ``delay_s`` seconds with the action list that ``answer`` returns, and to answer DISCONNECT with DISCONNECT
    and a close.

    ``fault``, in place of ``misbehaviour``: the agent commits it as often as ``turn`` returns true, which it asks for each frame
    on which it could. ``late_s``: how much later than the others a late answer comes.
    """

    misbehaviour: Misbehaviour | None = None
    on_notify: int = 1
    hold: int = 1
    answer: Callable[[frame.Frame], bytes] = echo
    hello: bytes | None = None
    delay_s: float = 0.0
    fault: Fault | None = None
    turn: Callable[[], bool] = never
    late_s: float = 1.0


class ScriptedAgent:
    """An agent on TCP or a Unix socket that follows a script. It accepts whatever it receives.

    ``received`` holds every frame of every connection, in order; ``answered`` the NOTIFYs whose ACK it has written completely;
    neither grows where ``keep`` is false. ``on_answered`` is called with each of those, after the write. ``connections``: how
    many it has at a time; one more is closed at once. ``notifies``, ``accepted`` and ``refused`` count NOTIFYs and connections.
    """

    def __init__(
        self,
        script: Script | None = None,
        on_answered: Callable[[frame.Frame], None] | None = None,
        *,
        connections: int | None = None,
        keep: bool = True,
    ) -> None:
        self.script = script or Script()
        self.received: list[list[frame.Frame]] = []
        self.answered: list[frame.Frame] = []
        self.notifies = 0
        self.accepted = 0
        self.refused = 0
        self.played = False
        self.waiting = 0  # answers that are not due yet
        self.keep = keep
        self._most = connections
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

    async def listen_on(self, sock: socket.socket) -> None:
        """Accept from a socket that listens already."""
        self._servers.append(await asyncio.start_server(self._accepted, sock=sock))

    @property
    def connected(self) -> int:
        """How many connections there are."""
        return len(self._links)

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        for server in self._servers:
            await streams.stop_listening(server)
        for link in self.drop():
            await link.ended.wait()

    def drop(self) -> "Sequence[_Link]":
        """Drop every connection, and go on listening; return them."""
        links = list(self._links)
        for link in links:
            link.abort()
        return links

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._links) == self._most:
            self.refused += 1
            writer.transport.abort()
            return
        self.accepted += 1
        link = _Link(self, reader, writer)
        self._links.add(link)
        try:
            await link.converse()
        finally:
            self._links.discard(link)
            link.ended.set()

    def its_turn(self) -> bool:
        """Return whether to misbehave on the last NOTIFY that was counted."""
        return self.script.misbehaviour is not None and not self.played and self.notifies >= self.script.on_notify

    def wrote_answer(self, notify: frame.Frame) -> None:
        """Note that the ACK for ``notify`` has been written completely."""
        if self.keep:
            self.answered.append(notify)
        if self._on_answered is not None:
            self._on_answered(notify)

    def another(self, link: "_Link") -> "_Link | None":
        """Return another connection of the same engine, if there is one."""
        others = (other for other in self._links if other is not link and other.engine_id)
        return next((other for other in others if other.engine_id == link.engine_id), None)


class _Link:
    """One connection of HAProxy's."""

    def __init__(self, agent: ScriptedAgent, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._agent = agent
        self._script = agent.script
        self._reader = reader
        self._writer = writer
        self._held: list[frame.Frame] = []
        self._begun: frame.Frame | None = None  # a NOTIFY as far as its fragments have come
        self._max_frame_size = frame.DEFAULT_MAX_FRAME_SIZE
        self.engine_id = b""  # from HELLO on
        self._aborted = asyncio.Event()
        self.ended = asyncio.Event()

    def abort(self) -> None:
        self._aborted.set()
        self._writer.transport.abort()

    async def converse(self) -> None:
        received: list[frame.Frame] = []
        if self._agent.keep:
            self._agent.received.append(received)
        try:
            while got := await streams.read_frame(self._reader):
                if self._agent.keep:
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
            return await self._greeted(got)
        if got.type in (frame.NOTIFY, frame.UNSET):
            notify = self._joined(got)
            return notify is None or await self._notified(notify)
        if got.type == frame.HAPROXY_DISCONNECT:
            self._writer.write(frames.disconnect(frame.AGENT_DISCONNECT))
            return False
        return True

    def _joined(self, got: frame.Frame) -> frame.Frame | None:
        """Return the whole NOTIFY of which ``got`` is the last, or only, fragment; None before that, or if it is aborted."""
        begun, self._begun = self._begun, None
        if got.type == frame.UNSET and begun is not None:
            if len(begun.payload) + len(got.payload) > streams.MOST_FRAME_BYTES:
                return None
            got = frame.parse(frame.with_flags(frame.with_payload(begun, begun.payload + got.payload), got.flags)) or got
        if got.flags & frame.FLAG_ABRT:
            return None
        if not got.fin:
            self._begun = got
            return None
        return got

    async def _greeted(self, offer: frame.Frame) -> bool:
        offered = {pair.name: pair.value for pair in kv.parse(offer.raw, offer.payload_at, len(offer.raw))[0]}
        fault = self._script.fault
        hello = self._script.hello
        if hello is None:
            hello = _agent_hello(offered, asynchronous=fault is not None and fault.asynchronous)
        engine_id = offered.get(b"engine-id")
        self._max_frame_size = _size(offered)
        self.engine_id = engine_id if isinstance(engine_id, bytes) else b""
        concerned = fault is not None and (fault.on is On.HELLO or (fault.on is On.CHECK and b"healthcheck" in offered))
        if fault is not None and concerned and self._script.turn():
            return await self._commit(fault, hello)
        self._writer.write(hello)
        return True

    async def _notified(self, notify: frame.Frame) -> bool:
        fault = self._script.fault
        self._agent.notifies += 1
        if fault is not None and fault.on is On.NOTIFY and self._script.turn():
            return await self._commit(fault, frames.ack(notify, self._script.answer(notify)))
        if not self._agent.its_turn():
            if not self._later(self._script.delay_s, self._answer, notify):
                self._answer(notify)
            await self._writer.drain()
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

    def _later(self, seconds: float, call: Callable[[T], None], what: T) -> bool:
        """Call ``call`` after so many seconds; return False if that is at once, or if too much waits already."""
        agent = self._agent
        if not seconds or agent.waiting == LATE_AT_ONCE:
            return False

        def due() -> None:
            agent.waiting -= 1
            call(what)

        agent.waiting += 1
        asyncio.get_running_loop().call_later(seconds, due)
        return True

    async def _commit(self, fault: Fault, due: bytes) -> bool:
        """Commit ``fault`` in place of writing ``due``; return False when the connection should end."""
        whole = frame.parse(due)
        assert whole is not None  # noqa: S101  encoded by ourselves
        return await self._end(await self._play(fault.play(Due(whole, self._max_frame_size))))

    async def _play(self, steps: Sequence[Step]) -> End | None:
        """Write what the steps say; return how the connection should end, if it should."""
        for step in steps:
            match step:
                case End():
                    return step
                case Later():
                    if not self._later(self._script.delay_s + self._script.late_s, self.write, step.raw):
                        self.write(step.raw)
                case Elsewhere():
                    (self._agent.another(self) or self).write(step.raw)
                case bytes():
                    self.write(step)
            await self._writer.drain()
        return None

    def write(self, raw: bytes) -> None:
        """Write ``raw``, unless the connection is at its end."""
        if not self._writer.is_closing():
            self._writer.write(raw)

    async def _end(self, how: End | None) -> bool:
        """End the connection; return True where it goes on."""
        if how is End.RESET:
            streams.reset(self._writer)
        if how is End.LINGER:
            await self._aborted.wait()
        return how is None

    async def _go_wrong(self, held: Sequence[frame.Frame]) -> bool:
        misbehaviour = self._script.misbehaviour
        assert misbehaviour is not None  # noqa: S101  # see its_turn()
        acks = [ack for notify in held if (ack := frame.parse(frames.ack(notify, self._script.answer(notify))))]
        end = await self._play(misbehaviour.play(acks))
        for notify in held[: len(held) - misbehaviour.unanswered]:
            self._agent.wrote_answer(notify)
        return await self._end(end)


def _agent_hello(offered: Mapping[bytes, typed_data.Value], *, asynchronous: bool) -> bytes:
    """Return an AGENT-HELLO that accepts what is offered: its size, pipelining, and async if ``asynchronous``."""
    capabilities = offered.get(b"capabilities")
    wanted = (b"pipelining", b"async") if asynchronous else (b"pipelining",)
    taken = [each for each in wanted if isinstance(capabilities, bytes) and each in capabilities]
    return frames.agent_hello(_size(offered), b",".join(taken))


def _size(offered: Mapping[bytes, typed_data.Value]) -> int:
    size = offered.get(b"max-frame-size")
    return min(size, streams.MOST_FRAME_BYTES) if isinstance(size, int) else frame.DEFAULT_MAX_FRAME_SIZE
