"""Hands HAProxy's connections over when another guard takes the place of this one.

SPOP has no frame for "send no more", so a NOTIFY that crosses AGENT-DISCONNECT is lost. A handover sends HAProxy nothing at all:
the guard that stops no longer reads a connection, waits until its open NOTIFYs are answered, and gives the socket to a guard
that listens at the same address (SCM_RIGHTS, one message each, on a socket in Linux' abstract namespace; as with SO_REUSEPORT
both must run as the same user in the same network namespace).
"""

import asyncio
import contextlib
import hashlib
import os
import secrets
import socket
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Final

from spoe_guard.core.handed import Handed, NotTakenError, decode
from spoe_guard.net.leg import HANDED_OVER
from spoe_guard.net.relay import Relay

MAX_MESSAGE: Final = 65536  # bytes; a session that needs more, including its incomplete frame, ends the ordinary way
MAX_GIVERS: Final = 16  # guards, or workers of one, that may hand over at the same time
ANSWER_S: Final = 1.0  # for the next guard to accept or refuse a session
_POLL_S: Final = 0.001  # between checks whether the open NOTIFYs of a connection are answered
_TAKEN: Final = b"y"
_NOT_TAKEN: Final = b"n"
_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid; unix(7), SO_PEERCRED

Take = Callable[[Handed, socket.socket], None]


class Taker:
    """Calls ``take(handed, sock)`` for each connection that a stopping guard had at ``listen``; NotTakenError refuses it."""

    def __init__(self, listen: str, take: Take) -> None:
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._givers: set[socket.socket] = set()
        self._listening = _packets()
        self._listening.bind(_name(listen) + secrets.token_hex(8))
        self._listening.listen(MAX_GIVERS)
        self._loop.add_reader(self._listening, self._accept)

    def close(self) -> None:
        """Accept no more handovers."""
        for sock in (self._listening, *self._givers):
            self._loop.remove_reader(sock)
            sock.close()
        self._givers.clear()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the giver is gone, or no descriptor is left: it gets no answer
            giver, _ = self._listening.accept()
            if len(self._givers) >= MAX_GIVERS or not _is_ours(giver):
                giver.close()
                return
            giver.setblocking(False)  # noqa: FBT003  the standard library's own signature
            self._givers.add(giver)
            self._loop.add_reader(giver, self._read, giver)

    def _read(self, giver: socket.socket) -> None:
        try:
            message, descriptors, _, _ = socket.recv_fds(giver, MAX_MESSAGE, 1)
            if message:
                giver.send(self._answer(message, [socket.socket(fileno=each) for each in descriptors]))
                return
        except BlockingIOError:
            return
        except OSError:  # the giver is gone, with or without its answer
            pass
        self._givers.discard(giver)
        self._loop.remove_reader(giver)
        giver.close()

    def _answer(self, message: bytes, socks: list[socket.socket]) -> bytes:
        try:
            handed = decode(message)
            sock = socks[0]
            sock.setblocking(False)  # noqa: FBT003  the standard library's own signature
            self._take(handed, sock)
        except (NotTakenError, IndexError):
            for sock in socks:
                sock.close()
            return _NOT_TAKEN
        return _TAKEN


class NextGuard:
    """A guard that takes over. Connections are handed over to it one at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._busy = asyncio.Lock()

    async def takes(self, handed: Handed, descriptor: int) -> bool:
        """Send the connection ``descriptor``, which both guards then share; False if that guard does not take it."""
        message = handed.encode()
        if len(message) > MAX_MESSAGE:
            return False
        async with self._busy:
            try:
                socket.send_fds(self._sock, [message], [descriptor])
                async with asyncio.timeout(ANSWER_S):
                    answer: bytes = await asyncio.get_running_loop().sock_recv(self._sock, 1)
            except (OSError, TimeoutError):
                self._sock.close()  # a later answer would be about this session
                answer = b""
        return answer == _TAKEN

    def close(self) -> None:
        """Hand over nothing more."""
        self._sock.close()


async def hand_over(relay: Relay, guards: Sequence[NextGuard]) -> bool:
    """Give HAProxy's connection to the first of ``guards`` that takes it, as soon as no NOTIFY is open on it.

    False if none takes it, or a NOTIFY stays open for ``disconnect_hold``: then HAProxy is read again.
    """
    until = monotonic() + relay.route.config.disconnect_hold_s
    while relay.begins or (handed := relay.to_hand_over()) is None:
        if monotonic() >= until or relay.haproxy.closing:
            relay.haproxy.resume_reading(HANDED_OVER)
            return False
        if not relay.begins:
            relay.haproxy.pause_reading(HANDED_OVER)
        await asyncio.sleep(_POLL_S)
    relay.haproxy.pause_reading(HANDED_OVER)
    for guard in guards:
        if await guard.takes(handed, relay.haproxy.descriptor):
            relay.handed_over()
            return True
    relay.haproxy.resume_reading(HANDED_OVER)
    return False


def next_guards(listen: str) -> list[NextGuard]:
    """Return the other guards of this user that listen at ``listen`` and accept handovers."""
    lines = Path("/proc/self/net/unix").read_text(errors="replace").splitlines()
    # An accepted connection there has the same name. The leading zero byte is shown as @.
    names = {"\0" + name[1:] for line in lines if (name := line.rpartition(" ")[2]).startswith("@" + _name(listen)[1:])}
    found: list[NextGuard] = []
    for name in sorted(names):
        sock = _packets()
        try:
            sock.connect(name)
        except OSError:  # it is stopping too, or its backlog is full
            sock.close()
            continue
        if _is_ours(sock):
            found.append(NextGuard(sock))
        else:
            sock.close()
    return found


def _name(listen: str) -> str:
    """Return the common prefix of their socket names; hashed, as a path may be as long as a name and hold any character."""
    return f"\0spoe-guard/{hashlib.sha256(listen.encode(errors='surrogateescape')).hexdigest()[:32]}/"


def _packets() -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.setblocking(False)  # noqa: FBT003  the standard library's own signature
    return sock


def _is_ours(sock: socket.socket) -> bool:
    """Whether the other end belongs to the same user."""
    _, user, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return bool(user == os.geteuid())
