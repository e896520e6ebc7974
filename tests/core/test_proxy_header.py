"""The PROXY protocol's header: taken off, waited for, or wrong in words (HAProxy doc/proxy-protocol.txt, section 2)."""

import pytest

from spoe_guard.core.payloads import proxy_header
from spoe_guard.core.payloads.proxy_header import MAX_V1, MAX_V2, Header

SIGN = b"\r\n\r\n\0\r\nQUIT\n"
LONG_V6 = b":".join([b"ffff"] * 8)
V6 = bytes.fromhex("20010db8") + bytes(11) + b"\1"


def v2(command: int = 0x21, kind: int = 0x11, body: bytes = b"", size: int | None = None) -> bytes:
    return SIGN + bytes((command, kind)) + (len(body) if size is None else size).to_bytes(2, "big") + body


INET = bytes((192, 0, 2, 1, 192, 0, 2, 2)) + (56324).to_bytes(2, "big") + (443).to_bytes(2, "big")
INET6 = V6 + V6 + (56324).to_bytes(2, "big") + (443).to_bytes(2, "big")
TLVS = b"\x04\0\3abc"

GOOD = {
    "TCP4": (b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", "192.168.0.1:56324"),
    "the longest TCP4": (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535"),
    "TCP6": (b"PROXY TCP6 2001:db8::1 ::1 1 0\r\n", "[2001:db8::1]:1"),
    "the longest TCP6": (b"PROXY TCP6 " + LONG_V6 + b" " + LONG_V6 + b" 65535 65535\r\n", f"[{LONG_V6.decode()}]:65535"),
    "UNKNOWN": (b"PROXY UNKNOWN\r\n", ""),
    "the longest UNKNOWN": (b"PROXY UNKNOWN " + LONG_V6 + b" " + LONG_V6 + b" 65535 65535\r\n", ""),
    "2, TCP4": (v2(body=INET), "192.0.2.1:56324"),
    "2, TCP4, with more behind": (v2(body=INET + TLVS), "192.0.2.1:56324"),
    "2, TCP6": (v2(kind=0x21, body=INET6), "[2001:db8::1]:56324"),
    "2, LOCAL": (v2(0x20, 0x00), ""),
    "2, LOCAL with addresses": (v2(0x20, 0x11, INET), ""),
    "2, LOCAL with too few": (v2(0x20, 0x11, b"x"), ""),
    "2, UNSPEC": (v2(kind=0x00, body=TLVS), ""),
    "2, UDP": (v2(kind=0x12, body=INET), ""),
    "2, a Unix socket": (v2(kind=0x31, body=bytes(216)), ""),
    "2, the longest": (v2(body=INET + bytes(MAX_V2 - 28)), "192.0.2.1:56324"),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_header_is_read_to_its_last_byte_and_no_further(name: str) -> None:
    raw, source = GOOD[name]
    assert proxy_header.read(raw) == proxy_header.read(raw + b"\0\0\0\x7f\1") == Header(len(raw), source)


@pytest.mark.parametrize("name", GOOD)
def test_more_is_waited_for_until_the_header_is_whole(name: str) -> None:
    raw, _ = GOOD[name]
    assert [proxy_header.read(raw[:count]) for count in range(len(raw))] == [None] * len(raw)


MALFORMED = "version 1, is malformed"
WRONG = {
    "HELLO": (b"\0\0\0\x7f\1", "no PROXY header"),
    "HTTP that begins alike": (b"POST /", "no PROXY header"),
    "half a sign": (SIGN[:6] + b"X", "no PROXY header"),
    "another kind": (b"PROXY UDP4 192.0.2.1 192.0.2.2 5 6\r\n", MALFORMED),
    "no address": (b"PROXY TCP4\r\n", MALFORMED),
    "a word too many": (b"PROXY TCP4 192.0.2.1 192.0.2.2 5 6 7\r\n", MALFORMED),
    "two spaces": (b"PROXY TCP4  192.0.2.1 192.0.2.2 5 6\r\n", MALFORMED),
    "nothing": (b"PROXY \r\n", MALFORMED),
    "a heading zero": (b"PROXY TCP4 192.0.2.01 192.0.2.2 5 6\r\n", MALFORMED),
    "an address of the other family": (b"PROXY TCP4 ::1 192.0.2.2 5 6\r\n", MALFORMED),
    "a second one that is none": (b"PROXY TCP6 ::1 ::x 5 6\r\n", MALFORMED),
    "a scope": (b"PROXY TCP6 fe80::1%1 ::1 5 6\r\n", MALFORMED),
    "no ASCII": (b"PROXY TCP4 192.0.2.\xff 192.0.2.2 5 6\r\n", MALFORMED),
    "a port beyond the last": (b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 6\r\n", MALFORMED),
    "a port of many digits": (b"PROXY TCP4 192.0.2.1 192.0.2.2 5 000006\r\n", MALFORMED),
    "a port with a heading zero": (b"PROXY TCP4 192.0.2.1 192.0.2.2 5 06\r\n", MALFORMED),
    "a port that is none": (b"PROXY TCP4 192.0.2.1 192.0.2.2 5 -6\r\n", MALFORMED),
    "LF alone": (b"PROXY TCP4 192.0.2.1 192.0.2.2 5 6\n" + bytes(MAX_V1), "no end within 107 bytes"),
    "a line of 108 bytes": (b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n", "no end within 107 bytes"),
    "2, version 1": (v2(0x11, body=INET), "version and command 0x11"),
    "2, an unknown command": (v2(0x22, body=INET), "version and command 0x22"),
    "2, one byte too long": (v2(size=MAX_V2 - 15), "has 4097 bytes: at most 4096"),
    "2, too short for TCP4": (v2(size=11), "too short for its addresses"),
    "2, too short for TCP6": (v2(kind=0x21, size=35), "too short for its addresses"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_header_is_said_in_words(name: str) -> None:
    raw, words = WRONG[name]
    found = proxy_header.read(raw)
    assert isinstance(found, str)
    assert words in found


def test_a_line_without_its_end_is_wrong_at_107_bytes() -> None:
    line = b"PROXY UNKNOWN ".ljust(MAX_V1, b"x")
    assert proxy_header.read(line[:-1]) is None
    assert isinstance(proxy_header.read(line), str)
