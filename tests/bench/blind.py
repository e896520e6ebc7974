"""A TCP proxy on uvloop's stream transports that passes on what it reads and looks at nothing: what this event loop itself costs.

``python blind.py HOST:PORT`` listens on a free port, says so, and dials HOST:PORT for each connection. Stands alone: it is run by
the Python of the build that is measured, which has no tests in it.
"""

import asyncio
import sys

import uvloop


class End(asyncio.Protocol):
    """One end of a pair; what comes before the other one is there is kept."""

    def __init__(self, other: "End | None" = None) -> None:
        self.transport: asyncio.Transport | None = None
        self.early = b""
        self.other = other

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        if self.other is None:
            self.other = End(self)
            self.dialling = asyncio.ensure_future(asyncio.get_running_loop().create_connection(lambda: self.other, *AGENT))
        elif self.other.transport.is_closing():
            transport.close()
        else:
            transport.write(self.other.early)

    def data_received(self, data: bytes) -> None:
        if (there := self.other.transport) is not None:
            there.write(data)
        else:
            self.early += data

    def connection_lost(self, error: Exception | None) -> None:
        if (there := self.other.transport) is not None:
            there.close()

    def pause_writing(self) -> None:
        self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        self.other.transport.resume_reading()


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(End, "127.0.0.1", 0, backlog=4096)
    print("listening {}:{}".format(*server.sockets[0].getsockname()), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    AGENT = sys.argv[1].split(":")
    uvloop.run(main())
