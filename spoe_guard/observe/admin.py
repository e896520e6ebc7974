"""The admin address: the live page, /api/status, /metrics, /healthz and /readyz."""

import asyncio
import fcntl
import socket
import struct
import termios
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from http import HTTPStatus
from typing import Any, Final

from spoe_guard.observe.formats import preferred
from spoe_guard.observe.health import Health
from spoe_guard.observe.hosts import REFUSED, is_served
from spoe_guard.observe.live.page import ASSETS, POLICY, Page
from spoe_guard.observe.live.runbook import Runbook
from spoe_guard.observe.live.status import Live
from spoe_guard.observe.metrics import Exposition
from spoe_guard.observe.pieces import keep_freed_memory
from spoe_guard.serving import stop_serving
from spoe_guard.slices import Slices

MAX_REQUEST_BYTES: Final = 8192  # request line and header lines, to the empty line
MAX_CONNECTIONS: Final = 32
REQUEST_S: Final = 5.0  # from connect to the last byte, both ways
_MAX_LINGER_BYTES: Final = 65536
_END: Final = b"\r\n\r\n"  # of a request
_LIMIT: Final = MAX_REQUEST_BYTES - len(_END)  # asyncio counts the bytes before the mark

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
_RUNBOOK: Final = "/runbook/"  # and the name of an entry

_Answer = tuple[HTTPStatus, str, Sequence[bytes]]  # status, Content-Type, the body in pieces

# Machines ask these by whatever name their targets have: a Service, a container. Nothing of what the peers carry is in them, only
# numbers, the routes' names and the agents' addresses, so any Host may read them.
_FOR_MACHINES: Final = frozenset(("/metrics", "/healthz", "/readyz"))

# Why no HTTP library: one GET per connection, answered and closed, has no corner case that needs one. wsgiref, which
# prometheus-client uses, starts a thread per connection, waits without a limit, and knows no Unix socket; its threads would
# also compete with the loop for the interpreter. Here the constants above bound everything.


class _Client(asyncio.StreamReaderProtocol):
    """One connection. ``whole``: a whole request came; whoever reads it is told a turn of the loop later."""

    def __init__(self, serve: "Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]") -> None:
        loop = asyncio.get_running_loop()
        super().__init__(asyncio.StreamReader(limit=_LIMIT, loop=loop), serve, loop)
        self.whole = False
        self._last = b""

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self._last += data
        self.whole = self.whole or _END in self._last
        self._last = self._last[-len(_END) + 1 :]
        super().data_received(data)


