"""How much work the bytes of a torn or broken stream are worth, and how much of it is done before others have their turn.

To put pieces together, or to look for whole frames, the guard tries what the bytes may mean, and whoever writes them can make
that many times more than the bytes. So each byte pays for some work. What agents are known to write needs a fraction of it.
"""

from typing import Final

from spoe_guard.core.incoming.walker import FRAMES_A_TURN

WORK_A_BYTE: Final = 16  # an item read, a frame or length looked at
WORK_AT_ONCE: Final = 16384  # what may be saved up: some 2 ms
COPIED_AT_ONCE: Final = 64  # bytes that are copied as fast as one item is read
WORK_A_TURN: Final = 8192  # then others have their turn: some 0.25 ms, compiled
FRAME: Final = WORK_A_TURN // FRAMES_A_TURN  # what it takes of a turn to judge a frame that was found


class Effort:
    """The work that one agent link's bytes have paid for and that is not done yet. ``spent``: there was not enough."""

    __slots__ = ("_left", "_of_turn")

    def __init__(self) -> None:
        self._left = WORK_AT_ONCE
        self._of_turn = WORK_A_TURN

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
        self._of_turn -= work

    def copied(self, count: int) -> None:
        """So many bytes were copied."""
        self.spend(1 + count // COPIED_AT_ONCE)

    def take_of_turn(self, work: int) -> None:
        """Something was done that takes so much of a turn, beside the work that the bytes pay for."""
        self._of_turn -= work

    def turn_over(self) -> bool:
        """Whether as much was done as in one turn. The next turn begins then: whoever asks has to leave the rest to it."""
        if self._of_turn > 0:
            return False
        self._of_turn = WORK_A_TURN
        return True
