"""How much work the bytes of a torn or broken stream are worth.

To put pieces together, or to look for whole frames, the guard tries what the bytes may mean, and whoever writes them can make
that many times more than the bytes. So each byte pays for some work. What agents are known to write needs a fraction of it.
"""

from typing import Final

WORK_A_BYTE: Final = 16  # an item read, a frame or length looked at
WORK_AT_ONCE: Final = 16384  # what may be saved up: some 2 ms
COPIED_AT_ONCE: Final = 64  # bytes that are copied as fast as one item is read


class Effort:
    """The work that one agent link's bytes have paid for and that is not done yet. ``spent``: there was not enough."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = WORK_AT_ONCE

    @property
    def spent(self) -> bool:
        """Whether more was done than was paid for."""
        return self._left < 0

    def earn(self, count: int) -> None:
        """So many bytes came."""
        self._left = min(self._left, WORK_AT_ONCE) + WORK_A_BYTE * count

    def unused(self, count: int) -> None:
        """So many bytes of those that came were not looked at: they will come again."""
        self._left -= WORK_A_BYTE * count

    def spend(self, work: int) -> None:
        """So much was done."""
        self._left -= work

    def copied(self, count: int) -> None:
        """So many bytes were copied."""
        self._left -= 1 + count // COPIED_AT_ONCE
