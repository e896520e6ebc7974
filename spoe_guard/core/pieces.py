"""Putting together again frames that an agent wrote in pieces, from several threads at once, without a lock.

dropmorepackets/haproxy-go writes a frame as length | header+payload (up to 0.1.0) or length | header | payload
(0.1.1); criteo/haproxy-spoe-go as length+header | payload. Each write reaches the wire whole, and a frame's own pieces
keep their order; between them lie those of other frames. The first byte of a piece tells its kind: a length begins with
0, a header with a frame type, an ACK's payload with an action, a DISCONNECT's with the length of a key.

Where two payloads could be swapped nothing is guessed. Both frames are lost, but for one that came in one piece:
it is taken when the other payload turns out to be the same.
"""

from typing import Final

from spoe_guard.wire import actions, frame, kv, varint

# Lengths that may wait for their pieces at a time: one per thread of the agent that writes.
MOST_WAITING: Final = 256

_MORE: Final = -1  # the piece at hand is not all there, or what comes next decides what it is
_NONE: Final = -2  # no piece of any frame
_FLAGS: Final = bytes((0, 0, 0, frame.FLAG_FIN))
_OPENINGS: Final = tuple(  # how an action may begin: type, number of arguments, scope
    bytes((*kind, scope)) for kind in ((actions.SET_VAR, 3), (actions.UNSET_VAR, 2)) for scope in range(actions.SCOPE_RES + 1)
)
_HEADS: Final = frozenset((frame.ACK, frame.AGENT_DISCONNECT))


