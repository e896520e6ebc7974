"""The open NOTIFYs of an agent link, and what became of the last few of the session.

Keys are the raw bytes of stream-id and frame-id. The varint encoding has one form per value, so the bytes
compare ids in full width (HAProxy itself cuts them to 32 bits) without decoding them.
"""

import enum
import math
from typing import Final

REMEMBERED: Final = 256  # settled NOTIFYs per generation; the last 256 to 512 are remembered

# HAProxy waits for an ACK no longer than its timeout processing, which is well below this: a stream whose NOTIFY was given
# up longer ago has gone on without it, and cannot be left waiting by whatever the session ends with.
LOSS_MATTERS_S: Final = 30.0


@enum.unique
class Fate(enum.Enum):
    """What is known of a NOTIFY."""

    OPEN = "open"
    ANSWERED = "answered"  # its ACK has passed
    GIVEN_UP = "given_up"  # the guard, or HAProxy, no longer waits for its ACK
    UNKNOWN = "unknown"  # never open on this session, or settled too long ago to remember


class Past:
    """What became of the last few NOTIFYs of a session, whichever link had them."""

    __slots__ = ("_lost", "_lost_at", "_older", "_recent")

    def __init__(self) -> None:
        self._lost = 0
        self._lost_at = -math.inf
        self._recent: dict[bytes, Fate] = {}
        self._older: dict[bytes, Fate] = {}

    def remember(self, ids: bytes, fate: Fate) -> None:
        """Keep for a while that the NOTIFY ``ids`` was settled, and how."""
        self._recent[ids] = fate
        if len(self._recent) >= REMEMBERED:
            self._older = self._recent
            self._recent = {}

    def give_up(self, ids: bytes, now: float, *, answered: bool) -> None:
        """Remember that ``ids`` was settled without the agent's ACK. ``answered``: HAProxy has one, or wants none."""
        self.remember(ids, Fate.GIVEN_UP)
        if not answered:
            self._lost = self.lost(now) + 1
            self._lost_at = now

    def lost(self, now: float) -> int:
        """Return how many NOTIFYs got no ACK at all, of those that HAProxy may still be waiting for."""
        return self._lost if now < self._lost_at + LOSS_MATTERS_S else 0

    def fate(self, ids: bytes) -> Fate:
        """Return what is known of ``ids``, which is not open."""
        return self._recent.get(ids) or self._older.get(ids) or Fate.UNKNOWN


class Ledger:
    """The NOTIFYs one agent has in hand: ``open`` by ids, each with the time HAProxy sent it, the oldest first.

    ``mixed``: among them may be some that an agent before had, older than those before them. ``useful``: an ACK has come.
    """

    __slots__ = ("mixed", "open", "past", "useful")

    def __init__(self, past: Past | None = None) -> None:
        self.open: dict[bytes, float] = {}
        self.past = past or Past()
        self.mixed = False
        self.useful = False

    def oldest(self) -> bytes:
        """Return the ids of the NOTIFY that has been open longest; there must be one."""
        return min(self.open, key=self.open.__getitem__) if self.mixed else next(iter(self.open))

    def since(self) -> float:
        """Return since when that one has been open, infinity when none is."""
        return self.open[self.oldest()] if self.open else math.inf
