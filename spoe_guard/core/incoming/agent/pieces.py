"""Reassembles frames that an agent wrote in pieces, from several threads at once, without a lock.

dropmorepackets/haproxy-go writes a frame as length | header+payload (up to 0.1.0) or length | header | payload (0.1.1);
criteo/haproxy-spoe-go as length+header | payload. Each write reaches the wire whole, and the pieces of a frame keep their order;
pieces of other frames lie between them. The first byte of a piece tells its kind: a length begins with 0, a header with a frame
type, an ACK's payload with an action, a DISCONNECT's with the length of a key.

A payload has no ids. If two payloads could be swapped, nothing is guessed: the frames are lost. The exception are frames that
came in one piece: they are kept if all the payloads they could be swapped with turn out to be the same.
"""

from typing import Final, NamedTuple

from spoe_guard.wire import frame as frames
from spoe_guard.wire import walk

# Frames that may be incomplete at a time: one per writing thread of the agent.
MOST_WAITING: Final = 256

_MORE: Final = -1  # the current piece is incomplete, or the next bytes decide what it is
_NONE: Final = -2  # not a piece of any frame
_FLAGS: Final = frames.FIN_ALONE
_OPENINGS: Final = tuple(  # how an action may begin: type, number of arguments, scope
    bytes((*kind, scope)) for kind in ((walk.SET_VAR, 3), (walk.UNSET_VAR, 2)) for scope in range(walk.SCOPE_RES + 1)
)
_HEADS: Final = frozenset((frames.ACK, frames.AGENT_DISCONNECT))


class _Head(NamedTuple):
    """A header that waits for its payload. ``length``: of its frame, 0 while several are possible."""

    raw: bytes
    length: int


