"""The scripted agent and a tap on a connection, each on its own thread, for tests that block."""

import asyncio
import threading
from types import TracebackType
from typing import Self

from spoe_guard.lab import streams
from spoe_guard.lab.agent import Script, ScriptedAgent

START_S = 30.0
TURNS = 4  # of the loop: a connection that was accepted in the last one has the task that serves it three later


class OnThread:
    """``with`` it: ``start`` and ``stop`` run on an event loop of its own. ``address`` is for whoever connects to it.

    ``serving``: the tasks that were kept, each with a connection.

    What still runs behind ``stop`` is cancelled, and closes its connections at once.
    """

    def __init__(self) -> None:
        self.address = ""
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._stopping = asyncio.Event()
        self.serving: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)

    async def start(self) -> None:
        raise NotImplementedError

    async def stop(self) -> None:
        raise NotImplementedError

    def keep(self) -> None:
        """Keep the task that serves a connection: the loop does not, once that connection has said FIN."""
        task = asyncio.current_task()
        assert task is not None
        self.serving.add(task)
        task.add_done_callback(self.serving.discard)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(START_S)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(START_S)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        await self.start()
        self._started.set()
        await self._stopping.wait()
        await self.stop()
        for _ in range(TURNS):
            await asyncio.sleep(0)
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        await asyncio.sleep(0)  # for the transports that were aborted to close


class AgentThread(OnThread):
    """``agent`` may be read at any time. ``port``: 0 lets the kernel choose."""

    def __init__(self, script: Script | None = None, unix_path: str | None = None, port: int = 0) -> None:
        super().__init__()
        self.agent = ScriptedAgent(script)
        self._unix_path = unix_path
        self._port = port

    async def start(self) -> None:
        if self._unix_path is None:
            self.address = f"127.0.0.1:{await self.agent.listen_tcp(port=self._port)}"
        else:
            await self.agent.listen_unix(self._unix_path)
            self.address = f"unix@{self._unix_path}"

    async def stop(self) -> None:
        await self.agent.stop()


class Tap(OnThread):
    """Passes bytes on, both ways, and keeps them: per connection, in the order they were opened. ``ended`` counts those over."""

    def __init__(self, beyond: str) -> None:
        super().__init__()
        self.to_agent: list[bytearray] = []
        self.to_haproxy: list[bytearray] = []
        self.ended = 0
        self._host, _, port = beyond.rpartition(":")
        self._port = int(port)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        await streams.stop_listening(self._server)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.keep()
        to_agent, to_haproxy = bytearray(), bytearray()
        self.to_agent.append(to_agent)
        self.to_haproxy.append(to_haproxy)
        ends = [writer]
        try:
            beyond_reader, beyond_writer = await asyncio.open_connection(self._host, self._port)
            ends.append(beyond_writer)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_on(reader, beyond_writer, to_agent))
                both.create_task(self._pass_on(beyond_reader, writer, to_haproxy))
        except OSError:
            return  # nobody there
        finally:
            self.ended += 1
            for end in ends:
                end.transport.abort()

    def passing(self, kept: bytearray, data: bytes) -> None:
        """Keep ``data``, which goes on, behind ``kept``, what went on before it on the same way."""
        kept += data

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray) -> None:
        try:
            while data := await reader.read(65536):
                self.passing(kept, data)
                writer.write(data)
            writer.write_eof()
        except OSError:
            writer.transport.abort()