class Admin:
    """Serves on the running loop between ``start`` and ``stop``. ``names``: by which it may be asked, see ``hosts``."""

    def __init__(self, health: Health, exposition: Exposition, live: Live, names: Iterable[str] = ()) -> None:
        self.use(names)
        self._health = health
        self._exposition = exposition
        self._live = live
        self._page = Page()
        self._runbook = Runbook()
        self._paths: dict[str, Callable[[bytes], Awaitable[_Answer]]] = {
            "/": self._live_page,
            "/api/status": self._status,
            "/metrics": self._metrics,
            "/healthz": self._healthz,
            "/readyz": self._readyz,
        }
        self._server: asyncio.Server | None = None
        self._any_host = False
        self._open: dict[asyncio.Task[None], tuple[_Client, asyncio.StreamWriter]] = {}  # the oldest first

    def use(self, names: Iterable[str]) -> None:
        """Take on new settings."""
        self._names = frozenset(name.lower() for name in names)

    async def start(self, listening: socket.socket) -> None:
        """Serve on a socket that listens already, TCP or Unix; its owner closes it after ``stop``."""
        keep_freed_memory()
        loop = asyncio.get_running_loop()
        self._any_host = listening.family == socket.AF_UNIX  # no web page reaches a Unix socket
        serve = loop.create_unix_server if listening.family == socket.AF_UNIX else loop.create_server
        self._server = await serve(lambda: _Client(self._connected), sock=listening)

    async def stop(self) -> None:
        """Stop serving, and close the connections that are still open."""
        await stop_serving(self._server, self._open)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task, client = asyncio.current_task(), writer.transport.get_protocol()
        if task is None or not isinstance(client, _Client):
            return
        if len(self._open) >= MAX_CONNECTIONS:
            self._make_room()
        self._open[task] = (client, writer)
        try:
            async with asyncio.timeout(REQUEST_S):
                await self._serve(reader, writer)
        except (OSError, TimeoutError, asyncio.CancelledError):
            pass  # the client is gone or too slow, or the guard stops: nobody to answer
        finally:
            writer.transport.abort()
            self._open.pop(task, None)

    def _make_room(self) -> None:
        """Close the connection that can best be spared, so that a probe is answered however many say nothing.

        The oldest of which nothing more is to be read, and no whole request came; else the oldest without one; else the oldest.
        """
        task = next(self._idle(heard=False), None) or next(self._idle(heard=True), None) or next(iter(self._open))
        _client, writer = self._open.pop(task)
        writer.transport.abort()
        task.cancel()

    def _idle(self, *, heard: bool) -> Iterator[asyncio.Task[None]]:
        for task, (client, writer) in self._open.items():
            if not client.whole and (heard or not _unread(writer)):
                yield task

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return
        except asyncio.LimitOverrunError:
            method, answer = "GET", _plain(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"at most {MAX_REQUEST_BYTES} bytes\n")
        else:
            method, answer = await self._answer(head)
        writer.write(_head(answer))
        slices = Slices()
        for piece in answer[2] if method != "HEAD" else ():
            writer.write(piece)
            await writer.drain()
            await slices.pause()  # a socket may take megabytes before there is anything to drain
        writer.write_eof()
        # Unread bytes would turn this close into a reset, and the client would lose the answer.
        left = _MAX_LINGER_BYTES
        while left > 0 and (more := await reader.read(left)):
            left -= len(more)

    async def _answer(self, head: bytes) -> tuple[str, _Answer]:
        words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):  # noqa: PLR2004 method, target, version
            return "GET", _plain(HTTPStatus.BAD_REQUEST, "not HTTP/1.x\n")
        method, target, version = words
        path = target.split("?", 1)[0]
        hosts = _values(head, "host")
        if len(hosts) > 1 or (not hosts and version != "HTTP/1.0"):
            return method, _plain(HTTPStatus.BAD_REQUEST, "one Host, as HTTP/1.1 asks\n")
        if hosts and path not in _FOR_MACHINES and not self._any_host and not is_served(hosts[0], self._names):
            return method, _plain(HTTPStatus.MISDIRECTED_REQUEST, REFUSED)
        entry = self._runbook.page(path.removeprefix(_RUNBOOK)) if path.startswith(_RUNBOOK) else None
        if path not in self._paths and path not in ASSETS and entry is None:
            return method, _plain(HTTPStatus.NOT_FOUND, f"there is {', '.join(self._paths)}, {_RUNBOOK}NAME\n")
        if method not in ("GET", "HEAD"):
            return method, _plain(HTTPStatus.METHOD_NOT_ALLOWED, "GET or HEAD\n")
        if entry is not None:
            return method, (HTTPStatus.OK, _HTML, (entry,))
        if path in ASSETS:
            content_type, body = ASSETS[path]
            return method, (HTTPStatus.OK, content_type, (body,))
        return method, await self._paths[path](head)

    async def _live_page(self, _head: bytes) -> _Answer:
        return HTTPStatus.OK, _HTML, (await self._page.render(await self._live.status()),)

    async def _status(self, _head: bytes) -> _Answer:
        return HTTPStatus.OK, _JSON, await self._live.as_json()

    async def _metrics(self, head: bytes) -> _Answer:
        format_ = preferred(",".join(_values(head, "accept")))
        return HTTPStatus.OK, format_.value, await self._exposition.render(format_)

    async def _healthz(self, _head: bytes) -> _Answer:
        return _plain(HTTPStatus.OK, "ok\n")

    async def _readyz(self, _head: bytes) -> _Answer:
        ready, why = self._health.ready()
        return _plain(HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, why)


def _plain(status: HTTPStatus, text: str) -> _Answer:
    return status, _TEXT, (text.encode(),)


def _values(head: bytes, header: str) -> list[str]:
    """Return the values of all headers of that name, in lower case."""
    lines = (line.decode("latin-1").partition(":") for line in head.split(b"\r\n")[1:])
    return [value.strip(" \t") for name, _colon, value in lines if name.lower() == header]


def _unread(writer: asyncio.StreamWriter) -> int:
    """Return how many bytes wait in the kernel to be read, 0 if the connection is gone."""
    sock = writer.get_extra_info("socket")
    try:
        (count,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(4)))
    except (OSError, ValueError):
        return 0
    return int(count)


def _head(answer: _Answer) -> bytes:
    status, content_type, body = answer
    allow = "Allow: GET, HEAD\r\n" if status is HTTPStatus.METHOD_NOT_ALLOWED else ""
    return (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {sum(map(len, body))}\r\n{allow}{_HEADERS}\r\n"
    ).encode()
