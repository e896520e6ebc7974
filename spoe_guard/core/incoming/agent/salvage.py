"""Finds whole ACKs in bytes that can no longer be cut into frames.

Two goroutines of criteo/haproxy-spoe-go write through one unlocked buffer, so an ACK may lie inside the bytes of a DISCONNECT,
or after a broken one. Only certain finds are taken: a length prefix, an ACK header with only FIN set, the ids of an open NOTIFY,
and a payload that parses to exactly the announced end.
"""

from typing import Final

from spoe_guard.core.conversation.ledger import Ledger
from spoe_guard.wire import actions, walk
from spoe_guard.wire import frame as frames

_ACK_MARK: Final = frames.ACK_HEAD


class Salvage:
    """Searches a broken stream for ACKs; keeps at most one frame's worth of bytes, ``max_length`` + 4."""

    __slots__ = ("_before", "_ledger", "_max_length", "_region")

    def __init__(self, ledger: Ledger, max_length: int) -> None:
        self._ledger = ledger
        self._max_length = max_length
        self._region = b""
        self._before = 0  # bytes of the stream before the region

    @property
    def held(self) -> int:
        """Bytes kept because they may contain an incomplete ACK."""
        return len(self._region)

    def feed(self, data: bytes) -> tuple[list[tuple[frames.Frame, int]], int]:
        """Return the ACKs that ``data`` completes, and how many bytes turned out to belong to no ACK.

        Each ACK comes with its offset from the start of the search.
        """
        region = self._region + data
        found: list[tuple[frames.Frame, int]] = []
        taken = 0
        start = keep_from = 0
        while True:
            mark = region.find(_ACK_MARK, start + frames.LENGTH_BYTES)
            if mark < 0:
                keep_from = max(start, len(region) - len(_ACK_MARK) - frames.LENGTH_BYTES + 1)
                break
            at = mark - frames.LENGTH_BYTES
            verdict = self._whole_ack(region, at, found)
            if verdict is None:
                keep_from = at
                break
            if verdict:
                taken += verdict - at
            start = verdict or at + 1
        self._region = region[keep_from:]
        self._before += keep_from
        return found, keep_from - taken

    def _whole_ack(self, region: bytes, at: int, found: list[tuple[frames.Frame, int]]) -> int | None:
        """Take the ACK at ``at``: return its end, 0 if there is none, None if it may be incomplete."""
        length = walk.length_at(region, at)
        if not frames.MIN_LENGTH <= length <= self._max_length:
            return 0
        end = at + frames.LENGTH_BYTES + length
        ids_at = at + frames.IDS_AT
        payload_at = walk.ids_end(region, ids_at, min(end, len(region)))
        if payload_at < 0:
            return None if len(region) < min(end, ids_at + 20) else 0
        ids = region[ids_at:payload_at]
        if ids not in self._ledger or any(ids == earlier.ids for earlier, _ in found):
            return 0
        if end > len(region):
            return None
        if not actions.reads(region, payload_at, end):
            return 0
        whole = frames.parse(region[at:end])
        if whole is None:  # pragma: no cover - ids_end has read both ids
            return 0
        found.append((whole, self._before + at))
        return end

    def release(self) -> bytes:
        """Return what is kept, and keep nothing."""
        region, self._region = self._region, b""
        return region
