"""The private directory in which guards of one user find each other's hand-over sockets.

Only that user may enter it, so nobody else can wait there for connections, offer some, or see who does. An abstract name, which
needs no permission, would be in the reach of every process of the network namespace.
"""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_OTHERS: Final = 0o077
_OVERFLOW: Final = Path("/proc/sys/kernel/overflowuid")
_USUAL_OVERFLOW: Final = 65534
_UNFINISHED: Final = ".new"  # a socket that does not listen yet: nobody may take it for one whose guard is gone


def prepare(path: Path) -> None:
    """Make the directory, unless it is there.

    Raises:
        OSError: it cannot be made or used; ``strerror`` says why.
    """
    with contextlib.suppress(FileExistsError):
        path.mkdir(0o700)
    with opened(path):
        pass


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    """Yield a descriptor of the directory, which is its owner's alone.

    Raises:
        OSError: as for ``prepare``.
    """
    if (user := os.geteuid()) == overflow_user():
        raise OSError(
            errno.EPERM,
            f"the guard runs as user {user}, which in a user namespace every user without a number looks like; give it another",
        )
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if found.st_uid != user:
            raise OSError(errno.EPERM, f"it belongs to user {found.st_uid}, and the guard runs as user {user}")
        if stat.S_IMODE(found.st_mode) & _OTHERS:
            raise OSError(errno.EPERM, f"others may use it: its mode is {stat.S_IMODE(found.st_mode):04o}, expected 0700")
        yield descriptor
    finally:
        os.close(descriptor)


def overflow_user() -> int:
    """Return the uid that the kernel shows where a user has none in this user namespace."""
    try:
        return int(_OVERFLOW.read_bytes())
    except (OSError, ValueError):
        return _USUAL_OVERFLOW


def listen(path: Path, name: str, sock: socket.socket, backlog: int) -> None:
    """Have ``sock`` listen under ``name`` in the directory.

    Raises:
        OSError: as for ``prepare``.
    """
    with opened(path) as directory:
        sock.bind(_within(directory, name + _UNFINISHED))
        sock.listen(backlog)
        os.rename(name + _UNFINISHED, name, src_dir_fd=directory, dst_dir_fd=directory)


def remove(path: Path, name: str) -> None:
    """Remove the file of a socket; one that is gone already is as well."""
    with contextlib.suppress(OSError), opened(path) as directory:
        os.unlink(name, dir_fd=directory)


def names(path: Path, prefix: str) -> list[str]:
    """Return the sockets whose names begin with ``prefix``.

    Raises:
        OSError: as for ``prepare``.
    """
    with opened(path) as directory:
        there = os.listdir(directory)  # noqa: PTH208  pathlib knows no descriptors
    return sorted(name for name in there if name.startswith(prefix) and not name.endswith(_UNFINISHED))


def connect(path: Path, name: str, sock: socket.socket) -> None:
    """Connect ``sock`` to that socket; remove one whose guard is gone.

    Raises:
        OSError: nobody listens there, or there is no room.
    """
    with opened(path) as directory:
        try:
            sock.connect(_within(directory, name))
        except ConnectionRefusedError:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=directory)
            raise


def _within(directory: int, name: str) -> str:
    """Return the path of ``name``, as short as unix(7) wants it, and in the very directory that was looked at."""
    return f"/proc/self/fd/{directory}/{name}"
