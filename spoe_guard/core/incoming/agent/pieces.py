"""Reassembles frames that an agent wrote in pieces, from several threads at once, without a lock.

dropmorepackets/haproxy-go writes a frame as length | header+payload (up to 0.1.0) or length | header | payload (0.1.1);
criteo/haproxy-spoe-go as length+header | payload. Each write reaches the wire whole, and the pieces of a frame keep their order;
pieces of other frames lie between them. The first byte of a piece tells its kind: a length begins with 0, a header with a frame
type, an ACK's payload with an action, a DISCONNECT's with the length of a key.

A payload has no ids. If two payloads could be swapped, nothing is guessed: the frames are lost. The exception are frames that
came in one piece: they are kept if all the payloads they could be swapped with turn out to be the same.

What a payload may be is found in one walk over it for each kind, and the next read goes on where the walk stopped. All work is
spent from an ``Effort``: bytes that ask for more make no sense. After as much of it as one turn may take the search pauses.
"""

from bisect import bisect_left, bisect_right, insort
from typing import Final, NamedTuple

from spoe_guard.core.incoming.agent.effort import Effort
from spoe_guard.wire import actions, walk
from spoe_guard.wire import frame as frames

# Frames that may be incomplete at a time: one per writing thread of the agent.
MOST_WAITING: Final = 64

_MORE: Final = -1  # the current piece is incomplete, or the next bytes decide what it is
_NONE: Final = -2  # not a piece of any frame
_PIECE: Final = 32  # what it takes of a turn to look at one
_FLAGS: Final = frames.FIN_ALONE
_OPENINGS: Final = tuple(  # how an action may begin: type, number of arguments, scope
    bytes((*kind, scope)) for kind in ((walk.SET_VAR, 3), (walk.UNSET_VAR, 2)) for scope in range(walk.SCOPE_RES + 1)
)
_HEADS: Final = frozenset((frames.ACK, frames.AGENT_DISCONNECT))


class _Head(NamedTuple):
    """A header that waits for its payload. ``length``: of its frame, 0 while several are possible."""

    raw: bytes
    length: int


class _Walk:
    """How far the payload at the start of the current piece reads, if it is of that ``kind``.

    ``sizes``: those it may have, in order; ``fits``: those of them at which an item ends. ``left``: items that may still be read.
    """

    __slots__ = ("at", "fits", "kind", "left", "sizes")

    def __init__(self, kind: int, sizes: list[int]) -> None:
        self.kind = kind
        self.sizes = sizes
        self.at = 0
        self.left = actions.MOST
        self.fits: list[int] = []

    def go_on(self, buf: bytes, pos: int) -> int:
        """Read on; ``pos`` is where the payload begins in ``buf``. Return the work."""
        end = min(len(buf), pos + self.sizes[-1])
        at = pos + self.at
        which = bisect_left(self.sizes, self.at + 1)
        work = 1
        while at < end and self.left:
            if self.kind != frames.ACK and buf[at] == 0:  # a key must have a name: this 0 begins a length
                break
            after = walk.action_end(buf, at, end) if self.kind == frames.ACK else walk.pair_end(buf, at, end)
            if after < 0:
                break
            at = after
            work += 1
            self.left -= 1
            while self.sizes[which] < at - pos:
                which += 1
            if self.sizes[which] == at - pos:
                self.fits.append(at - pos)
        self.at = at - pos
        return work


