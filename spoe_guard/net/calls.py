"""The system calls of a connection for each read and each write."""

import fcntl
import os
import sys
import termios
from time import monotonic
from typing import Final

READ_BYTES: Final = 65536  # most bytes of one read, and of all that one turn of the loop reads from a connection


def receive(fd: int) -> bytes | None:
    """Return at most READ_BYTES received on ``fd``, b"" at the end of the stream, None if nothing has arrived.

    Raises:
        OSError: the connection broke.
    """
    try:
        return os.read(fd, READ_BYTES)
    except (BlockingIOError, InterruptedError):
        return None


def send(fd: int, data: bytes) -> int:
    """Return how many bytes of ``data`` the kernel took, 0 if it takes none now.

    Raises:
        OSError: the connection broke.
    """
    try:
        return os.write(fd, data)
    except (BlockingIOError, InterruptedError):
        return 0


def unacknowledged(fd: int) -> int:
    """Return the bytes sent on ``fd`` that the peer did not acknowledge; of a Unix socket, the memory of those it did not read.

    Raises:
        OSError: the kernel does not tell.
    """
    count = bytearray(4)
    fcntl.ioctl(fd, termios.TIOCOUTQ, count)
    return int.from_bytes(count, sys.byteorder)


def now() -> float:
    """Return monotonic seconds."""
    return monotonic()
