"""Reads conversations from a pcapng file: the guard's own, or one that tcpdump or Wireshark took of HAProxy and its agent."""

import heapq
import io
import struct
from collections.abc import Iterator
from typing import Any, Final

from pcapng import FileScanner, blocks

from spoe_guard.capture.files import tcp
from spoe_guard.capture.files.model import MOST_CHUNKS, Capture, CaptureError, Chunk, End, Socket
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.wire.frame import AGENT_TYPES, HAPROXY_TYPES, LENGTH_BYTES

MAGIC: Final = b"\x0a\x0d\x0d\x0a"
MOST_BLOCK_BYTES: Final = 1 << 20
MOST_INTERFACES: Final = 10_000  # one for each connection
_LITTLE: Final = b"\x4d\x3c\x2b\x1a"  # the byte-order magic, as a little-endian machine writes it
_HEAD: Final = struct.Struct("4s4s4s")  # type, length, and in a section header the byte-order magic
_HALF: Final = 1 << 31  # sequence numbers wrap at twice this
_MOST_JOINED: Final = 1 << 20  # bytes of one write; the recorder's are no longer than a read


def load(data: bytes) -> list[Capture]:
    """Return every conversation in the file, ordered by start.

    Raises:
        CaptureError: it cannot be read, or contains no TCP connection that looks like SPOP.
    """
    _measure(data)
    sections: list[dict[object, _Flow]] = []
    notes: list[str] = []
    try:
        for number, block in enumerate(FileScanner(io.BytesIO(data))):
            if isinstance(block, blocks.SectionHeader):
                sections.append({})
                notes.append(_option(block, "opt_comment"))
            elif isinstance(block, blocks.EnhancedPacket):
                _take(sections[-1], number, block)
    except Exception as error:  # noqa: BLE001  the library lets through whatever struct, socket or arithmetic raise
        raise CaptureError(f"not a whole pcapng file: {str(error) or type(error).__name__}") from None
    found = [capture for flows, note in zip(sections, notes, strict=True) for capture in _captures(flows, note)]
    if not found:
        raise CaptureError("no TCP connection in it looks like SPOP")
    return found


def _measure(data: bytes) -> None:
    """Refuse a file whose blocks, as Python's objects, would take too much. What is broken is left to the library.

    Source: draft-ietf-opsawg-pcapng, 3.1 and 4.1.
    """
    at = count = interfaces = 0
    order = "<"
    while at + _HEAD.size <= len(data):
        kind, _, magic = _HEAD.unpack_from(data, at)
        if kind == MAGIC:
            order = "<" if magic == _LITTLE else ">"
        elif kind == (b"\1\0\0\0" if order == "<" else b"\0\0\0\1"):
            interfaces += 1
        [size] = struct.unpack_from(f"{order}I", data, at + 4)
        if size < _HEAD.size:
            return
        count += 1
        if size > MOST_BLOCK_BYTES:
            raise CaptureError(f"a block of {size} bytes; the longest packet that is read has {MOST_BLOCK_BYTES}")
        if count > MOST_CHUNKS or interfaces > MOST_INTERFACES:
            what = f"{MOST_CHUNKS} packets" if count > MOST_CHUNKS else f"{MOST_INTERFACES} interfaces"
            raise CaptureError(f"more than {what}; `editcap -c {MOST_CHUNKS // 2}` makes several files of it")
        at += size + -size % 4


def _take(flows: "dict[object, _Flow]", number: int, block: Any) -> None:  # noqa: ANN401  the library is untyped
    interface = block.interface
    segment = tcp.parse(block.packet_data, interface.link_type, block.packet_len)
    if segment is None:
        return
    name = _option(interface, "if_name")
    key = (name if _whose(name) else "", frozenset((segment.source, segment.target)))
    flow = flows.get(key)
    if flow is None:
        flow = flows[key] = _Flow(segment.source, segment.target, name)
    flow.take(_Piece(number, float(block.timestamp), segment, _option(block, "opt_comment")), segment.source)


def _option(block: Any, name: str) -> str:  # noqa: ANN401  as above
    return str(block.options[name]) if name in block.options else ""


def _whose(name: str) -> tuple[Side, int] | None:
    """Return side and link of one of the guard's own interfaces."""
    if name == "haproxy":
        return Side.HAPROXY, 0
    number = name.removeprefix("agent ")
    return (Side.AGENT, int(number)) if number != name and number.isascii() and number.isdigit() else None


def _captures(flows: "dict[object, _Flow]", note: str) -> Iterator[Capture]:
    ours = [flow for flow in flows.values() if _whose(flow.name)]
    if ours:
        yield _of_the_guard(ours, note)
    for flow in flows.values():
        if not _whose(flow.name) and (side := flow.opened_by()) is not None:
            yield _seen_between(flow, side, note)


def _of_the_guard(flows: "list[_Flow]", note: str) -> Capture:
    capture = Capture(note=note)
    found: list[tuple[_Piece, Chunk]] = []
    for flow in flows:
        side, link_id = _whose(flow.name) or (Side.HAPROXY, 0)
        capture.sockets[side, link_id] = (Socket(*flow.opened), Socket(*flow.accepted))
        for number, stream in enumerate(flow.streams):
            inward = (side is Side.HAPROXY) == (number == 0)
            found += [(piece, _chunk(piece, side, link_id, inward=inward)) for piece in stream.in_order(join=True)]
    capture.chunks = _sorted(found)
    return capture


