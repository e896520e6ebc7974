"""Connections beyond ``limits.connections``: each waits for a place, for as long as a refusal is delayed, and is then closed.

If they were closed at once, HAProxy up to 3.0 would connect again at once, thousands of times a second.
"""

import asyncio
import socket
from collections.abc import Callable
from time import monotonic

from spoe_guard.core.conversation.refusal import LONGEST_S, MOST_HEARD, Refusals, Stranger
from spoe_guard.net.loop import SHORTEST_TIMER_S


class _Waiting:
    """One of them, the session ``number``. ``timer`` closes it."""

    __slots__ = ("number", "sock", "stranger", "timer")

    def __init__(self, number: int, sock: socket.socket, stranger: Stranger, timer: asyncio.TimerHandle) -> None:
        self.number = number
        self.sock = sock
        self.stranger = stranger
        self.timer = timer


class Beyond:
    """Those of one route, at most ``most``.

    ``has_room``: whether there is a place for one. ``admit(number, socket, first)`` gives it to the one that has waited for
    longest; ``first``: what it said so far. ``refused(number)``: it was closed, or hung up.
    """

    def __init__(
        self,
        most: int,
        has_room: Callable[[], bool],
        admit: Callable[[int, socket.socket, bytes], None],
        refused: Callable[[int], None],
    ) -> None:
        self._most = most
        self._has_room = has_room
        self._admit = admit
        self._refused = refused
        self._refusals = Refusals(most, quiet_s=LONGEST_S)
        self._waiting: dict[int, _Waiting] = {}  # by number, the oldest first

    def take(self, number: int, sock: socket.socket) -> None:
        """Let a new connection wait; close it if too many do."""
        if len(self._waiting) >= self._most:
            sock.close()
            self._refused(number)
            return
        now = monotonic()
        stranger = Stranger(self._refusals, now)
        timer = self._ring_at(stranger.until, now, number)
        self._waiting[number] = _Waiting(number, sock, stranger, timer)
        asyncio.get_running_loop().add_reader(sock, self._readable, number)

    def fill(self) -> None:
        """Give the places there are to those that wait."""
        while self._waiting and self._has_room():
            waiting = self._leave(next(iter(self._waiting)))
            self._admit(waiting.number, waiting.sock, waiting.stranger.first)

    def close(self) -> None:
        """Close all of them: the guard is stopping."""
        for number in tuple(self._waiting):
            self._close(number)

    def _readable(self, number: int) -> None:
        waiting = self._waiting[number]
        try:
            data = waiting.sock.recv(MOST_HEARD)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:  # it hung up
            self._close(number)
            return
        now = monotonic()
        waiting.stranger.heard(data, now)
        waiting.timer.cancel()
        waiting.timer = self._ring_at(waiting.stranger.until, now, number)

    def _ring_at(self, when: float, now: float, number: int) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(max(when - now, SHORTEST_TIMER_S), self._ring, number)

    def _ring(self, number: int) -> None:
        self.fill()
        waiting, now = self._waiting.get(number), monotonic()
        if waiting is None:
            return
        if waiting.stranger.until > now:  # uvloop's timers may be early
            waiting.timer = self._ring_at(waiting.stranger.until, now, number)
        else:
            self._close(number)

    def _close(self, number: int) -> None:
        self._leave(number).sock.close()
        self._refused(number)

    def _leave(self, number: int) -> _Waiting:
        waiting = self._waiting.pop(number)
        waiting.timer.cancel()
        asyncio.get_running_loop().remove_reader(waiting.sock)
        waiting.stranger.over()
        return waiting
