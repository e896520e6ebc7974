"""Finds whole ACKs in bytes that can no longer be cut into frames.

Two goroutines of criteo/haproxy-spoe-go write through one unlocked buffer, so an ACK may lie inside the bytes of a DISCONNECT,
or after a broken one. Only certain finds are taken: a length prefix, an ACK header with only FIN set, the ids of an open NOTIFY,
and a payload that parses to exactly the announced end.

Whoever writes such bytes can put the beginnings of many ACKs into one another, and each is read to its end: all work is spent
from an ``Effort``, and the search ends when that is not enough. After as much of it as one turn may take it pauses.
"""

from typing import Final

from spoe_guard.core.conversation.ledger import Ledger
from spoe_guard.core.incoming.agent.effort import FRAME, Effort
from spoe_guard.wire import actions, walk
from spoe_guard.wire import frame as frames

_ACK_MARK: Final = frames.ACK_HEAD
_LONGEST_IDS: Final = 2 * walk.MAX_VARINT
_CANDIDATE: Final = 16  # what it takes of a turn to look at what may be an ACK


class Salvage:
    """Searches a broken stream for ACKs; keeps at most one frame's worth of bytes, ``max_length`` + 4, and those it was just fed.

    ``spent``: there is more to look at than is worth it, and nothing more is looked for. ``paused``: a turn is over, and there is
    more to look at; fed nothing in the next turn, it goes on.
    """

    __slots__ = (
        "_at", "_before", "_effort", "_held", "_ledger", "_max_length", "_need", "_parts", "_region", "paused", "spent",
    )  # fmt: skip

    def __init__(self, ledger: Ledger, max_length: int, effort: Effort | None = None) -> None:
        self.spent = False
        self.paused = False
        self._effort = effort or Effort()
        self._ledger = ledger
        self._max_length = max_length
        self._parts: list[bytes] = []  # of the next region, which may contain an incomplete ACK
        self._held = 0
        self._need = 0  # bytes that the region must have before there can be more in it
        self._before = 0  # bytes of the stream before the region
        self._region = b""  # what is searched, while it is paused
        self._at = 0  # how far it is searched

    @property
    def held(self) -> int:
        """Bytes kept because they may contain an ACK."""
        return self._held

    def feed(self, data: bytes) -> tuple[list[tuple[frames.Frame, int]], int]:
        """Return the ACKs that ``data`` completes, and how many bytes turned out to belong to no ACK.

        Each ACK comes with its offset from the start of the search.
        """
        if not self.paused:
            self._effort.earn(len(data))
            self._parts.append(data)
            self._held += len(data)
            if self._held < self._need:
                return [], 0
            self._region = b"".join(self._parts)
            self._effort.copied(2 * len(self._region))
            self._need = 0
        return self._search(self._region)

    def _search(self, region: bytes) -> tuple[list[tuple[frames.Frame, int]], int]:
        """Search ``region`` from where the search was paused, as far as that is possible in this turn."""
        self.paused = False
        found: list[tuple[frames.Frame, int]] = []
        seen: set[bytes] = set()  # ids of those
        taken = 0
        begin = at = self._at
        while True:
            mark = region.find(_ACK_MARK, at + frames.LENGTH_BYTES)
            if mark < 0:
                at = max(at, len(region) - len(_ACK_MARK) - frames.LENGTH_BYTES + 1)
                break
            if self._effort.turn_over():
                self.paused = True
                break
            here = mark - frames.LENGTH_BYTES
            self._effort.spend(1)
            self._effort.take_of_turn(_CANDIDATE)
            end = self._whole_ack(region, here, found, seen)
            if end is None:
                at = here
                break
            if end:
                taken += end - here
                self._effort.take_of_turn(FRAME)
            at = end or here + 1
            if self._effort.spent:
                self.spent = True
                at = len(region)
                break
        self._held -= at - begin
        if self.paused:
            self._at = at
        else:
            self._parts = [region[at:]]
            self._before += at
            self._region, self._at = b"", 0
        return found, at - begin - taken

    def _whole_ack(self, region: bytes, at: int, found: list[tuple[frames.Frame, int]], seen: set[bytes]) -> int | None:
        """Take the ACK at ``at``: return its end, 0 if there is none, None if it may be incomplete."""
        length = walk.length_at(region, at)
        if not frames.MIN_LENGTH <= length <= self._max_length:
            return 0
        end = at + frames.LENGTH_BYTES + length
        ids_at = at + frames.IDS_AT
        payload_at = walk.ids_end(region, ids_at, min(end, len(region)))
        if payload_at < 0:
            return 0 if len(region) >= min(end, ids_at + _LONGEST_IDS) else None
        ids = region[ids_at:payload_at]
        if ids not in self._ledger or ids in seen:
            return 0
        if end > len(region):
            self._need = end - at
            return None
        stop = actions.stop(region, payload_at, end)
        self._effort.spend(min((stop - payload_at) // actions.SHORTEST, actions.MOST))
        if stop != end:
            return 0
        whole = frames.parse(region[at:end])
        if whole is None:  # pragma: no cover - ids_end has read both ids
            return 0
        found.append((whole, self._before + at))
        seen.add(ids)
        return end

    def release(self) -> bytes:
        """Return what is kept, and keep nothing."""
        kept = self._region[self._at :] if self.paused else b"".join(self._parts)
        self._parts, self._held, self.paused = [], 0, False
        return kept