class _Head:
    """A header that came without its payload. ``lost``: its payload may have gone to another frame."""

    __slots__ = ("lost", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.lost = False


class _Doubt:
    """Frames in one piece that came while a header of before waited for as long a payload, which may be theirs."""

    __slots__ = ("payload", "raws", "same")

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.raws: list[bytes] = []
        self.same = True


class Pieces:
    """Takes pieces, gives frames, and keeps what waits: lengths, headers, and at most one piece that is not all there."""

    def __init__(self, max_length: int) -> None:
        self._max_length = max_length
        self.begun = 0  # frames whose length was taken
        self._lengths: list[int] = []
        self._heads: list[_Head] = []
        self._rest = b""
        self._in_front = 0  # the length that the piece in front was
        self._astray = False  # a payload had several owners: until all is settled nobody knows who waits for what
        self._doubts: dict[tuple[int, int], _Doubt] = {}  # by type and size of the payload
        self._found: list[bytes] = []
        self._lost = 0  # bytes of frames whose payloads could be swapped

    @property
    def held(self) -> int:
        """Bytes taken that are neither in a frame given out nor lost."""
        waiting = frame.LENGTH_BYTES * len(self._lengths) + sum(len(head.raw) for head in self._heads)
        doubted = sum(len(raw) for doubt in self._doubts.values() for raw in doubt.raws)
        return len(self._rest) + waiting + doubted

    @property
    def settled(self) -> bool:
        """Whether every frame begun is complete: the next byte begins a frame."""
        return not (self._lengths or self._heads or self._rest)

    def feed(self, data: bytes) -> tuple[list[bytes], bool]:
        """Return the frames that ``data`` completes, and whether it all made sense so far."""
        self._rest += data
        used = self._piece() if self._rest else _MORE
        while used > 0:
            self._rest = self._rest[used:]
            used = self._piece() if self._rest else _MORE
        found, self._found = self._found, []
        return found, used != _NONE

    def take_lost(self) -> int:
        """Return how many bytes were lost since the last call."""
        lost, self._lost = self._lost, 0
        return lost

    def release(self) -> bytes:
        """Return the bytes not understood, and count what else waits as lost."""
        rest, self._rest = self._rest, b""
        self._lost += self.held
        self._lengths.clear()
        self._heads.clear()
        self._doubts.clear()
        return rest

    def _piece(self) -> int:
        """Take the piece that ``_rest`` begins with; return its size, or why it cannot be taken."""
        first = self._rest[0]
        if first == 0:
            used = self._length()
        elif first in _HEADS:
            used = self._head()
        else:
            used = self._payload()
        if used > 0:
            self._in_front = self._lengths[-1] if first == 0 else 0
            self._astray = self._astray or (bool(self._doubts) and not self._uniform(self._heads, self._lengths))
            self._astray = self._astray and bool(self._lengths or self._heads)
        return used

    def _length(self) -> int:
        if len(self._rest) < frame.LENGTH_BYTES:
            return _MORE
        length = frame.length_at(self._rest, 0)
        if not frame.MIN_LENGTH <= length <= self._max_length or len(self._lengths) >= MOST_WAITING:
            return _NONE
        self._lengths.append(length)
        self.begun += 1
        return frame.LENGTH_BYTES

    def _head(self) -> int:
        """Take a header, with its payload where that is certain to be behind it."""
        rest = self._rest
        if len(self._heads) >= len(self._lengths) or rest[1:5] != _FLAGS[: len(rest) - 1]:
            return _NONE
        ids_end = frame.ids_end(rest, 5, len(rest)) if len(rest) > len(_FLAGS) else varint.INCOMPLETE
        if ids_end < 0:
            return _MORE if ids_end == varint.INCOMPLETE else _NONE
        own = _Head(rest[:ids_end])
        if ids_end == len(rest):
            return _MORE if self._lengths != [ids_end] else self._body(own, 0)
        if _begins_piece(rest[ids_end]):
            if ids_end not in self._lengths:
                self._heads.append(own)
                return ids_end
            return self._body(own, 0) if set(self._lengths) == {ids_end} else _NONE  # empty, or its payload comes later
        fits = self._fits(ids_end, [*self._heads, own])
        if fits is None:
            return _MORE
        if len(fits) == 1 and (fits[0][0] == rest[0] and ids_end + fits[0][1] in self._lengths):
            return self._body(own, fits[0][1])
        self._heads.append(own)
        return ids_end

    def _body(self, own: _Head, size: int) -> int:
        """Take a header with the payload behind it, which may be that of a header of before that waits for as long a one."""
        kind, end = own.raw[0], len(own.raw) + size
        raw = end.to_bytes(frame.LENGTH_BYTES, "big") + self._rest[:end]
        payload = self._rest[len(own.raw) : end]
        rivals = self._waiting_for(kind, size)
        self._lengths.remove(end)
        for head in rivals:
            head.lost = True
        if not rivals and not self._astray:
            self._found.append(raw)
        elif self._in_front == end and not self._astray and self._uniform([*self._heads, own], [*self._lengths, end]):
            doubt = self._doubts.setdefault((kind, size), _Doubt(payload))
            doubt.raws.append(raw)
            doubt.same = doubt.same and doubt.payload == payload
        else:
            self._astray = True
            self._lost += len(raw)
        return end

    @staticmethod
    def _uniform(heads: list[_Head], lengths: list[int]) -> bool:
        """Whether all that waits is of one size, so that it does not matter which length goes with which header."""
        return len(set(lengths)) <= 1 and len({len(head.raw) for head in heads}) <= 1

    def _waiting_for(self, kind: int, size: int) -> list[_Head]:
        """Return the headers that may own a payload of ``size``."""
        return [head for head in self._heads if head.raw[0] == kind and size + len(head.raw) in self._lengths]

    def _payload(self) -> int:
        """Take a payload, and give it to the header it belongs to where there is only one."""
        fits = self._fits(0, self._heads)
        if fits is None:
            return _MORE
        if len(fits) != 1:
            return _NONE
        kind, size = fits[0]
        heads = self._waiting_for(kind, size)
        self._astray = self._astray or len(heads) > 1
        self._give(heads[0], size)
        self._resolve(kind, size)
        return size

    def _give(self, head: _Head, size: int) -> None:
        length = size + len(head.raw)
        self._heads.remove(head)
        self._lengths.remove(length)
        if head.lost or self._astray:
            self._lost += frame.LENGTH_BYTES + length
        else:
            self._found.append(length.to_bytes(frame.LENGTH_BYTES, "big") + head.raw + self._rest[:size])

    def _resolve(self, kind: int, size: int) -> None:
        """See whether a payload that was taken ends a doubt."""
        doubt = self._doubts.get((kind, size))
        if doubt is None:
            return
        doubt.same = doubt.same and not self._astray and doubt.payload == self._rest[:size]
        if self._waiting_for(kind, size):
            return
        del self._doubts[kind, size]
        if doubt.same:
            self._found += doubt.raws
        else:
            self._lost += sum(map(len, doubt.raws))

    def _fits(self, start: int, heads: list[_Head]) -> list[tuple[int, int]] | None:
        """Return the kinds and sizes that the payload from ``start`` may have, given who waits; None: more bytes will tell."""
        rest = self._rest
        fits = []
        for kind, size in {(head.raw[0], length - len(head.raw)) for head in heads for length in self._lengths}:
            end = start + size
            if size <= 0:
                continue
            stop = _readable(kind, rest, start, min(end, len(rest)))
            if end > len(rest):
                if stop == len(rest) or _may_go_on(kind, rest, stop):
                    return None
            elif stop == end and (end == len(rest) or _begins_piece(rest[end]) or len(heads) > 1):
                fits.append((kind, size))
        return fits


def _begins_piece(first: int) -> bool:
    return first == 0 or first in _HEADS


def _readable(kind: int, buf: bytes, pos: int, end: int) -> int:
    """Return how far the payload from ``pos`` reads."""
    while pos < end:
        if kind != frame.ACK and buf[pos] == 0:  # a key without a name is none: a length stands here
            break
        after = actions.skip_action(buf, pos, end) if kind == frame.ACK else kv.skip_pair(buf, pos, end)
        if after < 0:
            break
        pos = after
    return pos


def _may_go_on(kind: int, buf: bytes, pos: int) -> bool:
    """Whether the bytes from ``pos`` on, which end too early, may begin an item."""
    if kind == frame.ACK:
        return any(opening.startswith(buf[pos : pos + len(opening)]) for opening in _OPENINGS)
    return buf[pos] not in (0, *_HEADS)
