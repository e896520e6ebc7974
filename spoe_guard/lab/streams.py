"""Frames from an asyncio stream, and a reset: shared by the lab's agent and engine."""

import asyncio
import socket
import struct
from typing import Final

from spoe_guard.wire import frame, walk

LOCALHOST: Final = "127.0.0.1"
MOST_FRAME_BYTES: Final = 1024 * 1024  # of a frame that is read: what the guard keeps of a connection by default
_NO_LINGER: Final = struct.pack("ii", 1, 0)  # SO_LINGER on with timeout 0: close() sends RST


async def read_frame(reader: asyncio.StreamReader) -> frame.Frame | None:
    """Return the next frame; None at the end of the stream (also inside a frame), and for an invalid or enormous frame.

    Raises:
        ConnectionError: the connection was reset.
    """
    try:
        prefix = await reader.readexactly(frame.LENGTH_BYTES)
        length = walk.length_at(prefix, 0)
        if length > MOST_FRAME_BYTES:
            return None
        body = await reader.readexactly(length)
    except asyncio.IncompleteReadError:
        return None
    return frame.parse(prefix + body) if len(body) >= frame.MIN_LENGTH else None


async def stop_listening(server: asyncio.Server) -> None:
    """Close ``server`` and keep its connections open.

    ``close`` alone loses a connection that was accepted in the same turn of the loop: its transport is made one turn later, can
    no longer attach to the server, and its socket stays open until it is collected (CPython, ``Server._attach``).
    """
    for sock in server.sockets:
        asyncio.get_running_loop().remove_reader(sock)
    await asyncio.sleep(0)
    server.close()


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST in place of FIN. Unix sockets have no RST; the peer sees the end nevertheless."""
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    writer.transport.abort()
