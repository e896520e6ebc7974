"""The open NOTIFYs of one session, and what became of the last few.

Keys are the raw bytes of stream-id and frame-id. The varint encoding has one form per value, so the bytes
compare ids in full width (HAProxy itself cuts them to 32 bits) without decoding them.
"""

import enum
from typing import Final

REMEMBERED: Final = 256  # settled NOTIFYs per generation; the last 256 to 512 are remembered


@enum.unique
class Fate(enum.Enum):
    """What is known of a NOTIFY."""

    OPEN = "open"
    ANSWERED = "answered"  # its ACK has passed
    GIVEN_UP = "given_up"  # the guard, or HAProxy, no longer waits for its ACK
    UNKNOWN = "unknown"  # never open on this session, or settled too long ago to remember


class Ledger:
    """Open NOTIFYs by ids, oldest first, each with the time it was passed on.

    ``lost`` counts the NOTIFYs HAProxy sent and never got an ACK for.
    """

    __slots__ = ("_older", "_recent", "lost", "open")

    def __init__(self) -> None:
        self.open: dict[bytes, float] = {}
        self.lost = 0
        self._recent: dict[bytes, Fate] = {}
        self._older: dict[bytes, Fate] = {}

    def remember(self, ids: bytes, fate: Fate) -> None:
        """Keep for a while that the NOTIFY ``ids`` was settled, and how."""
        self._recent[ids] = fate
        if len(self._recent) >= REMEMBERED:
            self._older = self._recent
            self._recent = {}

    def give_up(self, ids: bytes, *, answered: bool) -> None:
        """Settle ``ids`` without the agent's ACK. ``answered``: HAProxy was given one all the same."""
        self.open.pop(ids, None)
        self.remember(ids, Fate.GIVEN_UP)
        if not answered:
            self.lost += 1

    def fate(self, ids: bytes) -> Fate:
        """Return what is known of ``ids``."""
        if ids in self.open:
            return Fate.OPEN
        return self._recent.get(ids) or self._older.get(ids) or Fate.UNKNOWN

    def oldest(self) -> bytes:
        """Return the ids of the NOTIFY that has been open longest; there must be one."""
        return next(iter(self.open))
