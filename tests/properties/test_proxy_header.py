"""The PROXY header: whatever comes, in whatever pieces, it is read the same way or refused, within its bounds."""

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from spoe_guard.core.payloads.proxy_header import MAX_V2, Header, read
from tests.properties.effort import marks, thoroughly

pytestmark = marks

SIGN = b"\r\n\r\n\0\r\nQUIT\n"
ports = st.integers(0, 65535)
hosts = st.one_of(st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)), st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6)))


@st.composite
def headers(draw):
    """A header as doc/proxy-protocol.txt has it, and the peer it names."""
    (source, target), ends = draw(hosts), (draw(ports), draw(ports))
    named = f"[{source}]:{ends[0]}" if source.version == 6 else f"{source}:{ends[0]}"
    if draw(st.booleans()):
        return f"PROXY TCP{source.version} {source} {target} {ends[0]} {ends[1]}\r\n".encode(), named
    body = source.packed + target.packed + b"".join(port.to_bytes(2, "big") for port in ends)
    body += draw(st.binary(max_size=300))  # what proxy-v2-options add
    family = 0x11 if isinstance(source, ipaddress.IPv4Address) else 0x21
    command = draw(st.sampled_from([0x20, 0x21]))
    return SIGN + bytes((command, family)) + len(body).to_bytes(2, "big") + body, named if command == 0x21 else ""


@thoroughly
@given(headers(), st.binary(max_size=50))
def test_every_header_of_the_specification_is_taken_off(header, behind):
    raw, named = header
    assert read(raw + behind) == Header(len(raw), named)
    assert all(read(raw[:count]) is None for count in range(len(raw)))


beginnings = st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", b"PROXY UNKNOWN", SIGN, SIGN + b"\x21\x11", SIGN + b"\x20\0\0"])


@thoroughly
@given(st.tuples(beginnings, st.binary(max_size=200)).map(b"".join))
def test_whatever_comes_is_decided_once_and_within_bounds(raw):
    decided = [found for count in range(len(raw) + 1) if (found := read(raw[:count])) is not None]
    assert all(type(found) is type(decided[0]) for found in decided)
    if decided and isinstance(decided[0], Header):
        assert set(decided) == {decided[0]}
        assert decided[0].size <= len(raw)
    assert read(raw.ljust(MAX_V2, b"\0")) is not None
