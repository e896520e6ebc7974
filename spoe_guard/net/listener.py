"""Accepts connections on one listening socket, the same way on both event loops.

The loops' own servers handle missing file descriptors badly: uvloop accepts and drops every connection (an old HAProxy then
reconnects thousands of times a second), asyncio logs a traceback. Here the connections wait in the kernel's queue until there is
room.

Accepting stops before the last descriptors are taken: the sessions that are served need some for their agent links, and metrics,
captures and the resolver a few as well.
"""

import asyncio
import errno
import socket
from collections.abc import Callable
from enum import Enum
from typing import Final

from spoe_guard.net import own_limits
from spoe_guard.net.bind import BACKLOG, Bound, Turn
from spoe_guard.net.dial import name
from spoe_guard.net.resolver import Place

_BATCH: Final = 64  # most connections accepted before the loop runs other callbacks
# A process accepts one connection at a time, then pauses, on a socket that all processes share: all are woken, and otherwise the
# first would accept all of them.
_TURN_S: Final = 0.001
# How long another process has to accept what is queued on its socket; after that it is being restarted, or hangs.
_PATIENCE_S: Final = 0.05


class Pause(Enum):
    """Why a listener does not listen for a while."""

    AWAY = "away"  # the agent, with ``health: listen``
    DRAINED = "drained"  # as the operator wishes


class Listener:
    """Calls ``accepted(socket, peer)`` for each connection until closed. ``peer`` is in readable form.

    ``listening``: not closed, and not paused. ``bound``: the socket; ``route``: the name of its route; ``given``: see ``Bound``.

    ``failed(why)`` is called, at most ten times a second, while connections wait because the guard is short of something.
    ``owed`` returns how many descriptors the sessions that have been accepted need for their agent links.
    """

    def __init__(
        self,
        bound: Bound,
        accepted: Callable[[socket.socket, str], None],
        failed: Callable[[str], None] = lambda _why: None,
        owed: Callable[[], int] = lambda: 0,
    ) -> None:
        self.bound = bound
        self._accepted = accepted
        self._failed = failed
        self._owed = owed
        self._tight = False  # the last connection took one of the last descriptors
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self.route = bound.route.name
        self.given = bound.given
        self._why: set[Pause] = set()
        self.listening = True
        self._listen()

    def close(self) -> None:
        """Accept what the kernel has queued, which would otherwise be reset, and then no more."""
        queued = self._stop()  # close before serving any of them: connections that arrive in between would be lost
        self.bound.close()
        for sock, peer in queued:
            self._take(sock, peer)

    def release(self) -> Bound:
        """Accept no more, and return the socket for another listener, with what the kernel has queued. Not to be closed then."""
        self._watch_no_more()
        self.listening = False
        return self.bound

    def pause(self, why: Pause) -> None:
        """Do the same, but keep the address: who connects to it is refused until ``resume``, for each reason.

        Raises:
            OSError: the directory of a Unix socket cannot be written to; it listens as before.
        """
        if not self._why:
            by_name = self.bound.route.listen.path is not None
            if by_name:
                self.bound.refuse()  # first: who comes in between would wait in the queue
            queued = self._stop()
            if not by_name:  # afterwards: the queue is lost with it
                self.bound.refuse()
            for sock, peer in queued:
                self._take(sock, peer)
        self._why.add(why)

    def resume(self, why: Pause) -> None:
        """Listen again, if it is paused for no other reason.

        Raises:
            OSError: somebody else took the address, see ``Bound.admit``; it stays paused.
        """
        if self._why == {why}:
            self.bound.admit()
            self.listening = True
            self._listen()
        self._why.discard(why)

    def _stop(self) -> list[tuple[socket.socket, Place]]:
        """Stop watching the socket, and return what the kernel has queued."""
        self._watch_no_more()
        queued = self._queued() if self.listening else []
        self.listening = False
        return queued

    def _watch_no_more(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        elif self.listening:
            self._loop.remove_reader(self.bound.sock)

    def _listen(self) -> None:
        self._pause = None
        self._loop.add_reader(self.bound.sock, self._accept if self.bound.turn is not Turn.LAST else self._leave)

    def _leave(self) -> None:
        self._loop.remove_reader(self.bound.sock)
        self._pause = self._loop.call_later(_PATIENCE_S, self._accept_what_is_left)

    def _accept_what_is_left(self) -> None:
        self._listen()
        self._accept()

    def _accept(self) -> None:
        for _ in range(1 if self.bound.turn is Turn.ALL else _BATCH):
            if self._tight and (code := own_limits.lack(self._spare())):
                self._fail(code)
                return
            try:
                sock, peer = self.bound.sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in own_limits.NO_ROOM:
                    self._fail(error.errno)
                    return
                if error.errno == errno.EINVAL:  # another process has stopped to listen on it; this one will be told
                    self._wait(_TURN_S)
                    return
                continue  # that connection broke while it was queued; accept(2) says to continue
            descriptor = sock.fileno()
            self._take(sock, peer)
            self._tight = not own_limits.leaves(descriptor, self._spare())
            if self.bound.turn is Turn.ALL:
                self._wait(_TURN_S)
            if self._tight:  # whether another connection waits is known when the loop calls again
                return

    def _spare(self) -> int:
        return own_limits.ACCEPT_RESERVES * own_limits.reserve() + self._owed()

    def _fail(self, code: int | None) -> None:
        self._failed(own_limits.shortage(code))
        self._wait(own_limits.PAUSE_S)

    def _wait(self, seconds: float) -> None:
        self._loop.remove_reader(self.bound.sock)
        self._pause = self._loop.call_later(seconds, self._listen)

    def _queued(self) -> list[tuple[socket.socket, Place]]:
        found: list[tuple[socket.socket, Place]] = []
        for _ in range(BACKLOG):
            try:
                found.append(self.bound.sock.accept())
            except OSError as error:
                # EINVAL: another process has stopped to listen on the socket that both have
                if isinstance(error, BlockingIOError) or error.errno in (*own_limits.NO_ROOM, errno.EINVAL):
                    break
        return found

    def _take(self, sock: socket.socket, peer: Place) -> None:
        sock.setblocking(False)  # noqa: FBT003  the standard library's own signature
        self._accepted(sock, peer_name(sock, peer))


def peer_name(sock: socket.socket, peer: Place | None = None) -> str:
    """Return the peer's address in readable form; ``peer``: from accept(2)."""
    if sock.family == socket.AF_UNIX:
        return "unix"
    try:
        return name(peer or sock.getpeername())
    except OSError:  # gone
        return "unknown"