class Pieces:
    """Takes pieces, returns frames, and keeps what is incomplete: lengths, headers, and at most one partial piece.

    ``settled``: every frame is complete, and the next byte, which ``release`` may have, begins a new one. ``paused``: a turn is
    over, and there is more to look at; fed nothing in the next turn, it goes on.
    """

    def __init__(self, max_length: int, effort: Effort | None = None) -> None:
        self._max_length = max_length
        self._effort = effort or Effort()
        self.begun = 0  # frames whose length was taken
        self.settled = True
        self.paused = False
        self._lengths: list[int] = []  # lengths not yet assigned to a header, in order of size
        self._heads: list[_Head] = []
        self._untold: list[int] = []  # sizes of the headers without a length, in order
        self._buf = b""
        self._at = 0  # where the current piece begins
        self._fresh = 0  # bytes at the end of ``_buf`` that came last
        self._walks: list[_Walk] = []  # over the current piece, if it is a payload
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
        rest = len(self._buf) - self._at
        return rest + frames.LENGTH_BYTES * len(self._lengths) + heads + sum(map(len, self._payloads))

    @property
    def unread(self) -> int:
        """Of those the bytes at the end that no piece was made of yet."""
        return len(self._buf) - self._at

    def feed(self, data: bytes) -> tuple[list[bytes], bool]:
        """Take ``data``, and go on to the next complete frames, or until ``settled`` or ``paused``, or to the end.

        Return the frames, and whether all the pieces made sense so far. While frames come and it is not ``settled``, there may
        be more: feed it nothing, and it goes on.
        """
        if data:
            self._effort.earn(len(data))
            self._buf = self._buf[self._at :] + data
            self._at = 0
            self._fresh = len(data)
            self._effort.copied(len(self._buf))
        used = _MORE
        over = False
        while self._at < len(self._buf):
            used = self._piece()
            behind = self.unread <= self._fresh  # what came before was waited for, so it is not behind the last
            self.settled = used > 0 and behind and not (self._lengths or self._heads)
            over = self._effort.turn_over()
            if used < 0 or self._found or self.settled or over:
                break
        self.paused = over and used > 0 and self.unread > 0 and not self.settled
        found, self._found = self._found, []
        return found, used != _NONE

    def take_lost(self) -> int:
        """Return how many bytes of frames were lost since the last call."""
        lost, self._lost = self._lost, 0
        return lost

    def release(self) -> bytes:
        """Return the bytes not understood, and count the rest as lost. ``feed`` must not be called afterwards."""
        rest, self._buf = self._buf[self._at :], b""
        self._at = 0
        self._lost += self.held
        self._lengths, self._heads, self._untold, self._payloads = [], [], [], []
        return rest

    # --- one piece -------------------------------------------------------------------------------------------------

    def _piece(self) -> int:
        """Take the current piece; return its size, or why it cannot be taken."""
        self._effort.spend(1 + len(self._heads))  # each is looked at
        self._effort.take_of_turn(_PIECE)
        if self._effort.spent:
            return _NONE
        first = self._buf[self._at]
        if first == 0:
            used = self._length()
        elif first in _HEADS:
            used = self._head()
        else:
            used = self._body()
        if used > 0:
            self._beside = self._buf[self._at : self._at + used] if self._behind_length and first in _HEADS else b""
            self._behind_length = first == 0
            self._at += used
            self._walks = []
            self._tell_lengths()
            self._astray = self._astray and bool(self._lengths or self._heads)
        return used

    def _length(self) -> int:
        if len(self._buf) - self._at < frames.LENGTH_BYTES:
            return _MORE
        length = walk.length_at(self._buf, self._at)
        waiting = len(self._lengths) + len(self._heads) - len(self._untold)
        if not frames.MIN_LENGTH <= length <= self._max_length or waiting >= MOST_WAITING:
            return _NONE
        insort(self._lengths, length)
        self.begun += 1
        return frames.LENGTH_BYTES

    def _head(self) -> int:
        buf, at = self._buf, self._at
        flags = buf[at + 1 : at + 5]
        if len(self._untold) >= len(self._lengths) or flags != _FLAGS[: len(flags)]:
            return _NONE
        ids_end = walk.ids_end(buf, at + 5, len(buf))
        if ids_end == walk.INCOMPLETE:
            return _MORE
        if ids_end < 0 or ids_end - at > self._lengths[-1]:
            return _NONE
        self._heads.append(_Head(buf[at:ids_end], 0))
        insort(self._untold, ids_end - at)
        return ids_end - at

    def _body(self) -> int:
        """Take a payload, and assign it to its header if only one is possible."""
        fits = self._fits()
        if fits is None:
            return _MORE
        if len(fits) != 1:
            return _NONE
        kind, size = fits[0]
        lengths = set(self._lengths)
        owners = [head for head in self._heads if head.raw[0] == kind and _may_be(head, len(head.raw) + size, lengths)]
        certain = len(set(owners)) == 1  # a header written twice counts once
        alike = len({(head.raw[0], len(head.raw), head.length) for head in [*owners, *self._shared]}) == 1
        if not certain and not (alike and owners[0].length) and not self._astray:
            self._go_astray()
            return self._body()
        payload = self._buf[self._at : self._at + size]
        if certain or self._astray:
            self._complete(owners[0], payload)
        else:
            self._share(owners, payload)
        return size

    # --- whose payload it is -----------------------------------------------------------------------------------------

    def _tell_lengths(self) -> None:
        """Find headers with only one possible length, and complete those that have no payload.

        A header may have any length that is not less than its own: only the largest can be the only one.
        """
        complete = False
        while self._untold and self._lengths:
            longest = self._lengths[-1]
            others = bisect_left(self._lengths, longest)
            least = self._lengths[others - 1] if others > 0 else 0
            if bisect_right(self._untold, least) == bisect_right(self._untold, longest):
                break
            at = next(at for at, head in enumerate(self._heads) if not head.length and least < len(head.raw) <= longest)
            head = _Head(self._heads[at].raw, longest)
            self._effort.spend(len(self._heads))
            self._heads[at] = head
            self._lengths.pop()
            del self._untold[bisect_left(self._untold, len(head.raw))]
            complete = complete or longest == len(head.raw)
        if complete:
            for head in [head for head in self._heads if head.length == len(head.raw)]:
                self._complete(head, b"")

    def _complete(self, head: _Head, payload: bytes) -> None:
        """Complete one frame; while the owners are ambiguous, count it as lost instead, since it may be another one."""
        length = len(head.raw) + len(payload)
        self._heads.remove(head)
        if not head.length:
            del self._lengths[bisect_left(self._lengths, length)]
            del self._untold[bisect_left(self._untold, len(head.raw))]
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
        shared = set(self._shared)
        for head in [head for head in self._heads if head in shared][: len(self._payloads)]:
            self._heads.remove(head)
            self._lost += frames.LENGTH_BYTES + head.length
        self._shared, self._payloads, self._whole = [], [], []

    def _go_astray(self) -> None:
        """Forget which header owns what; only the number of waiting bytes is still known."""
        self._lose_shared()
        self._astray = True
        self._lengths = sorted([*self._lengths, *(head.length for head in self._heads if head.length)])
        self._heads = [_Head(head.raw, 0) for head in self._heads]
        self._untold = sorted(len(head.raw) for head in self._heads)
        self._walks = []

    # --- where a payload ends ----------------------------------------------------------------------------------------

    def _fits(self) -> list[tuple[int, int]] | None:
        """Return the possible kinds and sizes of the payload, given the waiting headers; None: more bytes are needed."""
        self._walks = self._walks or self._begin()
        buf, at = self._buf, self._at
        here = len(buf) - at
        longest = max((found.sizes[-1] for found in self._walks), default=0)
        fits: list[tuple[int, int]] = []
        for found in self._walks:
            self._effort.spend(found.go_on(buf, at))
            if found.sizes[-1] > here and (found.at == here or _may_go_on(found.kind, buf, at + found.at)):
                return None
            fits += [(found.kind, size) for size in found.fits if size == longest or self._may_follow(at + size)]
        return fits

    def _begin(self) -> list[_Walk]:
        """Return a walk over the current piece for each kind of payload it may be."""
        lengths = sorted(set(self._lengths))
        sizes: dict[int, set[int]] = {}
        for kind, size, length in {(head.raw[0], len(head.raw), head.length) for head in self._heads}:
            known = sizes.setdefault(kind, set())
            known.update([length - size] if length else [each - size for each in lengths if each > size])
            self._effort.spend(1 if length else len(lengths))
        return [_Walk(kind, sorted(known)) for kind, known in sizes.items() if known]

    def _may_follow(self, end: int) -> bool:
        """Whether the bytes after a payload begin another piece; otherwise the payload is the start of a longer, bad one."""
        buf = self._buf
        if end == len(buf) or buf[end] == 0 or buf[end] in _HEADS:
            return True
        kinds = {head.raw[0] for head in self._heads}
        self._effort.spend(len(self._heads))
        return len(self._heads) - len(self._payloads) > 1 and any(_may_go_on(kind, buf, end) for kind in kinds)


def _may_be(head: _Head, length: int, lengths: set[int]) -> bool:
    """Whether the frame of ``head`` may have that length."""
    return head.length == length if head.length else length in lengths


def _may_go_on(kind: int, buf: bytes, pos: int) -> bool:
    """Whether the bytes from ``pos`` on may begin an item."""
    if kind == frames.ACK:
        return any(opening.startswith(buf[pos : pos + len(opening)]) for opening in _OPENINGS)
    return buf[pos] != 0 and buf[pos] not in _HEADS
