"""What a connection asks of the kernel for each read and each write."""

import os
from time import monotonic
from typing import Final

READ_BYTES: Final = 65536  # of one read at most; it is also all that one turn of the loop reads of a connection


def receive(fd: int) -> bytes | None:
    """Return at most READ_BYTES that came on ``fd``, b"" behind the last one, None where nothing is there now.

    Raises:
        OSError: the connection broke.
    """
    try:
        return os.read(fd, READ_BYTES)
    except (BlockingIOError, InterruptedError):
        return None


def send(fd: int, data: bytes) -> int:
    """Return how many bytes of ``data`` the kernel took, 0 where it takes none now.

    Raises:
        OSError: the connection broke.
    """
    try:
        return os.write(fd, data)
    except (BlockingIOError, InterruptedError):
        return 0


def now() -> float:
    """Return monotonic seconds."""
    return monotonic()
