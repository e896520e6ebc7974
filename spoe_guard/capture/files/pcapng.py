"""A capture as a pcapng file, for Wireshark and for ``spoe-guard decode``.

One interface per connection, named ``haproxy`` or ``agent N`` after the peer. Sequence numbers are the real offsets
in the stream, from 1, so that missing bytes show as a gap. Source: draft-ietf-opsawg-pcapng.
"""

import io
from collections.abc import Iterator
from typing import Any, Final

from pcapng import FileWriter, blocks

from spoe_guard import __version__
from spoe_guard.capture.files import tcp
from spoe_guard.capture.files.model import Capture, Chunk, End, Socket
from spoe_guard.core.terms.anomalies import Side

_MICRO: Final = 1_000_000
# Stand-in addresses for Unix sockets, from the block that is reserved for documentation (RFC 5737).
_UNIX_OPENED: Final = ("192.0.2.1", 1)
_UNIX_ACCEPTED: Final = ("192.0.2.2", 2)

_Key = tuple[Side, int]


def dump(capture: Capture) -> bytes:
    """Return the file. Times are seconds since the epoch; ``Capture.note`` is the comment of the section."""
    return b"".join(packets(capture))


def packets(capture: Capture) -> Iterator[bytes]:
    """Yield the file piece by piece: the header blocks, then each packet."""
    options = {"shb_userappl": f"spoe-guard {__version__}", "opt_comment": capture.note}
    section = blocks.SectionHeader(options={name: value for name, value in options.items() if value})
    keys = sorted({(chunk.side, chunk.link_id) for chunk in capture.chunks}, key=lambda key: (key[0].value != "haproxy", key[1]))
    wires = {}
    for number, key in enumerate(keys):
        name = "haproxy" if key[0] is Side.HAPROXY else f"agent {key[1]}"
        section.new_member(blocks.InterfaceDescription, link_type=tcp.LINKTYPE_RAW, options={"if_name": name})
        wires[key] = _Wire(number, capture.sockets.get(key))
    out = io.BytesIO()
    writer = FileWriter(out, section)
    yield _taken(out)
    for chunk in capture.chunks:
        wire = wires[chunk.side, chunk.link_id]
        for packet, size, comment in wire.packets(chunk):
            writer.write_block(_block(section, wire.number, chunk.at, packet, size, comment))
            yield _taken(out)


def _taken(out: io.BytesIO) -> bytes:
    data = out.getvalue()
    out.seek(0)
    out.truncate()
    return data


def _block(section: Any, interface: int, at: float, packet: bytes, size: int, comment: str) -> Any:  # noqa: ANN401  the library is untyped
    micros = round(at * _MICRO)
    return section.new_member(
        blocks.EnhancedPacket,
        interface_id=interface,
        timestamp_high=micros >> 32,
        timestamp_low=micros & 0xFFFFFFFF,
        packet_len=size,
        packet_data=packet,
        options={"opt_comment": comment} if comment else {},
    )


class _Wire:
    """Turns one connection into packets."""

    def __init__(self, number: int, sockets: tuple[Socket, Socket] | None) -> None:
        self.number = number
        opened, accepted = sockets or (Socket(), Socket())
        known = bool(opened.host and accepted.host)
        self._ends = ((opened.host, opened.port), (accepted.host, accepted.port)) if known else (_UNIX_OPENED, _UNIX_ACCEPTED)
        self._next = [0, 0]  # sequence numbers of the opener and the acceptor
        self._begun = False

    def packets(self, chunk: Chunk) -> Iterator[tuple[bytes, int, str]]:
        """Yield (packet, its size on the wire in bytes, comment) for ``chunk``."""
        if not self._begun:
            self._begun = True
            yield from self._handshake()
        # HAProxy opens its connection to the guard, the guard those to the agent.
        writer = 0 if (chunk.side is Side.HAPROXY) == chunk.inward else 1
        comment = "\n".join(chunk.notes)
        self._next[writer] += chunk.lost
        pieces = [chunk.data[at : at + tcp.MAX_PIECE_BYTES] for at in range(0, len(chunk.data), tcp.MAX_PIECE_BYTES)]
        for last, piece in ((index == len(pieces) - 1, piece) for index, piece in enumerate(pieces)):
            packet = self._packet(writer, tcp.ACK | (tcp.PSH if last else 0), piece)
            yield packet, len(packet), comment
            comment = ""
        if chunk.size > len(chunk.data):
            missing = chunk.size - len(chunk.data)
            packet = self._packet(writer, tcp.ACK | tcp.PSH, b"", missing=missing)
            yield packet, len(packet) + missing, comment
            comment = ""
        if chunk.end is not None:
            packet = self._packet(writer, tcp.ACK | (tcp.FIN if chunk.end is End.FIN else tcp.RST), b"")
            yield packet, len(packet), comment
        elif comment:  # a comment without bytes
            packet = self._packet(writer, tcp.ACK, b"")
            yield packet, len(packet), comment

    def _handshake(self) -> Iterator[tuple[bytes, int, str]]:
        for writer, flags in ((0, tcp.SYN), (1, tcp.SYN | tcp.ACK), (0, tcp.ACK)):
            packet = self._packet(writer, flags, b"")
            yield packet, len(packet), ""

    def _packet(self, writer: int, flags: int, data: bytes, missing: int = 0) -> bytes:
        seq, ack = self._next[writer], self._next[1 - writer] if flags & tcp.ACK else 0
        self._next[writer] += len(data) + missing + bool(flags & (tcp.SYN | tcp.FIN))
        return tcp.build((self._ends[writer], self._ends[1 - writer]), (seq, ack), flags, data, missing)
