"""A client of HAProxy: one HTTP connection, and the result of each request on it."""

import asyncio
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

LOCALHOST: Final = "127.0.0.1"
ANSWER_S: Final = 15.0


@dataclass(frozen=True)
class Seen:
    """What the client saw: ``status`` and ``verdict`` of the HTTP response, or ``failure`` (then ``status`` is 0)."""

    status: int
    verdict: str = ""
    failure: str = ""
    seconds: float = 0.0


class Client:
    """``async with Client(port) as client``: connects at the first request and keeps the connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._streams:
            self._streams[1].transport.abort()

    async def get(self, path: str) -> Seen:
        """Request ``path``; a failure is also returned as a ``Seen``."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(ANSWER_S):
                status, verdict = await self._exchange(path)
        except ConnectionRefusedError:
            return Seen(0, failure="connection refused", seconds=time.monotonic() - began)
        except (OSError, asyncio.IncompleteReadError):
            return Seen(0, failure="connection lost", seconds=time.monotonic() - began)
        except TimeoutError:
            return Seen(0, failure="no response", seconds=time.monotonic() - began)
        return Seen(status, verdict, seconds=time.monotonic() - began)

    async def _exchange(self, path: str) -> tuple[int, str]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(LOCALHOST, self._port)
        reader, writer = self._streams
        writer.write(f"GET {path} HTTP/1.1\r\nHost: demo\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
        await reader.readexactly(int(fields.get("content-length", "0")))
        return int(head[0].split()[1]), fields.get("verdict", "")


async def ask_once(port: int, path: str) -> Seen:
    """Request ``path`` on a new connection."""
    async with Client(port) as client:
        return await client.get(path)
