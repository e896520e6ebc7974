"""Reads behind each other in one piece of memory, each with a head in front: written at once, looked at later or never.

A read that is kept as an object of its own is cold when it goes, which costs more than to copy it. Compiled by Cython, see the
.pxd: a copy and a few stores.
"""

from typing import Final

from spoe_guard.capture.record import memory

HEAD_BYTES: Final = 24  # in front of each read
_HEAD_BYTES = HEAD_BYTES  # in C, see the .pxd
_HIGHEST = 0x7FFFFFFF  # number of a link that fits there; the next is 0 again


class Tape:
    """Has memory for ``room`` bytes, heads included, and takes twice as much when that is not enough.

    ``used``: how many are written; there the next read goes.
    """

    def __init__(self, room: int) -> None:
        self._bytes = bytearray(room)
        self.used = 0

    @property
    def room(self) -> int:
        """How many bytes there is memory for."""
        return len(self._bytes)

    def put(self, now: float, link: int, mark: int, data: bytes) -> None:
        """Keep a read of ``link`` behind the others; ``mark``: 64 bits, which mean what the caller wants."""
        end = self.used + _HEAD_BYTES + len(data)
        if end > len(self._bytes):
            self._bytes.extend(bytes(max(end, 2 * len(self._bytes)) - len(self._bytes)))
        memory.write(self._bytes, self.used, now, link & _HIGHEST, mark, data)
        self.used = end

    def read(self, at: int) -> tuple[float, int, int, bytes]:
        """Return what was ``put`` at ``at``.

        Raises:
            IndexError: there is no read.
        """
        if at < 0 or at + HEAD_BYTES > self.used:
            raise IndexError(at)
        now, mark, size, link = memory.HEAD.unpack_from(self._bytes, at)
        begin = at + HEAD_BYTES
        if begin + size > self.used:
            raise IndexError(at)
        return now, link, mark, bytes(self._bytes[begin : begin + size])

    def forget(self) -> None:
        """Begin again, in the same memory."""
        self.used = 0
