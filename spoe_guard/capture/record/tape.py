"""Consecutive reads in one buffer, each after a head. They are written at once, and looked at later or never.

A read that is kept as its own object is cold in the cache when it is freed, which costs more than to copy it.
Compiled by Cython, see the .pxd: a copy and a few stores.
"""

from typing import Final

from spoe_guard.capture.record import memory

HEAD_BYTES: Final = 24  # before each read
_HEAD_BYTES = HEAD_BYTES  # in C, see the .pxd
_HIGHEST = 0x7FFFFFFF  # the highest link number that fits; the next one wraps to 0


class Tape:
    """A buffer of ``room`` bytes, heads included, that doubles when it is full.

    ``used``: bytes written; the next read goes there.
    """

    def __init__(self, room: int) -> None:
        self._bytes = bytearray(room)
        self.used = 0

    @property
    def room(self) -> int:
        """The size of the buffer in bytes."""
        return len(self._bytes)

    def put(self, now: float, link_id: int, mark: int, data: bytes) -> None:
        """Append a read of ``link_id``; ``mark``: 64 bits with a meaning of the caller's choice."""
        end = self.used + _HEAD_BYTES + len(data)
        if end > len(self._bytes):
            self._bytes.extend(bytes(max(end, 2 * len(self._bytes)) - len(self._bytes)))
        memory.write(self._bytes, self.used, now, link_id & _HIGHEST, mark, data)
        self.used = end

    def read(self, at: int) -> tuple[float, int, int, bytes]:
        """Return the read at position ``at``: now, link, mark, data.

        Raises:
            IndexError: no read begins there.
        """
        if at < 0 or at + HEAD_BYTES > self.used:
            raise IndexError(at)
        now, mark, size, link_id = memory.HEAD.unpack_from(self._bytes, at)
        begin = at + HEAD_BYTES
        if begin + size > self.used:
            raise IndexError(at)
        return now, link_id, mark, bytes(self._bytes[begin : begin + size])

    def forget(self) -> None:
        """Empty the tape, and keep its memory."""
        self.used = 0
