"""The PROXY protocol, versions 1 and 2: the header that `send-proxy` on HAProxy's server line puts in front of HELLO.

Source: HAProxy doc/proxy-protocol.txt, section 2; connection.c, ``conn_recv_proxy``.
"""

import ipaddress
from typing import Final, NamedTuple

from spoe_guard.address import MAX_PORT, Address

V1: Final = b"PROXY "
V2: Final = b"\r\n\r\n\0\r\nQUIT\n"
MAX_V1: Final = 107  # bytes of the line, CRLF included
MAX_V2: Final = 4096  # bytes of the whole header: the addresses and what HAProxy's proxy-v2-options add

_CRLF: Final = b"\r\n"
_V2_HEAD: Final = 16
_LOCAL: Final = 0x20  # version and command: a health check of the proxy's own
_PROXY: Final = 0x21
_TCP4: Final = 0x11  # family and transport; of any other the real address is kept
_TCP6: Final = 0x21
_ADDRESS_BYTES: Final = {_TCP4: 4, _TCP6: 16}
_KINDS: Final = {b"TCP4": ipaddress.IPv4Address, b"TCP6": ipaddress.IPv6Address}
_V1_WORDS: Final = 6  # PROXY, kind, two addresses, two ports

_MALFORMED: Final = "the PROXY header, version 1, is malformed: expected TCP4 or TCP6, two addresses and two ports, or UNKNOWN"
_MISSING: Final = (
    "no PROXY header, which proxy_protocol: accept needs: put `send-proxy` or `send-proxy-v2` on HAProxy's server line "
    "(and `check-send-proxy` for its health checks), or set proxy_protocol: refuse"
)


class Header(NamedTuple):
    """A whole header. ``size``: its bytes. ``source``: who connected, empty if it is who holds the connection."""

    size: int
    source: str = ""


def version(first: bytes) -> int:
    """Return which version of the header ``first`` begins with, 0 if with none."""
    return 1 if first.startswith(V1) else 2 if first.startswith(V2) else 0


def may_become(first: bytes) -> bool:
    """Whether more bytes may make a header of ``first``, which does not say yet whether it is one."""
    return any(len(first) < len(sign) and sign.startswith(first) for sign in (V1, V2))


def read(first: bytes) -> Header | str | None:
    """Return the header that ``first`` begins with, what is wrong with it in words, or None if more bytes are needed."""
    which = version(first)
    if which:
        return _read_v1(first) if which == 1 else _read_v2(first)
    return None if may_become(first) else _MISSING


def _read_v1(first: bytes) -> Header | str | None:
    line, end, _ = first[:MAX_V1].partition(_CRLF)
    if not end:
        return None if len(first) < MAX_V1 else f"the PROXY header, version 1, has no end within {MAX_V1} bytes"
    size = len(line) + len(_CRLF)
    words = line.split(b" ")
    if words[1] == b"UNKNOWN":
        return Header(size)
    source = _source_v1(words)
    return Header(size, source) if source else _MALFORMED


def _source_v1(words: list[bytes]) -> str:
    kind = _KINDS.get(words[1])
    if kind is None or len(words) != _V1_WORDS or b"%" in words[2] + words[3]:
        return ""
    try:
        source, _ = (kind(word.decode("ascii")) for word in words[2:4])
        port, _ = (_port(word) for word in words[4:])
    except ValueError:
        return ""
    return str(Address(str(source), port))


def _port(word: bytes) -> int:
    """Return the port that ``word`` names.

    Raises:
        ValueError: it is none, or is written with a heading zero.
    """
    port = int(word) if word.isdigit() and len(word) <= len(str(MAX_PORT)) else MAX_PORT + 1
    if port > MAX_PORT or str(port).encode() != word:
        raise ValueError
    return port


def _read_v2(first: bytes) -> Header | str | None:
    if len(first) < _V2_HEAD:
        return None
    command, kind = first[12], first[13]
    size = _V2_HEAD + int.from_bytes(first[14:_V2_HEAD], "big")
    if command not in (_LOCAL, _PROXY):
        return f"the PROXY header, version 2, has version and command {command:#04x}: expected 0x20 or 0x21"
    if size > MAX_V2:
        return f"the PROXY header, version 2, has {size} bytes: at most {MAX_V2} are taken"
    taken = _ADDRESS_BYTES.get(kind, 0) if command == _PROXY else 0
    if size < _V2_HEAD + 2 * taken + (4 if taken else 0):
        return "the PROXY header, version 2, is too short for its addresses"
    if len(first) < size:
        return None
    if not taken:
        return Header(size)
    host = ipaddress.ip_address(first[_V2_HEAD : _V2_HEAD + taken])
    port_at = _V2_HEAD + 2 * taken
    return Header(size, str(Address(str(host), int.from_bytes(first[port_at : port_at + 2], "big"))))
