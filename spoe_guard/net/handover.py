"""Hands HAProxy's connections over when another guard takes the place of this one.

SPOP has no frame for "send no more", so a NOTIFY that crosses AGENT-DISCONNECT is lost. A handover sends HAProxy nothing at all:
the guard that stops no longer reads a connection, waits until its open NOTIFYs are answered, and gives the socket to a guard
that listens at the same address (SCM_RIGHTS, one message each, on a socket in a directory that only their user may enter; each
side asks the kernel who the other is. As with SO_REUSEPORT both must run as the same user in the same network namespace).
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
from spoe_guard.net import handover_dir, own_limits
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
    """Calls ``take(handed, sock)`` for each connection that a stopping guard had at ``listen``; NotTakenError refuses it.

    ``directory``: where guards find each other. ``failed(why)`` is called, at most ten times a second, while a guard that stops
    waits because this one is short of something.

    Raises:
        OSError: the directory cannot be used.
    """

    def __init__(self, directory: Path, listen: str, take: Take, failed: Callable[[str], None] = lambda _why: None) -> None:
        self._directory = directory
        self._name = _prefix(listen) + secrets.token_hex(8)
        self._take = take
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._givers: set[socket.socket] = set()
        self._listening = _packets()
        try:
            handover_dir.listen(directory, self._name, self._listening, MAX_GIVERS)
        except OSError:
            self._listening.close()
            raise
        self._listen()

    def close(self) -> None:
        """Accept no more handovers."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        handover_dir.remove(self._directory, self._name)
        for sock in (self._listening, *self._givers):
            self._loop.remove_reader(sock)
            sock.close()
        self._givers.clear()

    def _listen(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        try:
            giver, _ = self._listening.accept()
        except OSError as error:  # without room the giver waits; otherwise it is gone
            if error.errno in own_limits.NO_ROOM:
                self._loop.remove_reader(self._listening)
                self._pause = self._loop.call_later(own_limits.PAUSE_S, self._listen)
                self._failed(own_limits.shortage(error.errno))
            return
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


def next_guards(directory: Path, listen: str) -> list[NextGuard]:
    """Return the other guards of this user that listen at ``listen`` and accept handovers."""
    found: list[NextGuard] = []
    with contextlib.suppress(OSError):  # without the directory, or a descriptor, there are none that can be found
        for name in handover_dir.names(directory, _prefix(listen)):
            sock = _packets()
            try:
                handover_dir.connect(directory, name, sock)
            except OSError:  # it is stopping too, or its backlog is full
                sock.close()
                continue
            if _is_ours(sock):
                found.append(NextGuard(sock))
            else:
                sock.close()
    return found


def _prefix(listen: str) -> str:
    """Return what the names of their sockets begin with; hashed, as a name may not hold every character of an address."""
    return f"{hashlib.sha256(listen.encode(errors='surrogateescape')).hexdigest()[:32]}."


def _packets() -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.setblocking(False)  # noqa: FBT003  the standard library's own signature
    return sock


def _is_ours(sock: socket.socket) -> bool:
    """Whether the other end belongs to the same user, and not to one whose number only stands for an unknown one."""
    _, user, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return bool(user == os.geteuid() != handover_dir.overflow_user())
