"""The guard's end of the control socket: it reads one request of each client, has it carried out, and writes what comes of it.

The file's mode says who may connect (unix(7)): no other check is made. Everything is bounded, as nothing a client does may cost
the sessions anything.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from spoe_guard.control.peer import Peer, peer_of
from spoe_guard.control.protocol import MAX_REQUEST_BYTES, Message, RefusedError, decode, encode, in_parts
from spoe_guard.serving import stop_serving

MAX_CLIENTS: Final = 16  # as many again are told so; who comes then is closed
REQUEST_S: Final = 5.0  # from connect to the end of the request
WRITE_S: Final = 5.0  # for a client to take what is written

Send = Callable[[Message | None], Awaitable[None]]
CarryOut = Callable[[Message, Peer, Send], Awaitable[object]]


class ControlServer:
    """Serves on the running loop between ``start`` and ``stop``.

    ``carry_out(request, peer, send)`` returns the answer, or raises ``RefusedError``; it may ``send`` items before. It is
    cancelled where the client does not take what is written.
    """

    def __init__(self, carry_out: CarryOut) -> None:
        self._carry_out = carry_out
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self, listening: socket.socket) -> None:
        """Serve on a Unix socket that listens already; its owner closes it after ``stop``."""
        self._server = await asyncio.start_unix_server(self._connected, sock=listening, limit=MAX_REQUEST_BYTES - 1)

    async def stop(self) -> None:
        """Stop serving, and close the connections that are still open."""
        await stop_serving(self._server, self._open)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        full = len(self._open) >= MAX_CLIENTS
        writer.transport.set_write_buffer_limits(0)
        if len(self._open) >= 2 * MAX_CLIENTS:
            writer.transport.abort()
            return
        self._open.add(task)
        try:
            await self._serve(reader, writer, full=full)
        except (OSError, TimeoutError, asyncio.CancelledError):
            pass  # the client is gone or too slow, or the guard stops: nobody to answer
        finally:
            writer.transport.abort()  # all that the client is to have is in the kernel
            self._open.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, full: bool) -> None:
        try:
            async with asyncio.timeout(REQUEST_S):
                line = await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError:
            return
        except asyncio.LimitOverrunError:
            await _write(writer, _refused(f"a request has at most {MAX_REQUEST_BYTES} bytes"))
            return
        if full:  # only now: with a request that nobody read the client would get a reset, and no answer
            await _write(writer, _refused(f"{MAX_CLIENTS} clients are connected already; try again when one has ended"))
            return
        request = decode(line)
        if request is None or not isinstance(request.get("do"), str):
            await _write(writer, _refused('expected a JSON object with a command, such as {"do": "status"}'))
            return
        peer = await peer_of(writer.get_extra_info("socket"))
        try:
            answer = await self._carry_out(request, peer, lambda item: _write(writer, {"item": item}))
        except RefusedError as error:
            await _write(writer, _refused(str(error)))
        except (OSError, TimeoutError):
            raise
        except Exception as error:  # noqa: BLE001  our own bug: this request, not the guard
            asyncio.get_running_loop().call_exception_handler({"message": "control", "exception": error})
            await _write(writer, _refused("a bug of the guard; its log says more (internal_error)"))
        else:
            for part in in_parts(answer):
                writer.write(part)
                async with asyncio.timeout(WRITE_S):
                    await writer.drain()
                await asyncio.sleep(0)


def _refused(why: str) -> Message:
    return {"ok": False, "error": why}


async def _write(writer: asyncio.StreamWriter, message: Message) -> None:
    """Write a line, and wait until the kernel has taken all of it.

    Raises:
        OSError: the client is gone.
        TimeoutError: it does not read.
    """
    writer.write(encode(message))
    async with asyncio.timeout(WRITE_S):
        await writer.drain()
