"""Copies of the NOTIFYs an agent has in hand, for the case that its link is lost (``redispatch: unanswered``)."""

from collections.abc import Collection
from typing import Final

_SPARE: Final = 64  # adds between two looks for what was settled


class Kept:
    """NOTIFYs by ids, at most ``most_bytes`` of them; what does not fit is not kept, and counts as unanswered then.

    Settling a NOTIFY does not come by here: copies of what is settled go out now and then.
    """

    __slots__ = ("_copies", "_look_in", "_most_bytes", "bytes")

    def __init__(self, most_bytes: int) -> None:
        self._copies: dict[bytes, bytes] = {}
        self._most_bytes = most_bytes
        self._look_in = _SPARE
        self.bytes = 0

    def add(self, ids: bytes, raw: bytes, opened: Collection[bytes]) -> None:
        """Keep ``raw``, the NOTIFY ``ids``, of which ``opened`` are open on the same link."""
        self._look_in -= 1
        if self._look_in <= 0:
            self._copies = {known: copy for known, copy in self._copies.items() if known in opened}
            self.bytes = sum(map(len, self._copies.values()))
            self._look_in = max(_SPARE, len(self._copies))  # so that it costs no more than a constant per NOTIFY
        self.bytes -= len(self._copies.pop(ids, b""))
        if self.bytes + len(raw) <= self._most_bytes:
            self._copies[ids] = raw
            self.bytes += len(raw)
        else:
            self._look_in = min(self._look_in, _SPARE)

    def get(self, ids: bytes) -> bytes | None:
        """Return the NOTIFY ``ids``, None where it was not kept."""
        return self._copies.get(ids)