class Pieces:
    """Takes pieces, returns frames, and keeps what is incomplete: lengths, headers, and at most one partial piece."""

    def __init__(self, max_length: int) -> None:
        self._max_length = max_length
        self.begun = 0  # frames whose length was taken
        self._lengths: list[int] = []  # lengths not yet assigned to a header
        self._heads: list[_Head] = []
        self._rest = b""
        self._behind_length = False  # whether a length lies directly before the current piece
        self._beside = b""  # the header directly before the current piece, if a length precedes it
        self._astray = False  # different headers could own a payload: which one is unknown until everything is settled
        self._shared: list[_Head] = []  # identical headers, any of which may own a payload that came; they wait on
        self._payloads: list[bytes] = []  # those payloads, fewer than the headers
        self._whole: list[_Head] = []  # those of the headers that had length and payload directly beside them
        self._found: list[bytes] = []
        self._lost = 0

    @property
    def held(self) -> int:
        """Bytes taken that are neither in a returned frame nor lost."""
        heads = sum(len(head.raw) + (frames.LENGTH_BYTES if head.length else 0) for head in self._heads)
        return len(self._rest) + frames.LENGTH_BYTES * len(self._lengths) + heads + sum(map(len, self._payloads))

    @property
    def settled(self) -> bool:
        """Whether every frame is complete: the next byte begins a new one."""
        return not (self._lengths or self._heads or self._rest)

    def feed(self, data: bytes) -> tuple[list[bytes], bool]:
        """Return the frames that ``data`` completes, and whether all the pieces made sense so far."""
        self._rest += data
        used = _MORE
        while self._rest:
            used = self._piece()
            if used < 0:
                break
        found, self._found = self._found, []
        return found, used != _NONE

    def take_lost(self) -> int:
        """Return how many bytes of frames were lost since the last call."""
        lost, self._lost = self._lost, 0
        return lost

    def release(self) -> bytes:
        """Return the bytes not understood, and count the rest as lost. ``feed`` must not be called afterwards."""
        rest, self._rest = self._rest, b""
        self._lost += self.held
        self._lengths, self._heads, self._payloads = [], [], []
        return rest

    # --- one piece -------------------------------------------------------------------------------------------------

    def _piece(self) -> int:
        """Take the piece at the start of ``_rest``; return its size, or why it cannot be taken."""
        first = self._rest[0]
        if first == 0:
            used = self._length()
        elif first in _HEADS:
            used = self._head()
        else:
            used = self._body()
        if used > 0:
            self._beside = self._rest[:used] if self._behind_length and first in _HEADS else b""
            self._behind_length = first == 0
            self._rest = self._rest[used:]
            self._tell_lengths()
            self._astray = self._astray and bool(self._lengths or self._heads)
        return used

    def _length(self) -> int:
        if len(self._rest) < frames.LENGTH_BYTES:
            return _MORE
        length = walk.length_at(self._rest, 0)
        waiting = len(self._lengths) + sum(1 for head in self._heads if head.length)
        if not frames.MIN_LENGTH <= length <= self._max_length or waiting >= MOST_WAITING:
            return _NONE
        self._lengths.append(length)
        self.begun += 1
        return frames.LENGTH_BYTES

    def _head(self) -> int:
        rest = self._rest
        if sum(1 for head in self._heads if not head.length) >= len(self._lengths) or rest[1:5] != _FLAGS[: len(rest) - 1]:
            return _NONE
        ids_end = walk.ids_end(rest, 5, len(rest))
        if ids_end == walk.INCOMPLETE:
            return _MORE
        if ids_end < 0 or ids_end > max(self._lengths):
            return _NONE
        self._heads.append(_Head(rest[:ids_end], 0))
        return ids_end

    def _body(self) -> int:
        """Take a payload, and assign it to its header if only one is possible."""
        fits = self._fits()
        if fits is None:
            return _MORE
        if len(fits) != 1:
            return _NONE
        kind, size = fits.pop()
        owners = [head for head in self._heads if head.raw[0] == kind and len(head.raw) + size in self._may_have(head)]
        certain = len(set(owners)) == 1  # a header written twice counts once
        alike = len({(head.raw[0], len(head.raw), head.length) for head in [*owners, *self._shared]}) == 1
        if not certain and not (alike and owners[0].length) and not self._astray:
            self._go_astray()
            return self._body()
        if certain or self._astray:
            self._complete(owners[0], self._rest[:size])
        else:
            self._share(owners, self._rest[:size])
        return size

    # --- whose payload it is -----------------------------------------------------------------------------------------

    def _may_have(self, head: _Head) -> list[int]:
        """Return the possible lengths of the frame of ``head``."""
        return [head.length] if head.length else [length for length in self._lengths if length >= len(head.raw)]

    def _tell_lengths(self) -> None:
        """Find headers with only one possible length, and complete those that have no payload."""
        told = True
        while told:
            told = False
            for head in [head for head in self._heads if not head.length]:
                lengths = set(self._may_have(head))
                if len(lengths) == 1:
                    at = self._heads.index(head)
                    self._heads[at] = _Head(head.raw, lengths.pop())
                    self._lengths.remove(self._heads[at].length)
                    told = True
        for head in [head for head in self._heads if head.length == len(head.raw)]:
            self._complete(head, b"")

    def _complete(self, head: _Head, payload: bytes) -> None:
        """Complete one frame; while the owners are ambiguous, count it as lost instead, since it may be another one."""
        length = len(head.raw) + len(payload)
        self._heads.remove(head)
        if not head.length:
            self._lengths.remove(length)
        if self._astray:
            self._lost += frames.LENGTH_BYTES + length
        else:
            self._found.append(length.to_bytes(frames.LENGTH_BYTES, "big") + head.raw + payload)

    def _share(self, owners: list[_Head], payload: bytes) -> None:
        """Note a payload that any of ``owners`` may own. Once all have one, it shows whether that matters."""
        if owners[-1] is self._heads[-1] and owners[-1].raw == self._beside:  # not merely a header with the same ids
            self._whole.append(owners[-1])
        self._shared = owners
        self._payloads.append(payload)
        if len(self._payloads) == len(owners):
            same = len(set(self._payloads)) == 1
            for head in self._whole if same else []:
                self._complete(head, self._payloads.pop())
            self._lose_shared()

    def _lose_shared(self) -> None:
        """Lose the frames of the noted payloads: it will never be known which headers are theirs."""
        for head in [head for head in self._heads if head in self._shared][: len(self._payloads)]:
            self._heads.remove(head)
            self._lost += frames.LENGTH_BYTES + head.length
        self._shared, self._payloads, self._whole = [], [], []

    def _go_astray(self) -> None:
        """Forget which header owns what; only the number of waiting bytes is still known."""
        self._lose_shared()
        self._astray = True
        self._lengths += [head.length for head in self._heads if head.length]
        self._heads = [_Head(head.raw, 0) for head in self._heads]

    # --- where a payload ends ----------------------------------------------------------------------------------------

    def _fits(self) -> set[tuple[int, int]] | None:
        """Return the possible kinds and sizes of the payload, given the waiting headers; None: more bytes are needed."""
        rest = self._rest
        may_be = {(head.raw[0], length - len(head.raw)) for head in self._heads for length in self._may_have(head)}
        longest = max((size for _, size in may_be), default=0)
        fits = set()
        for kind, size in may_be:
            stop = _readable(kind, rest, min(size, len(rest)))
            if size > len(rest):
                if stop == len(rest) or _may_go_on(kind, rest, stop):
                    return None
            elif 0 < size == stop and (size == longest or self._may_follow(size)):
                fits.add((kind, size))
        return fits

    def _may_follow(self, end: int) -> bool:
        """Whether the bytes after a payload begin another piece; otherwise the payload is the start of a longer, bad one."""
        rest = self._rest
        if end == len(rest) or rest[end] == 0 or rest[end] in _HEADS:
            return True
        return len(self._heads) - len(self._payloads) > 1 and any(_may_go_on(head.raw[0], rest, end) for head in self._heads)


def _readable(kind: int, buf: bytes, end: int) -> int:
    """Return how far the payload at the start of ``buf`` parses."""
    pos = 0
    while pos < end:
        if kind != frames.ACK and buf[pos] == 0:  # a key must have a name: this 0 begins a length
            break
        after = walk.action_end(buf, pos, end) if kind == frames.ACK else walk.pair_end(buf, pos, end)
        if after < 0:
            break
        pos = after
    return pos


def _may_go_on(kind: int, buf: bytes, pos: int) -> bool:
    """Whether the bytes from ``pos`` on may begin an item."""
    if kind == frames.ACK:
        return any(opening.startswith(buf[pos : pos + len(opening)]) for opening in _OPENINGS)
    return buf[pos] != 0 and buf[pos] not in _HEADS
