"""Both peers of a guard, driven by the test, and an address that does not answer."""

import asyncio
import contextlib
import errno
import socket
import struct

from spoe_guard.address import Address


class Peer:
    """One end of a connection, driven by the test."""

    def __init__(self, sock):
        self.sock = sock
        self.loop = asyncio.get_running_loop()

    async def send(self, data):
        await self.loop.sock_sendall(self.sock, data)

    async def read(self, count):
        """Return exactly ``count`` bytes, or fewer when the connection ended."""
        got = bytearray()
        while len(got) < count and (more := await self.loop.sock_recv(self.sock, count - len(got))):
            got += more
        return bytes(got)

    async def rest(self):
        """Return everything up to FIN; ``ConnectionResetError`` when it is a reset instead."""
        got = bytearray()
        while more := await self.loop.sock_recv(self.sock, 65536):
            got += more
        return bytes(got)

    def send_now(self, data):
        """Send what goes without waiting; return how many bytes that was."""
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while sent < len(data):
                sent += self.sock.send(data[sent : sent + 65536])
        return sent

    def fin(self):
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()

    async def was_reset(self):
        """Whether the connection ends with a reset, after whatever came before it."""
        try:
            await self.rest()
        except OSError as error:
            return error.errno in (errno.ECONNRESET, errno.EPIPE)
        return False


@contextlib.asynccontextmanager
async def hanging_address():
    """An address on which a dial neither works nor fails: its accept queue is full, so SYNs are ignored."""
    with socket.socket() as listening, socket.socket() as one, socket.socket() as two:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for filler in (one, two):
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        yield Address(*listening.getsockname())
