"""The path to an agent that may be away for a while: its address stays, and the test knows what the agent wrote."""

import asyncio
import re
import socket
from collections.abc import Coroutine

from spoe_guard.lab import streams
from tests.integration.agent import Tap

LAST_ACTION = re.compile(rb"\x04echo\x08(.)(/load/\d+)", re.DOTALL)  # with which each answer of the agents ends
ARGUMENT = re.compile(rb"\x04path\x08.(/load/\d+)", re.DOTALL)  # followed by another argument, whose name begins with its length
DO_S = 10.0


class Road(Tap):
    """``address`` is for whoever connects to the agent. While it is ``down``, connections to it are refused.

    Its port is kept then: a kernel that hands it out to a connection to it connects HAProxy to itself.
    """

    def __init__(self) -> None:
        super().__init__(f"{streams.LOCALHOST}:0")

    async def start(self) -> None:
        await super().start()
        self._bound: socket.socket | None = None

    async def stop(self) -> None:
        await self._down()
        await super().stop()
        if self._bound is not None:
            self._bound.close()

    def down(self) -> None:
        """Refuse connections; those that there are go on."""
        self._do(self._down())

    def up(self, beyond: str) -> None:
        """Lead there from now on."""
        self._do(self._up(beyond))

    def _do(self, what: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(DO_S)

    async def _down(self) -> None:
        if self._bound is None:
            port = self._server.sockets[0].getsockname()[1]
            await streams.stop_listening(self._server)
            self._bound = socket.socket()
            self._bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._bound.bind((streams.LOCALHOST, port))

    async def _up(self, beyond: str) -> None:
        self._port = int(beyond.rpartition(":")[2])
        if self._bound is not None:
            self._server = await asyncio.start_server(self._accepted, sock=self._bound)
            self._bound = None

    def forget(self) -> None:
        """Begin a new count of what was written."""
        self.to_agent.clear()
        self.to_haproxy.clear()

    def asked(self) -> set[str]:
        """Return the paths of all NOTIFYs that came this far."""
        return {path.decode() for each in list(self.to_agent) for path in ARGUMENT.findall(bytes(each))}

    def answers(self) -> set[str]:
        """Return the paths of all answers whose last byte the agent has written."""
        return {path for each in list(self.to_haproxy) for path in _answered(bytes(each))}

    def in_hands(self) -> set[str]:
        """Return the paths of NOTIFYs that had no answer on a connection on which they came: its agent had them to the last."""
        found: set[str] = set()
        for asked, text in zip(list(self.to_agent), list(self.to_haproxy), strict=False):
            found |= {path.decode() for path in ARGUMENT.findall(bytes(asked))} - _answered(bytes(text))
        return found


def _answered(text: bytes) -> set[str]:
    return {path[: length[0]].decode() for length, path in LAST_ACTION.findall(text) if len(path) >= length[0]}
