"""The fragments of one frame, while they are put together (SPOE.txt 3.2).

The first fragment has the frame's type and no FIN, the others are UNSET frames with the same ids, the last of them has FIN.
"""

from typing import Final

from spoe_guard.wire import frame as frames

# Of one frame, empty ones too. Who cuts a frame only where it does not fit needs a handful.
MOST_FRAGMENTS: Final = 64


class Fragmented:
    """A frame as far as its fragments have come. ``first``: the first of them; ``began``: when it came, monotonic seconds.

    ``held``: bytes of all fragments as received; ``length``: of the whole so far, bytes behind the length prefix.
    """

    __slots__ = ("_parts", "began", "first", "held", "length")

    def __init__(self, first: frames.Frame, now: float) -> None:
        self.first = first
        self.began = now
        self.held = len(first.raw)
        self.length = self.held - frames.LENGTH_BYTES
        self._parts = [first]

    def add(self, fragment: frames.Frame) -> None:
        """Add the next fragment."""
        self.held += len(fragment.raw)
        self.length += len(fragment.raw) - fragment.payload_at
        self._parts.append(fragment)

    @property
    def count(self) -> int:
        """How many fragments have come."""
        return len(self._parts)

    @property
    def raw(self) -> bytes:
        """All fragments as received."""
        return b"".join([part.raw for part in self._parts])

    def joined(self) -> frames.Frame:
        """Return the one frame that they make: type and ids of the first, FIN alone, and all payloads."""
        first, payload = self.first, b"".join([part.payload for part in self._parts])
        raw = frames.with_flags(frames.with_payload(first, payload), frames.FLAG_FIN)
        return frames.Frame(raw, first.type, frames.FLAG_FIN, first.stream_id, first.frame_id, first.payload_at)
