"""Cuts one direction of a stream into frames for a person to read: it repairs nothing, and keeps other bytes as they are."""

from typing import Final

from spoe_guard.counted import counted
from spoe_guard.wire import frame, walk

# A larger number cannot be a frame's length. HAProxy's tune.bufsize, which bounds a frame, is 16384 by default.
MAX_LENGTH: Final = 1 << 20


class Cut:
    """Bytes of the stream from ``offset`` on. ``frame`` None: they are not a frame; ``why`` gives the reason.

    ``offset`` does not count lost bytes. ``delimited``: a length field delimits the bytes, which may be incomplete.
    """

    __slots__ = ("delimited", "frame", "offset", "raw", "why")

    def __init__(self, raw: bytes, offset: int, found: frame.Frame | None, why: str = "", *, delimited: bool = True) -> None:
        self.raw = raw
        self.offset = offset
        self.frame = found
        self.why = why
        self.delimited = delimited


class Cutter:
    """Cuts the bytes of one side. ``offset``: bytes fed so far."""

    def __init__(self) -> None:
        self.offset = 0
        self._tail = bytearray()  # the beginning of a frame
        self._need = frame.LENGTH_BYTES  # how long it has to be to tell more
        self._broken = False

    def feed(self, data: bytes) -> list[Cut]:
        """Return the cuts that ``data`` completes."""
        start = self.offset - len(self._tail)
        self.offset += len(data)
        if self._tail:
            self._tail += data
            if len(self._tail) < self._need:  # to join them each time would take the square of their number
                return []
            data = bytes(self._tail)
            self._tail.clear()
        buf, at = data, 0
        cuts: list[Cut] = []
        while not self._broken and len(buf) - at >= frame.LENGTH_BYTES:
            length = walk.length_at(buf, at)
            if length > MAX_LENGTH:
                self._broken = True
                break
            end = at + frame.LENGTH_BYTES + length
            if end > len(buf):
                self._need = end - at
                break
            cuts.append(_cut(buf[at:end], start + at))
            at = end
        else:
            self._need = frame.LENGTH_BYTES
        if self._broken and at < len(buf):
            cuts.append(Cut(buf[at:], start + at, None, "no frame", delimited=False))
        elif at < len(buf):
            self._tail += memoryview(buf)[at:]
        return cuts

    def finish(self) -> list[Cut]:
        """Return the remaining cuts, at the end of the stream or before a gap."""
        tail, self._broken = bytes(self._tail), False
        self._tail.clear()
        return [Cut(tail, self.offset - len(tail), None, "part of a frame")] if tail else []


def _cut(raw: bytes, offset: int) -> Cut:
    length = len(raw) - frame.LENGTH_BYTES
    if length < frame.MIN_LENGTH:
        return Cut(raw, offset, None, f"a frame of {counted(length, 'byte')}, fewer than {frame.MIN_LENGTH}")
    found = frame.parse(raw)
    return Cut(raw, offset, found, "" if found else "a frame whose ids cannot be read")


def first_frame(data: bytes) -> int:
    """Return the offset of the first frame in ``data``, which may begin inside a frame; its length if there is none."""
    in_vain: set[int] = set()
    within = min(len(data), MAX_LENGTH + frame.LENGTH_BYTES)  # no frame is longer
    return next((at for at in range(within) if _may_begin(data, at, in_vain)), len(data))


def _may_begin(data: bytes, at: int, in_vain: set[int]) -> bool:
    """Whether ``data`` from ``at`` to its end consists of frames of known types; the last one may be incomplete.

    ``in_vain``: offsets from which it does not. Without them crafted bytes would be walked from each offset to their end.
    """
    seen: list[int] = []
    while at < len(data):
        if len(data) - at < frame.IDS_AT:
            return len(seen) > 0
        length = walk.length_at(data, at)
        known = data[at + 4] in frame.TYPE_NAMES and data[at + 5 : at + 8] == bytes(3)  # only two bits of the flags are defined
        if not known or not frame.MIN_LENGTH <= length <= MAX_LENGTH or at in in_vain:
            in_vain.update(seen)
            return False
        seen.append(at)
        at += frame.LENGTH_BYTES + length
    return len(seen) > 0
