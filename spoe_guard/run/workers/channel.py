"""The messages between a worker and its parent, over a socket pair: a line each, which is a JSON object.

What is long in a message goes before it in parts: lines that begin with ``PART``, a JSON value each. No event loop stands still
for a whole message then: either side makes and reads one part after the other, and has turns for others in between. In Python a
message has them under ``parts``, as JSON; whoever reads it decodes them (``decoded``).

From the parent, first: settings, workers (how many), worker (its number), sockets (by route: descriptors, its own first),
borrows (the descriptor where more sockets come, see ``WorkerProcess.lend``), drained (routes that are to accept nothing).
Then: ``{"ask": WHAT, "id": N, "given": ARGUMENTS}``, ``{"settings": ...}``, ``{"stop": "drain"}``, ``{"stop": "now"}``.
From the worker: ``{"listening": true}`` or ``{"failed": WHY}``; then ``{"id": N, "answer": ...}``, its numbers as
``{"id": N, "answer": true, "numbers": NUMBERS}``, and at its end as ``{"numbers": NUMBERS}``.
In parts: the routes of settings, the routes' numbers, and the ``rows`` of an answer.
"""

import asyncio
import json
import socket
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Final

from spoe_guard.slices import Slices

Message = dict[str, Any]

MAX_BYTES: Final = 16 * 1024 * 1024  # of one message, its parts included: the numbers of some thousand routes
PIECE: Final = 64 * 1024  # bytes that are written, and kept unread, together
PART: Final = b"+"  # no JSON begins so


class Channel:
    """One end of the socket pair."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def on(cls, sock: socket.socket) -> "Channel":
        """Return a channel on ``sock``, which it owns from now on."""
        sock.setblocking(False)  # noqa: FBT003  the standard library's own signature
        return cls(*await asyncio.open_unix_connection(sock=sock, limit=PIECE))

    def send(self, message: Message) -> None:
        """Send ``message`` with its parts, if it has some, before any other; do nothing if the other end is gone."""
        if self._writer.is_closing():
            return
        rest = {name: value for name, value in message.items() if name != "parts"}
        lines = chain((b"%b%b\n" % (PART, part) for part in message.get("parts", ())), (b"%b\n" % json.dumps(rest).encode(),))
        for piece in _in_pieces(lines):
            self._writer.write(piece)

    async def flush(self) -> None:
        """Wait until the write buffer has drained."""
        try:
            await self._writer.drain()
        except ConnectionError:
            return

    async def receive(self) -> Message | None:
        """Return the next message; None when the other end is gone, or sent no JSON, or more than ``MAX_BYTES``.

        Others have their turn between its parts.
        """
        slices, parts, room = Slices(), [], MAX_BYTES
        try:
            while (line := await self._line(room)).startswith(PART):
                parts.append(line[len(PART) : -1])
                room -= len(line)
                await slices.pause()
            message: Message = json.loads(line)
        except (OSError, EOFError, ValueError):
            return None
        return {**message, "parts": parts} if parts else message

    async def _line(self, room: int) -> bytes:
        """Return the next line, which may be longer than what the reader keeps.

        Raises:
            EOFError: the other end is gone.
            ValueError: it has more than ``room`` bytes.
        """
        pieces: list[bytes] = []
        while not pieces or not pieces[-1].endswith(b"\n"):
            try:
                pieces.append(await self._reader.readuntil(b"\n"))
            except asyncio.LimitOverrunError as more:
                pieces.append(await self._reader.readexactly(more.consumed))
            room -= len(pieces[-1])
            if room < 0:
                raise ValueError(room)
        return b"".join(pieces)

    def close(self) -> None:
        """Close this end."""
        self._writer.close()


def _in_pieces(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines, some together: neither a call for each, nor megabytes at once, for which memory has to be found."""
    some: list[bytes] = []
    length = 0
    for line in lines:
        some.append(line)
        length += len(line)
        if length >= PIECE:
            yield b"".join(some)
            some, length = [], 0
    yield b"".join(some)


async def encoded(values: Iterable[object]) -> list[bytes]:
    """Return each as a part of a message. Others have their turn in between."""
    slices, parts = Slices(), []
    for value in values:
        parts.append(json.dumps(value).encode())
        await slices.pause()
    return parts


async def decoded(parts: Iterable[bytes]) -> list[Any]:
    """Return what ``encoded`` made parts of. Others have their turn in between."""
    slices, values = Slices(), []
    for part in parts:
        values.append(json.loads(part))
        await slices.pause()
    return values
