"""Who is at the other end of a Unix socket, as the kernel says (SO_PEERCRED, unix(7))."""

import asyncio
import pwd
import socket
import struct
from dataclasses import dataclass
from typing import Final

from spoe_guard.threads import NoThreadError, in_thread

NAME_S: Final = 1.0  # for the name of a user to be found; a directory server may not answer
_UCRED: Final = struct.Struct("iII")  # pid, uid, gid


@dataclass(frozen=True)
class Peer:
    """``user``: the name that belongs to ``uid`` here; empty if it has none. ``pid`` 0: of another pid namespace."""

    pid: int
    uid: int
    user: str


async def peer_of(sock: socket.socket) -> Peer:
    """Return who connected ``sock``. The name is looked up in a thread, for at most ``NAME_S``."""
    pid, uid, _gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    try:
        async with asyncio.timeout(NAME_S):
            return Peer(pid, uid, await in_thread(lambda: pwd.getpwuid(uid).pw_name, "user"))
    except (KeyError, TimeoutError, NoThreadError):
        return Peer(pid, uid, "")
