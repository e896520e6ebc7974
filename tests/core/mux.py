"""HAProxy 3.1 and later at the other end of a connection: the kernel's queue, the buffer of its SPOP mux, and what ends it.

After ``mux_spop.c`` (spop_recv, spop_process) and ``raw_sock.c`` (raw_sock_to_buf): one read of the mux is one recv(), and a
second one where the buffer wraps.
"""

from collections.abc import Callable
from typing import Final

_LENGTH_BYTES: Final = 4


class Mux:
    """``got``: all that was written to it; ``read``: how many bytes of it recv() returned. ``dead``: a read filled the buffer."""

    def __init__(self, size: int = 16384) -> None:
        self.size = size
        self.got = b""
        self.read = 0
        self.done = 0  # bytes of whole frames: they have left the buffer
        self.dead = False
        self._head = 0  # where in the buffer the first byte that is not done stands

    @property
    def unread(self) -> int:
        return len(self.got) - self.read

    @property
    def load(self) -> int:
        """What one read could have in the buffer at its end: the part of a frame that is there, and all that is unread."""
        return len(self.got) - self.done

    @property
    def frames_under_way(self) -> int:
        """How many frames were written and are not done."""
        at, count = self.done, 0
        while at < len(self.got):
            at += self._size_of_frame(at)
            count += 1
        return count

    def reads(self, most: int | None = None, *, between: Callable[[], object] = lambda: None) -> None:
        """Read what is there, of the first recv() ``most`` bytes, and take every whole frame out of the buffer.

        ``between``: what happens between the two recv() of one read, where the buffer wraps.
        """
        if self.dead:
            return
        room = self.size - (self.read - self.done)
        left = room
        tail = (self._head + self.read - self.done) % self.size
        straight = min(self.size - tail, left) if tail >= self._head else left
        taken = self._recv(min(straight, most or straight))
        left -= taken
        if taken == straight and left:
            between()
            left -= self._recv(left)
        self.dead = left == 0
        if not self.dead:
            self._take_frames()

    def _recv(self, most: int) -> int:
        taken = min(most, self.unread)
        self.read += taken
        return taken

    def _take_frames(self) -> None:
        while self.read - self.done >= _LENGTH_BYTES:
            size = self._size_of_frame(self.done)
            if self.read - self.done < size:
                break
            self.done += size
            self._head = (self._head + size) % self.size
        if self.read == self.done:
            self._head = 0  # an empty buffer is given back

    def _size_of_frame(self, at: int) -> int:
        return _LENGTH_BYTES + int.from_bytes(self.got[at : at + _LENGTH_BYTES], "big")
