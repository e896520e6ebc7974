import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spoe_guard.wire import varint, walk
from tests.wire.walking import assert_walks

U64 = (1 << 64) - 1

# The first and the last value of each length: SPOE.txt 3.1 names the bounds up to five bytes.
ENCODINGS = [
    (0, "00"),
    (1, "01"),
    (239, "ef"),
    (240, "f000"),
    (241, "f100"),
    (256, "f001"),
    (2287, "ff7f"),
    (2288, "f08000"),
    (264431, "ffff7f"),
    (264432, "f0808000"),
    (33818863, "ffffff7f"),
    (33818864, "f080808000"),
    (4328786159, "ffffffff7f"),
    (4328786160, "f08080808000"),
    ((1 << 63) - 1, "ff f0 fe fe fe fe fe fe fe 06"),
    (1 << 63, "f0 f1 fe fe fe fe fe fe fe 06"),
    (U64 - 1, "fe f0 fe fe fe fe fe fe fe 0e"),
    (U64, "ff f0 fe fe fe fe fe fe fe 0e"),
]


def meant(encoded):
    """What the bytes stand for, by SPOE.txt's description rather than by the code under test; unbounded."""
    value, factor = encoded[0], 16
    for byte in encoded[1:]:
        value += byte * factor
        factor *= 128
    return value


@pytest.mark.parametrize(("value", "hexed"), ENCODINGS, ids=[str(row[0]) for row in ENCODINGS])
def test_each_value_has_the_encoding_that_the_spec_gives_it(value, hexed):
    encoded = bytes.fromhex(hexed)
    assert meant(encoded) == value, "the table itself"
    assert varint.encode(value) == encoded
    assert varint.decode(encoded, 0, len(encoded)) == (value, len(encoded))
    assert_walks(walk.varint_end, encoded)


@pytest.mark.parametrize("hexed", [row[1] for row in ENCODINGS])
def test_a_cut_off_integer_is_incomplete_and_not_bad(hexed):
    encoded = bytes.fromhex(hexed)
    for cut in range(len(encoded)):
        assert walk.varint_end(encoded, 0, cut) == walk.INCOMPLETE
        assert varint.decode(encoded, 0, cut) == (0, walk.INCOMPLETE)


@pytest.mark.parametrize("value", [-1, U64 + 1])
def test_a_value_beyond_64_bits_is_the_callers_bug(value):
    with pytest.raises(ValueError, match=str(value)):
        varint.encode(value)


BAD = [
    ("one more than 64 bits hold", "f0 f1 fe fe fe fe fe fe fe 0e"),
    ("wraps to a small number in C", "f0 f8 fe fe fe fe fe fe fe 0e"),
    ("ten bytes, all bits", "ff ff ff ff ff ff ff ff ff 7f"),
    ("ten bytes and no end", "f0 80 80 80 80 80 80 80 80 80"),
    ("eleven bytes", "f0 80 80 80 80 80 80 80 80 80 00"),
    ("the whole buffer", "ff" * 30),
]


@pytest.mark.parametrize("hexed", [row[1] for row in BAD], ids=[row[0] for row in BAD])
def test_an_integer_beyond_ten_bytes_or_64_bits_is_bad(hexed):
    encoded = bytes.fromhex(hexed)
    assert walk.varint_end(encoded, 0, len(encoded)) == walk.BAD
    assert varint.decode(encoded, 0, len(encoded)) == (0, walk.BAD)
    for cut in range(walk.MAX_VARINT):
        assert walk.varint_end(encoded, 0, cut) == walk.INCOMPLETE, "nine bytes may still become an integer"


def test_the_tenth_byte_decides_over_64_bits():
    for tenth in range(0x80):
        encoded = bytes.fromhex("f0 f0 fe fe fe fe fe fe fe") + bytes((tenth,))
        fits = meant(encoded) <= U64
        assert walk.varint_end(encoded, 0, 10) == (10 if fits else walk.BAD)
        assert fits is (tenth <= 0x0E)


@given(st.integers(0, U64))
def test_every_64_bit_value_comes_back(value):
    encoded = varint.encode(value)
    assert 1 <= len(encoded) <= walk.MAX_VARINT
    assert meant(encoded) == value
    assert varint.decode(encoded, 0, len(encoded)) == (value, len(encoded))


ENDINGS = st.binary(max_size=12)
SPELLINGS = st.builds(lambda first, rest: bytes((first,)) + rest, st.integers(0, 255), ENDINGS)
LONG = st.builds(
    lambda first, middle, last: bytes((first, *(byte | 0x80 for byte in middle), last)),
    st.integers(240, 255),
    st.binary(min_size=6, max_size=9),
    st.integers(0, 255),
)


@given(SPELLINGS | LONG)
@example(bytes.fromhex("f08000"))
@example(bytes.fromhex("f0f1fefefefefefefe0e"))
def test_no_value_has_a_second_spelling(spelling):
    """What can be read at all re-encodes to itself, so ids may be compared as bytes."""
    value, after = varint.decode(spelling, 0, len(spelling))
    if after > 0:
        assert varint.encode(value) == spelling[:after]
        assert value == meant(spelling[:after])
    elif after == walk.BAD:
        ten = spelling[: walk.MAX_VARINT]
        assert len(ten) == walk.MAX_VARINT
        assert ten[-1] & 0x80 or meant(ten) > U64
    else:
        assert after == walk.INCOMPLETE
        assert spelling[0] >= 240
        assert all(byte & 0x80 for byte in spelling[1:])


def test_all_spellings_of_one_and_two_bytes_are_the_first_2288_values():
    spellings = [bytes((first,)) for first in range(240)]
    spellings += [bytes((first, second)) for first in range(240, 256) for second in range(128)]
    values = [varint.decode(spelling, 0, len(spelling)) for spelling in spellings]
    assert sorted(value for value, _ in values) == list(range(2288))
    assert all(after == len(spelling) for (_, after), spelling in zip(values, spellings, strict=True))


def test_nothing_is_read_from_an_empty_range():
    assert walk.varint_end(b"\x01\x02", 2, 2) == walk.INCOMPLETE
    assert walk.varint_end(b"\x01\x02", 1, 1) == walk.INCOMPLETE
