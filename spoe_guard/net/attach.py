"""From a connected socket to a leg, in the same way for accepted and dialled ones, TCP and Unix, on both event loops."""

import asyncio
import socket
from typing import Any

from spoe_guard.net.leg import Leg


async def attach(leg: Leg, sock: socket.socket) -> None:
    """Hand ``sock`` to the event loop with ``leg`` as its protocol; returns when it is made.

    Raises:
        OSError: the connection broke meanwhile; ``sock`` is closed.
    """
    loop = asyncio.get_running_loop()
    protocol: Any = leg  # has the methods without inheriting from asyncio.Protocol
    try:
        if sock.family != socket.AF_UNIX:  # asyncio sets it only where the socket was made with IPPROTO_TCP, uvloop always
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        leg.sock = sock
        await loop.connect_accepted_socket(lambda: protocol, sock)
    except Exception:
        sock.close()
        raise
