"""An agent that says nothing, or says it late: ``python -m tests.integration.silence.quiet``, to be stopped and killed.

It answers each NOTIFY with its path in ``verdict``, but for these paths, by their first part:

    /close     closes the connection
    /reset     resets it
    /goodbye   says DISCONNECT and leaves it open
    /mute      says nothing more on this connection, and goes on reading

It prints ``listening HOST:PORT``, then ``accepted MONOTONIC`` of each connection and ``notify MONOTONIC PATH`` of each NOTIFY.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from types import TracebackType
from typing import Final, Self

from spoe_guard.lab import frames, streams
from spoe_guard.lab.agent import echo
from spoe_guard.wire import frame, kv
from tests.integration.haproxy import wait_until
from tests.peers import ROOT

START_S: Final = 10.0
NEVER_S: Final = 3600.0
BACKLOG: Final = 4096


class _Connection:
    def __init__(self, writer: asyncio.StreamWriter, hello_s: float, answer_s: float) -> None:
        self._writer = writer
        self._hello_s, self._answer_s = hello_s, answer_s
        self._mute = False

    async def converse(self, reader: asyncio.StreamReader) -> None:
        """Serve it to its end."""
        while got := await streams.read_frame(reader):
            if got.type == frame.HAPROXY_HELLO:
                self._later(self._hello_s, _agent_hello(got))
            elif got.type == frame.HAPROXY_DISCONNECT:
                self._writer.write(frames.disconnect(frame.AGENT_DISCONNECT))
                return
            elif got.type == frame.NOTIFY:
                path = frames.first_argument(got)
                _print(b"notify %f %b" % (time.monotonic(), path))
                match path.split(b"/")[1]:
                    case b"close":
                        return
                    case b"reset":
                        streams.reset(self._writer)
                        return
                    case b"goodbye":
                        self._writer.write(frames.disconnect(frame.AGENT_DISCONNECT))
                        self._mute = True
                    case b"mute":
                        self._mute = True
                    case _:
                        self._later(self._answer_s, frames.ack(got, echo(got)))

    def _later(self, seconds: float, text: bytes) -> None:
        if seconds:
            asyncio.get_running_loop().call_later(seconds, self._write, text)
        else:
            self._write(text)

    def _write(self, text: bytes) -> None:
        if not self._mute and not self._writer.is_closing():
            self._writer.write(text)


def _agent_hello(offer: frame.Frame) -> bytes:
    """Take the size that is offered, and pipelining where it is."""
    pairs = {pair.name: pair.value for pair in kv.parse(offer.raw, offer.payload_at, len(offer.raw))[0]}
    size, offered = pairs[b"max-frame-size"], pairs[b"capabilities"]
    assert isinstance(size, int)
    assert isinstance(offered, bytes)
    return frames.agent_hello(size, b"pipelining" if b"pipelining" in offered else b"")


async def _serve(port: int, hello_s: float, answer_s: float) -> None:
    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _print(b"accepted %f" % time.monotonic())
        with contextlib.suppress(ConnectionError):
            await _Connection(writer, hello_s, answer_s).converse(reader)
        writer.close()

    server = await asyncio.start_server(accepted, streams.LOCALHOST, port, backlog=BACKLOG, reuse_port=True)
    _print(f"listening {streams.LOCALHOST}:{server.sockets[0].getsockname()[1]}".encode())
    await asyncio.Event().wait()


def _print(line: bytes) -> None:
    """Unbuffered, so that a line survives a SIGKILL right after it."""
    os.write(1, line + b"\n")


class QuietAgent:
    """The program at one address, which stays its own while nobody listens there: connections to it are refused then.

    ``hello_s`` and ``answer_s``: how long HELLO and an answer take. ``up`` False: it does not run at first.
    """

    def __init__(self, *, hello_s: float = 0.0, answer_s: float = 0.0, up: bool = True) -> None:
        self._how = ["--hello-after", str(hello_s), "--answer-after", str(answer_s)]
        # Bound and not listening: the kernel hands the port to nobody, not to a connection to it either.
        self._bound = socket.socket()
        self._bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._bound.bind((streams.LOCALHOST, 0))
        self.port: int = self._bound.getsockname()[1]
        self.address = f"{streams.LOCALHOST}:{self.port}"
        self._lines: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        if up:
            self.start()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        command = [sys.executable, "-m", "tests.integration.silence.quiet", "--port", str(self.port), *self._how]
        said = len(self._lines)
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        self._reader = threading.Thread(target=self._read, args=[self._process])
        self._reader.start()
        wait_until(lambda: any(line.startswith("listening") for line in self._lines[said:]), "the agent listens", START_S)

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            self._lines.extend(process.stdout)

    def kill(self) -> None:
        """End it by SIGKILL. All that it has printed has been read then."""
        if self._process is not None:
            assert self._reader is not None
            self._process.kill()
            self._process.wait(START_S)
            self._reader.join(START_S)
            self._process = None

    def stand_still(self) -> None:
        """SIGSTOP; its sockets stay, and the kernel goes on accepting for it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def connections(self) -> int:
        """Return how many it has accepted."""
        return sum(line.startswith("accepted") for line in self._lines.copy())

    def notifies(self) -> list[tuple[str, float]]:
        """Return the path of each NOTIFY that it has read, and when, in monotonic seconds."""
        found = [line.split() for line in self._lines.copy() if line.startswith("notify")]
        return [(path, float(at)) for _, at, path in found]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.kill()
        self._bound.close()


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--hello-after", type=float, required=True, metavar="SECONDS")
    parser.add_argument("--answer-after", type=float, required=True, metavar="SECONDS")
    args = parser.parse_args()
    asyncio.run(_serve(args.port, args.hello_after, args.answer_after))


if __name__ == "__main__":
    main()
