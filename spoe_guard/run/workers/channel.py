"""The messages between a worker and its parent: one JSON object per line, over a socket pair.

From the parent, first: settings, workers (how many), worker (its number), sockets (by route: descriptors, its own first),
borrows (the descriptor where more sockets come, see ``WorkerProcess.lend``), drained (routes that are to accept nothing).
Then: ``{"ask": WHAT, "id": N, "given": ARGUMENTS}``, ``{"settings": ...}``, ``{"stop": "drain"}``, ``{"stop": "now"}``.
From the worker: ``{"listening": true}`` or ``{"failed": WHY}``; then ``{"id": N, "answer": ...}``, and ``{"last": NUMBERS}``.
"""

import asyncio
import json
import socket
from collections.abc import Iterable
from typing import Any, Final

Message = dict[str, Any]

MAX_BYTES: Final = 16 * 1024 * 1024  # of one line: the numbers of some thousand routes


class Channel:
    """One end of the socket pair."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def on(cls, sock: socket.socket) -> "Channel":
        """Return a channel on ``sock``, which it owns from now on."""
        sock.setblocking(False)  # noqa: FBT003  the standard library's own signature
        return cls(*await asyncio.open_unix_connection(sock=sock, limit=MAX_BYTES))

    def send(self, message: Message) -> None:
        """Send ``message``; do nothing if the other end is gone."""
        if not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + b"\n")

    def send_written(self, message: Iterable[bytes]) -> None:
        """Send a message that is a JSON object already, in pieces; do nothing if the other end is gone."""
        if not self._writer.is_closing():
            for piece in message:
                self._writer.write(piece)
            self._writer.write(b"\n")

    async def flush(self) -> None:
        """Wait until the write buffer has drained."""
        try:
            await self._writer.drain()
        except ConnectionError:
            return

    async def receive(self) -> Message | None:
        """Return the next message; None when the other end is gone, or sent no JSON."""
        try:
            line = await self._reader.readline()
            message: Message | None = json.loads(line) if line.endswith(b"\n") else None
        except (OSError, ValueError):
            return None
        return message

    def close(self) -> None:
        """Close this end."""
        self._writer.close()