def _seen_between(flow: "_Flow", opener: Side, note: str) -> Capture:
    capture = Capture(note=note)
    found: list[tuple[_Piece, Chunk]] = []
    ends = (Socket(*flow.opened), Socket(*flow.accepted))
    capture.sockets[Side.HAPROXY, 0] = ends if opener is Side.HAPROXY else (ends[1], ends[0])
    for number, stream in enumerate(flow.streams):
        side = Side.HAPROXY if (opener is Side.HAPROXY) == (number == 0) else Side.AGENT
        found += [(piece, _chunk(piece, side, 0, inward=True)) for piece in stream.in_order(join=False)]
    capture.chunks = _sorted(found)
    return capture


def _sorted(found: "list[tuple[_Piece, Chunk]]") -> list[Chunk]:
    return [chunk for _, chunk in sorted(found, key=lambda each: (each[0].at, each[0].number))]


def _chunk(piece: "_Piece", side: Side, link_id: int, *, inward: bool) -> Chunk:
    notes = tuple(piece.note.splitlines())
    size = piece.size if piece.size > len(piece.data) else -1
    return Chunk(piece.at, side, link_id, inward, piece.data, piece.lost, piece.end, notes, size)


class _Piece:
    """The new bytes of one segment."""

    __slots__ = ("at", "data", "end", "flags", "lost", "note", "number", "seq", "size")

    def __init__(self, number: int, at: float, segment: tcp.Segment, note: str) -> None:
        self.number = number  # of the packet in the file; orders packets with equal times
        self.at = at
        self.seq = segment.seq
        self.flags = segment.flags
        self.data = segment.data
        self.size = segment.size
        self.note = note
        self.lost = 0
        self.end = End.RESET if segment.flags & tcp.RST else End.FIN if segment.flags & tcp.FIN else None


class _Stream:
    """One direction of a connection. Segments may be duplicated or out of order.

    Sequence numbers wrap; here they are counted on, so that those of waiting segments have an order.
    """

    def __init__(self) -> None:
        self._next: int | None = None
        self._in_order: list[_Piece] = []
        self._waiting: list[tuple[int, int, _Piece]] = []  # a heap: sequence number, order in the file, segment

    def take(self, piece: _Piece) -> None:
        if piece.flags & tcp.SYN:
            self._next = self._counted_on(piece.seq) + 1
        elif piece.size or piece.end or piece.note:
            heapq.heappush(self._waiting, (self._counted_on(piece.seq), piece.number, piece))
            self._deliver()

    def in_order(self, *, join: bool) -> list[_Piece]:
        """Return all chunks; missing bytes count as ``lost``. ``join``: join a write that was too long for one packet."""
        while self._waiting:
            seq, _, first = self._waiting[0]
            first.lost = 0 if self._next is None else max(0, seq - self._next)
            self._next = seq
            self._deliver()
        return _joined(self._in_order) if join else self._in_order

    def _counted_on(self, seq: int) -> int:
        """Return the sequence number ``seq`` without its wraps: the one that is nearest to what comes next."""
        if self._next is None:
            return seq
        ahead = (seq - self._next) % (2 * _HALF)
        return self._next + (ahead if ahead < _HALF else ahead - 2 * _HALF)

    def _deliver(self) -> None:
        while self._waiting and (self._next is None or self._waiting[0][0] <= self._next):
            seq, _, piece = heapq.heappop(self._waiting)
            if self._next is None:
                self._next = seq
            self._append(piece, self._next - seq)

    def _append(self, piece: _Piece, again: int) -> None:
        if again and again >= piece.size and not piece.note:
            return  # a retransmission
        piece.data = piece.data[again:]
        piece.size = max(0, piece.size - again)
        if self._in_order:  # an early segment takes the time of the one before it
            piece.at = max(piece.at, self._in_order[-1].at)
            piece.number = max(piece.number, self._in_order[-1].number)
        self._next = (self._next or 0) + piece.size
        self._in_order.append(piece)


def _joined(pieces: list[_Piece]) -> list[_Piece]:
    """Join what was written at once; to add each piece to what is there would take the square of their number."""
    found: list[_Piece] = []
    parts: list[bytes] = []  # of the last one
    for piece in pieces:
        last = found[-1] if found else None
        goes_on = last is not None and last.data and not last.flags & tcp.PSH and last.at == piece.at and not piece.lost
        if last is None or not goes_on or last.size > _MOST_JOINED:
            if last is not None:
                last.data = b"".join(parts)
            found.append(piece)
            parts = [piece.data]
            continue
        parts.append(piece.data)
        last.size += piece.size
        last.flags |= piece.flags & tcp.PSH
    if found:
        found[-1].data = b"".join(parts)
    return found


class _Flow:
    """One connection. ``opened``: the sender of the SYN, or of the first captured segment."""

    def __init__(self, source: tuple[str, int], target: tuple[str, int], name: str) -> None:
        self.opened = source
        self.accepted = target
        self.name = name
        self.streams = (_Stream(), _Stream())

    def take(self, piece: _Piece, source: tuple[str, int]) -> None:
        self.streams[0 if source == self.opened else 1].take(piece)

    def opened_by(self) -> Side | None:
        """Return the opener's side, judged by the first bytes of both; None if they are not SPOP."""
        for number, stream in enumerate(self.streams):
            first = next((piece.data for piece in stream.in_order(join=False) if len(piece.data) > LENGTH_BYTES), b"")
            if first and first[LENGTH_BYTES] in HAPROXY_TYPES:
                return Side.HAPROXY if number == 0 else Side.AGENT
            if first and first[LENGTH_BYTES] in AGENT_TYPES:
                return Side.AGENT if number == 0 else Side.HAPROXY
        return None
