"""HAProxy's side of SPOP, driven by hand: one connection to an agent, or to the guard in front of it."""

import asyncio
import contextlib
from types import TracebackType
from typing import Final, Self

from spoe_guard.address import Address
from spoe_guard.lab import frames, streams
from spoe_guard.wire import frame

DEADLINE_S: Final = 20.0


class Engine:
    """One SPOP connection as HAProxy opens it: ``async with await Engine.tcp(port) as engine``.

    ``family`` decides the HAPROXY-HELLO and how NOTIFYs are numbered. Every wait ends with TimeoutError after
    ``deadline_s`` seconds; None: no wait does.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        family: frames.Family = frames.Family.APPLET,
        deadline_s: float | None = DEADLINE_S,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._family = family
        self._deadline_s = deadline_s
        self._notifies = 0

    @classmethod
    async def tcp(cls, port: int, family: frames.Family = frames.Family.APPLET, deadline_s: float = DEADLINE_S) -> Self:
        """Connect to a port of this machine.

        Raises:
            OSError: nothing listens there.
        """
        async with asyncio.timeout(deadline_s):
            return cls(*await asyncio.open_connection(streams.LOCALHOST, port), family, deadline_s)

    @classmethod
    async def unix(cls, path: str, family: frames.Family = frames.Family.APPLET, deadline_s: float = DEADLINE_S) -> Self:
        """Connect to a Unix socket.

        Raises:
            OSError: nothing listens there.
        """
        async with asyncio.timeout(deadline_s):
            return cls(*await asyncio.open_unix_connection(path), family, deadline_s)

    @classmethod
    async def to(
        cls, address: Address, family: frames.Family = frames.Family.APPLET, deadline_s: float | None = DEADLINE_S
    ) -> Self:
        """Connect to ``address``.

        Raises:
            OSError: nothing listens there, or its name does not resolve.
        """
        if address.path is not None:
            opened = asyncio.open_unix_connection(address.path)
        else:
            opened = asyncio.open_connection(address.host, address.port)
        async with asyncio.timeout(deadline_s):
            return cls(*await opened, family, deadline_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def send(self, raw: bytes) -> None:
        """Write ``raw`` unchecked."""
        async with asyncio.timeout(self._deadline_s):
            self._writer.write(raw)
            await self._writer.drain()

    async def read(self) -> frame.Frame | None:
        """Return the next frame, or None when the other side has closed, or reset, the connection."""
        async with asyncio.timeout(self._deadline_s):
            try:
                return await streams.read_frame(self._reader)
            except ConnectionError:
                return None

    async def rest(self) -> list[frame.Frame]:
        """Return the frames up to the end of the stream."""
        got = []
        while each := await self.read():
            got.append(each)
        return got

    async def hello(self, offer: bytes | None = None) -> frame.Frame | None:
        """Send HAPROXY-HELLO (or ``offer`` instead) and return the next frame: AGENT-HELLO in the normal case."""
        await self.send(frames.haproxy_hello(self._family) if offer is None else offer)
        return await self.read()

    async def notify(self, path: bytes) -> frame.Frame:
        """Send a NOTIFY with the argument ``path`` and the ids that ``family`` would use, and return it."""
        sent = self.numbered(frames.check(path))
        await self.send(sent.raw)
        return sent

    def numbered(self, payload: bytes) -> frame.Frame:
        """Return the next NOTIFY, with these messages and the ids that ``family`` would use; it is for the caller to send."""
        self._notifies += 1
        stream_id = self._notifies if self._family is frames.Family.APPLET else 2 * self._notifies - 1
        sent = frame.parse(frame.encode(frame.NOTIFY, stream_id, 1, payload))
        assert sent is not None  # noqa: S101  # encoded just above
        return sent

    async def disconnect(self) -> list[frame.Frame]:
        """Send HAPROXY-DISCONNECT and return the frames up to the end of the stream."""
        await self.send(frames.disconnect(frame.HAPROXY_DISCONNECT))
        return await self.rest()

    def reset(self) -> None:
        """Break the connection with RST, as HAProxy 3.1 and later always does."""
        streams.reset(self._writer)

    async def close(self) -> None:
        """Close without DISCONNECT. Closing twice is allowed."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
