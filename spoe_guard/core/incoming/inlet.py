"""One side's incoming bytes before they become frames: the incomplete tail, and the bytes to skip."""

import math
from typing import Final

from spoe_guard.wire import frame as frames
from spoe_guard.wire import walk

# Judging a frame that is too long needs its type, flags and ids: 4 + 1 + 4 + two varints of 10 bytes.
HEADER_BYTES: Final = 29


class Inlet:
    """Keeps what cannot be judged yet, at most ``max-frame-size`` + 4 bytes.

    ``offset`` counts the bytes consumed so far; ``since`` is when the tail began, infinity if there is none.
    """

    __slots__ = ("_need", "_skip", "_tail", "offset", "since")

    def __init__(self) -> None:
        self.offset = 0
        self.since = math.inf
        self._tail = bytearray()
        self._need = 0
        self._skip = 0

    @property
    def held(self) -> int:
        """Bytes kept."""
        return len(self._tail)

    @property
    def inside_frame(self) -> bool:
        """Whether the stream is inside a frame."""
        return bool(self._tail) or self._skip > 0

    def take(self, data: bytes) -> bytes:
        """Return the bytes to walk now: the tail followed by ``data``, or nothing while that is too little."""
        if not self._tail:
            return data
        self._tail += data
        if len(self._tail) < self._need:
            return b""
        return self.release()

    def keep(self, rest: bytes, need: int, now: float) -> None:
        """Keep ``rest`` until at least ``need`` bytes are there. The frame timeout counts from its first byte."""
        self._tail += rest
        self._need = need
        if self.since == math.inf:
            self.since = now

    def release(self) -> bytes:
        """Return what is kept, and keep nothing."""
        tail = bytes(self._tail)
        self._tail = bytearray()
        return tail

    def peek(self) -> bytes:
        """Return what is kept, without removing it."""
        return bytes(self._tail)

    def consumed(self, count: int) -> None:
        """Note that ``count`` bytes were handled; the timeout of the next frame has not begun."""
        self.offset += count
        self.since = math.inf

    def rewind(self, count: int) -> None:
        """Note that the last ``count`` bytes will be handled once more."""
        self.offset -= count

    def began(self, since: float) -> None:
        """Let the frame timeout count from ``since``."""
        self.since = since

    def skip(self, count: int, since: float) -> None:
        """Skip the next ``count`` bytes unread. The frame timeout still counts from ``since``, the frame's first byte."""
        self._skip = count
        if count:
            self.since = since

    def skipped(self, available: int) -> int:
        """Return how many of ``available`` bytes belong to the skipped ones, and count them off."""
        count = min(self._skip, available)
        self._skip -= count
        self.offset += count
        if count and not self._skip:
            self.since = math.inf
        return count


def bytes_needed(buf: bytes, pos: int, end: int, max_length: int, skippable: int) -> int:
    """Return how many bytes from ``pos`` the frame there needs before it can be judged, at least 1.

    A frame longer than ``max_length`` is judged by its header, one also longer than ``skippable`` by its length alone; neither
    waits for the body.
    """
    if end - pos < frames.LENGTH_BYTES:
        return frames.LENGTH_BYTES
    length = walk.length_at(buf, pos)
    if length < frames.MIN_LENGTH or length > max(max_length, skippable):
        return frames.LENGTH_BYTES
    return HEADER_BYTES if length > max_length else frames.LENGTH_BYTES + length
