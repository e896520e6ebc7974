"""Adds IP and TCP headers to bytes that were read from a socket, and removes them.

Checksums are 0, as in a capture from a machine whose network card computes them. Source: RFC 791, 8200, 9293.
"""

import ipaddress
import struct
from dataclasses import dataclass
from typing import Final

LINKTYPE_RAW: Final = 101  # used for writing: a packet begins with its IP header
MAX_PIECE_BYTES: Final = 32768  # payload of one packet; IP's length field allows 65535

FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
PSH: Final = 0x08
ACK: Final = 0x10

_TCP: Final = 6
_TCP_HEADER: Final = struct.Struct("!HHIIBBHHH")
_IPV4_HEADER: Final = struct.Struct("!BBHHHBBH4s4s")
_IPV6_HEADER: Final = struct.Struct("!IHBB16s16s")
_TCP_WORDS: Final = 5 << 4
_WINDOW: Final = 65535
_TTL: Final = 64

# Bytes before the IP header, by link type: Ethernet, raw IP, Linux "any" (cooked) 1 and 2, BSD loopback.
_LINK_BYTES: Final = {1: 14, 12: 0, LINKTYPE_RAW: 0, 113: 16, 276: 20, 0: 4, 108: 4}
_VLAN_TAGS: Final = (b"\x81\x00", b"\x88\xa8")


@dataclass(slots=True)
class Segment:
    """One TCP segment. ``size``: bytes of payload on the wire; ``data`` may hold fewer."""

    source: tuple[str, int]
    target: tuple[str, int]
    seq: int
    flags: int
    data: bytes
    size: int


End = tuple[str, int]  # address and port


def build(ends: tuple[End, End], numbers: tuple[int, int], flags: int, data: bytes = b"", missing: int = 0) -> bytes:
    """Return an IP packet from the first of ``ends`` to the second (if their IP versions differ, IPv4 is mapped to IPv6).

    ``numbers``: sequence and acknowledgement. ``missing``: bytes of payload beyond ``data``.
    """
    source, target = ends
    seq, ack = numbers
    tcp = _TCP_HEADER.pack(source[1], target[1], seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, _TCP_WORDS, flags, _WINDOW, 0, 0)
    size = len(tcp) + len(data) + missing
    from_, to = ipaddress.ip_address(source[0]), ipaddress.ip_address(target[0])
    if from_.version == 4 and to.version == 4:  # noqa: PLR2004
        ip = _IPV4_HEADER.pack(0x45, 0, 20 + size, 0, 0x4000, _TTL, _TCP, 0, from_.packed, to.packed)
    else:
        ip = _IPV6_HEADER.pack(6 << 28, size, _TCP, _TTL, _as_v6(from_), _as_v6(to))
    return ip + tcp + data


def _as_v6(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bytes:
    return address.packed if isinstance(address, ipaddress.IPv6Address) else b"\x00" * 10 + b"\xff\xff" + address.packed


def parse(packet: bytes, link_type: int, wire_size: int) -> Segment | None:
    """Return the TCP segment in ``packet``, or None if there is none. ``wire_size``: original bytes of the whole packet."""
    skip = _LINK_BYTES.get(link_type)
    if skip is None:
        return None
    while link_type == 1 and packet[skip - 2 : skip] in _VLAN_TAGS:
        skip += 4
    wire_size -= skip
    at = _tcp_at(packet, skip)
    if at is None or len(packet) < at[0] + _TCP_HEADER.size:
        return None
    tcp, ip_size, source, target = at
    from_port, to_port, seq, _, words, flags, *_ = _TCP_HEADER.unpack_from(packet, tcp)
    data_at = tcp + (words >> 4) * 4
    end = skip + (ip_size or wire_size)  # 0 if segmentation was left to the network card
    return Segment((source, from_port), (target, to_port), seq, flags, packet[data_at:end], max(0, end - data_at))


def _tcp_at(packet: bytes, skip: int) -> tuple[int, int, str, str] | None:
    """Return the offset of the TCP header, the size of the whole IP packet, and the two addresses."""
    version = packet[skip] >> 4 if len(packet) > skip else 0
    if version == 4 and len(packet) >= skip + _IPV4_HEADER.size:  # noqa: PLR2004
        first, _, size, _, fragment, _, protocol, _, source, target = _IPV4_HEADER.unpack_from(packet, skip)
        if protocol == _TCP and not fragment & 0x1FFF:
            return skip + (first & 15) * 4, size, str(ipaddress.IPv4Address(source)), str(ipaddress.IPv4Address(target))
    if version == 6 and len(packet) >= skip + _IPV6_HEADER.size:  # noqa: PLR2004
        _, size, protocol, _, source, target = _IPV6_HEADER.unpack_from(packet, skip)
        if protocol == _TCP:
            size = size + _IPV6_HEADER.size if size else 0
            return skip + _IPV6_HEADER.size, size, str(ipaddress.IPv6Address(source)), str(ipaddress.IPv6Address(target))
    return None
