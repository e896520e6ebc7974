"""The other end of the control socket: `spoe-guard ctl`."""

import contextlib
import grp
import os
import pwd
import socket
from collections.abc import Iterator
from typing import Any, Final

from spoe_guard.control.protocol import MAX_REPLY_BYTES, Message, RefusedError, decode, encode

PATIENCE_S: Final = 10.0  # for a command that takes no time of its own
_READ_BYTES: Final = 65536


class NoAnswerError(Exception):
    """The guard cannot be asked. The text gives the reason and what to do, in one line."""


def ask(path: str, request: Message, patience_s: float = PATIENCE_S) -> Iterator[tuple[bool, Any]]:
    """Yield what the guard at the Unix socket ``path`` says: (False, item) for each item, and (True, answer) at the end.

    ``patience_s``: how long it may say nothing.

    Raises:
        NoAnswerError: there is no guard, or it does not answer.
        RefusedError: it cannot do that.
    """
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(patience_s)
        try:
            sock.connect(path)
            sock.sendall(encode(request))
        except OSError as error:
            raise NoAnswerError(_why_not(path, error)) from None
        yield from _replies(path, sock)


def _replies(path: str, sock: socket.socket) -> Iterator[tuple[bool, Any]]:
    for line in _lines(path, sock):
        reply = decode(line)
        if reply is not None and "item" in reply:
            if reply["item"] is not None:  # otherwise it only asks whether somebody is still there
                yield False, reply["item"]
        elif reply is not None and reply.get("ok") is True:
            yield True, reply.get("answer")
            return
        elif reply is not None and reply.get("ok") is False:
            raise RefusedError(str(reply.get("error")))
        else:
            raise NoAnswerError(f"what answers at unix:{path} is no spoe-guard like this one")
    raise NoAnswerError(f"the guard at unix:{path} closed the connection: it stops, or this end took too long to read")


def _lines(path: str, sock: socket.socket) -> Iterator[bytes]:
    parts: list[bytes] = []
    size = 0
    while True:
        try:
            data = sock.recv(_READ_BYTES)
        except TimeoutError:
            raise NoAnswerError(f"the guard at unix:{path} says nothing for {sock.gettimeout():g} s") from None
        except OSError as error:
            raise NoAnswerError(f"unix:{path}: {error.strerror}") from None
        if not data:
            return
        while b"\n" in data:
            line, data = data.split(b"\n", 1)
            yield b"".join([*parts, line, b"\n"])
            parts, size = [], 0
        parts.append(data)
        size += len(data)
        if size > MAX_REPLY_BYTES:
            raise NoAnswerError(f"what answers at unix:{path} is no spoe-guard: a line of more than {MAX_REPLY_BYTES} bytes")


def _why_not(path: str, error: OSError) -> str:
    where = f"unix:{path}"
    if isinstance(error, FileNotFoundError):
        return f"there is no {where}: set admin.control in the settings of a guard, and say here with --socket where it is"
    if isinstance(error, ConnectionRefusedError):
        return f"nobody listens at {where}: the guard that made it has ended"
    if isinstance(error, PermissionError):
        return f"no permission to connect to {where}{_who_may(path)}"
    if isinstance(error, TimeoutError):
        return f"the guard at {where} does not answer"
    return f"{where} cannot be reached: {error.strerror or error}"


def _who_may(path: str) -> str:
    """Return who may connect, as far as that can be seen."""
    try:
        found = os.stat(path)  # noqa: PTH116  a path that cannot be looked at is no error here
    except OSError:
        return ", or to look into its folder"
    user, group = str(found.st_uid), str(found.st_gid)
    with contextlib.suppress(KeyError):
        user = pwd.getpwuid(found.st_uid).pw_name
    with contextlib.suppress(KeyError):
        group = grp.getgrgid(found.st_gid).gr_name
    return f": only the user {user} and members of the group {group} may"
