import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoe_guard.wire import typed_data, walk
from tests.wire.walking import assert_walks

V4 = ipaddress.IPv4Address("192.0.2.1")
V6 = ipaddress.IPv6Address("2001:db8::1")

VALUES = [
    # name, kind, value, bytes
    ("null", typed_data.NULL, None, "00"),
    ("false", typed_data.BOOL, False, "01"),
    ("true", typed_data.BOOL, True, "11"),
    ("int32", typed_data.INT32, 5, "02 05"),
    ("int32 of -1 travels as 64 bits", typed_data.INT32, -1, "02 ff f0 fe fe fe fe fe fe fe 0e"),
    ("uint32", typed_data.UINT32, 16380, "03 fc f0 06"),
    ("int64", typed_data.INT64, -(1 << 63), "04 f0 f1 fe fe fe fe fe fe fe 06"),
    ("uint64", typed_data.UINT64, (1 << 64) - 1, "05 ff f0 fe fe fe fe fe fe fe 0e"),
    ("ipv4", typed_data.IPV4, V4, "06 c0 00 02 01"),
    ("ipv6", typed_data.IPV6, V6, "07 2001 0db8 0000 0000 0000 0000 0000 0001"),
    ("string", typed_data.STR, b"hello", "08 05 68 65 6c 6c 6f"),
    ("empty string", typed_data.STR, b"", "08 00"),
    ("binary", typed_data.BIN, b"\x00\xff", "09 02 00 ff"),
    ("string of 240 bytes", typed_data.STR, b"x" * 240, "08 f0 00" + "78" * 240),
]


@pytest.mark.parametrize(("kind", "value", "hexed"), [row[1:] for row in VALUES], ids=[row[0] for row in VALUES])
def test_each_type_is_written_and_read_as_the_spec_says(kind, value, hexed):
    encoded = bytes.fromhex(hexed)
    assert typed_data.encode_value(kind, value) == encoded
    assert typed_data.decode_value(encoded, 0, len(encoded)) == (value, len(encoded))
    assert_walks(walk.value_end, encoded)
    for cut in range(len(encoded)):
        assert typed_data.decode_value(encoded, 0, cut) == (None, walk.value_end(encoded, 0, cut))


FLAGGED = [
    ("only 0x11 is true", "21", False),
    ("flags of a string mean nothing", "1801 61", b"a"),
    ("flags of an integer mean nothing", "f3 07", 7),
    ("null with a flag is still null", "10", None),
]


@pytest.mark.parametrize(("hexed", "value"), [row[1:] for row in FLAGGED], ids=[row[0] for row in FLAGGED])
def test_the_high_nibble_counts_for_booleans_only(hexed, value):
    encoded = bytes.fromhex(hexed)
    assert typed_data.decode_value(encoded, 0, len(encoded)) == (value, len(encoded))


@pytest.mark.parametrize("kind", range(10, 16))
def test_a_type_nobody_defines_is_malformed(kind):
    assert walk.value_end(bytes((kind, 0, 0)), 0, 3) == walk.MALFORMED
    assert walk.value_end(bytes((kind | 0xF0, 0, 0)), 0, 3) == walk.MALFORMED


FAULTS = [
    ("nothing at all", "", walk.MALFORMED),
    ("an address cut off", "06 c0 00", walk.MALFORMED),
    ("an integer without end", "03 f0 80", walk.INCOMPLETE),
    ("an integer of eleven bytes", "03 f0 80 80 80 80 80 80 80 80 80 00", walk.BAD),
    ("a string without length", "08", walk.INCOMPLETE),
    ("a string longer than what is left", "08 05 61", walk.BAD),
    ("a string whose length does not end", "08 f0", walk.INCOMPLETE),
    ("a long string beyond what is left", "08 f0 00 61", walk.BAD),
    ("a length that wraps a 64-bit pointer", "08 ff f0 fe fe fe fe fe fe fe 0e 61", walk.BAD),
    ("a length beyond 64 bits", "08 ff ff ff ff ff ff ff ff ff 7f 61", walk.BAD),
]


@pytest.mark.parametrize(("hexed", "fault"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS])
def test_a_fault_says_which(hexed, fault):
    encoded = bytes.fromhex(hexed)
    assert walk.value_end(encoded, 0, len(encoded)) == fault
    assert typed_data.decode_value(encoded, 0, len(encoded)) == (None, fault)


STRINGS = [b"", b"a", b"x" * 239, b"x" * 240, b"x" * 2288]


@pytest.mark.parametrize("text", STRINGS, ids=len)
def test_strings_carry_their_length(text):
    encoded = typed_data.encode_string(text)
    assert_walks(walk.string_end, encoded)
    assert typed_data.decode_string(encoded, 0, len(encoded)) == (text, len(encoded))
    assert typed_data.decode_string(b"\x09" + encoded + b"tail", 1, len(encoded) + 5) == (text, len(encoded) + 1)
    assert typed_data.decode_string(encoded, 0, len(encoded) - 1)[0] == b""
    assert typed_data.decode_string(encoded, 0, len(encoded) - 1)[1] < 0


WRONG = [
    (typed_data.NULL, 0),
    (typed_data.BOOL, 1),
    (typed_data.BOOL, None),
    (typed_data.UINT32, "7"),
    (typed_data.UINT32, -1),
    (typed_data.UINT64, 1 << 64),
    (typed_data.INT64, 1 << 64),
    (typed_data.IPV4, V6),
    (typed_data.IPV6, V4),
    (typed_data.STR, "text"),
    (typed_data.BIN, None),
    (10, b""),
]


@pytest.mark.parametrize(("kind", "value"), WRONG)
def test_writing_what_a_type_cannot_hold_is_the_callers_bug(kind, value):
    with pytest.raises(ValueError):
        typed_data.encode_value(kind, value)


VALUED = st.one_of(
    st.just((typed_data.NULL, None)),
    st.tuples(st.just(typed_data.BOOL), st.booleans()),
    st.tuples(st.sampled_from((typed_data.INT32, typed_data.INT64)), st.integers(-(1 << 63), (1 << 63) - 1)),
    st.tuples(st.sampled_from((typed_data.UINT32, typed_data.UINT64)), st.integers(0, (1 << 64) - 1)),
    st.tuples(st.just(typed_data.IPV4), st.ip_addresses(v=4)),
    st.tuples(st.just(typed_data.IPV6), st.ip_addresses(v=6)),
    st.tuples(st.sampled_from((typed_data.STR, typed_data.BIN)), st.binary(max_size=300)),
)


@given(VALUED)
def test_whatever_is_written_is_read_back(typed):
    encoded = typed_data.encode_value(*typed)
    assert typed_data.decode_value(encoded, 0, len(encoded)) == (typed[1], len(encoded))
    assert_walks(walk.value_end, encoded)


@given(st.binary(max_size=40), st.integers(0, 45), st.integers(0, 40))
def test_no_bytes_make_a_walker_raise_or_step_out_of_its_range(junk, pos, end):
    end = min(end, len(junk))
    for part_end in (walk.string_end, walk.value_end):
        after = part_end(junk, pos, end)
        assert after < 0 or pos < after <= end
    for read in (typed_data.decode_string, typed_data.decode_value):
        assert read(junk, pos, end)[1] == (walk.string_end if read is typed_data.decode_string else walk.value_end)(
            junk, pos, end
        )
