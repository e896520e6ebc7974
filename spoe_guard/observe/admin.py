"""The admin address: the live page, /api/status, /metrics, /healthz and /readyz."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from spoe_guard.observe.health import Health
from spoe_guard.observe.live.page import ASSETS, POLICY, Page
from spoe_guard.observe.live.status import Live, as_json
from spoe_guard.observe.metrics import Exposition

MAX_REQUEST_BYTES: Final = 8192  # request line and header lines, to the empty line
MAX_CONNECTIONS: Final = 32
REQUEST_S: Final = 5.0  # from connect to the last byte, both ways
_MAX_LINGER_BYTES: Final = 65536
_LIMIT: Final = MAX_REQUEST_BYTES - len(b"\r\n\r\n")  # asyncio counts the bytes before the mark
_TURNS: Final = 4  # of the loop: the task for a connection accepted in the last turn starts three turns later

_TEXT: Final = "text/plain; charset=utf-8"
_HTML: Final = "text/html; charset=utf-8"
_JSON: Final = "application/json"
_HEADERS: Final = f"""\
Content-Security-Policy: {POLICY}\r
X-Content-Type-Options: nosniff\r
Referrer-Policy: no-referrer\r
Cache-Control: no-store\r
Connection: close\r
"""
_Answer = tuple[HTTPStatus, str, bytes]

# Why no HTTP library: one GET per connection, answered and closed, has no corner case that needs one. wsgiref, which
# prometheus-client uses, starts a thread per connection, waits without a limit, and knows no Unix socket; its threads would
# also compete with the loop for the interpreter. Here the constants above bound everything.


class Admin:
    """Serves on the running loop between ``start`` and ``stop``."""

    def __init__(self, health: Health, exposition: Exposition, live: Live) -> None:
        self._health = health
        self._exposition = exposition
        self._live = live
        self._page = Page()
        self._paths: dict[str, Callable[[], Awaitable[_Answer]]] = {
            "/": self._live_page,
            "/api/status": self._status,
            "/metrics": self._metrics,
            "/healthz": self._healthz,
            "/readyz": self._readyz,
        }
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self, listening: socket.socket) -> None:
        """Serve on a socket that listens already, TCP or Unix; its owner closes it after ``stop``."""
        serve = asyncio.start_unix_server if listening.family == socket.AF_UNIX else asyncio.start_server
        self._server = await serve(self._connected, sock=listening, limit=_LIMIT)

    async def stop(self) -> None:
        """Stop serving, and close the connections that are still open."""
        if self._server is not None:
            # asyncio loses an accepted connection that has no transport yet, and leaks its socket (Server._attach).
            for sock in self._server.sockets:
                asyncio.get_running_loop().remove_reader(sock)
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._open) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._open.add(task)
        try:
            async with asyncio.timeout(REQUEST_S):
                await self._serve(reader, writer)
        except (OSError, TimeoutError, asyncio.CancelledError):
            pass  # the client is gone or too slow, or the guard stops: nobody to answer
        finally:
            writer.transport.abort()
            self._open.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return
        except asyncio.LimitOverrunError:
            method, answer = "GET", _plain(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"at most {MAX_REQUEST_BYTES} bytes\n")
        else:
            method, answer = await self._answer(head)
        writer.write(_encode(answer, with_body=method != "HEAD"))
        await writer.drain()
        writer.write_eof()
        # Unread bytes would turn this close into a reset, and the client would lose the answer.
        left = _MAX_LINGER_BYTES
        while left > 0 and (more := await reader.read(left)):
            left -= len(more)

    async def _answer(self, head: bytes) -> tuple[str, _Answer]:
        words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):  # noqa: PLR2004 method, target, version
            return "GET", _plain(HTTPStatus.BAD_REQUEST, "not HTTP/1.x\n")
        method, target, _version = words
        path = target.split("?", 1)[0]
        if path not in self._paths and path not in ASSETS:
            return method, _plain(HTTPStatus.NOT_FOUND, f"there is {', '.join(self._paths)}\n")
        if method not in ("GET", "HEAD"):
            return method, _plain(HTTPStatus.METHOD_NOT_ALLOWED, "GET or HEAD\n")
        return method, (HTTPStatus.OK, *ASSETS[path]) if path in ASSETS else await self._paths[path]()

    async def _live_page(self) -> _Answer:
        return HTTPStatus.OK, _HTML, await self._page.render(await self._live.status())

    async def _status(self) -> _Answer:
        return HTTPStatus.OK, _JSON, await as_json(await self._live.status())

    async def _metrics(self) -> _Answer:
        return HTTPStatus.OK, Exposition.CONTENT_TYPE, await self._exposition.render()

    async def _healthz(self) -> _Answer:
        return _plain(HTTPStatus.OK, "ok\n")

    async def _readyz(self) -> _Answer:
        ready, why = self._health.ready()
        return _plain(HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, why)


def _plain(status: HTTPStatus, text: str) -> _Answer:
    return status, _TEXT, text.encode()


def _encode(answer: _Answer, *, with_body: bool) -> bytes:
    status, content_type, body = answer
    allow = "Allow: GET, HEAD\r\n" if status is HTTPStatus.METHOD_NOT_ALLOWED else ""
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{allow}{_HEADERS}\r\n"
    )
    return head.encode() + (body if with_body else b"")
