"""Writes log lines to a file descriptor that may be slow, blocked or gone, without delaying the data path."""

import os
import select
from queue import Empty, SimpleQueue
from typing import Final

from spoe_guard import threads

MAX_WAITING_BYTES: Final = 1024 * 1024
_CHUNK_BYTES: Final = 64 * 1024
_PATIENCE_S: Final = 1.0  # how often a full descriptor is tried again


class Sink:
    """Lines are queued by ``write`` and written by one thread. A line that finds the queue full is left out.

    The queue is bounded in bytes, kept as two counts with one writer each, so that neither thread waits for the other.
    ``shared``: other processes write there, too; each write is then no longer than a pipe takes in one piece (PIPE_BUF).

    Raises:
        NoThreadError: the thread cannot be started.
    """

    def __init__(self, descriptor: int, *, max_waiting_bytes: int = MAX_WAITING_BYTES, shared: bool = False) -> None:
        self._descriptor = descriptor
        self._max_waiting_bytes = max_waiting_bytes
        self._chunk_bytes = select.PIPE_BUF if shared else _CHUNK_BYTES
        self._queue: SimpleQueue[bytes | None] = SimpleQueue()
        self._queued_bytes = 0  # written by the event loop only
        self._done_bytes = 0  # written by the thread only
        self._thread = threads.start(self._run, "log")

    def write(self, line: str) -> bool:
        """Queue one line; return False, at once, if there is no room for it. A line end is added."""
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        if self._queued_bytes - self._done_bytes + len(data) > self._max_waiting_bytes:
            return False
        self._queued_bytes += len(data)
        self._queue.put(data)
        return True

    def close(self, timeout_s: float) -> bool:
        """Wait until everything queued is written, at most ``timeout_s`` seconds; return whether it was."""
        self._queue.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        line = self._queue.get()
        while line is not None:
            chunk, size = [line], len(line)
            while (line := self._next()) and size + len(line) <= self._chunk_bytes:
                chunk.append(line)
                size += len(line)
            self._write_all(b"".join(chunk))
            self._done_bytes += size
            if line == b"":
                line = self._queue.get()

    def _next(self) -> bytes | None:
        """Return the next line; None at the end; empty if none waits (a line is never empty: it has its line end)."""
        try:
            return self._queue.get_nowait()
        except Empty:
            return b""

    def _write_all(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # somebody else made it non-blocking
                select.select([], [self._descriptor], [], _PATIENCE_S)
            except OSError:  # nobody reads any more, or the disk is full: a log must not end the guard
                return
