"""The scripted agent on a thread of its own, for tests that block."""

import asyncio
import threading
from types import TracebackType
from typing import Self

from spoe_guard.lab.agent import Script, ScriptedAgent

START_S = 10.0


class AgentThread:
    """``with AgentThread(script) as running``: ``running.address`` is where it listens; ``running.agent`` may be read."""

    def __init__(self, script: Script | None = None, unix_path: str | None = None) -> None:
        self.agent = ScriptedAgent(script)
        self.address = ""
        self._unix_path = unix_path
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(START_S)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(START_S)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        if self._unix_path is None:
            self.address = f"127.0.0.1:{await self.agent.listen_tcp()}"
        else:
            await self.agent.listen_unix(self._unix_path)
            self.address = f"unix@{self._unix_path}"
        self._started.set()
        await self._stop.wait()
        await self.agent.stop()
