import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoe_guard.wire import kv, typed_data, walk
from tests.wire.walking import assert_walks

AGENT_HELLO = bytes.fromhex(
    "0776657273696f6e 0803322e30"  # version 2.0
    "0e6d61782d6672616d652d73697a65 03fcf006"  # max-frame-size 16380
    "0c6361706162696c6974696573 080a706970656c696e696e67"  # capabilities pipelining
)
HELLO_PAIRS = [
    (b"version", typed_data.STR, b"2.0"),
    (b"max-frame-size", typed_data.UINT32, 16380),
    (b"capabilities", typed_data.STR, b"pipelining"),
]


def told(pairs):
    return [(pair.name, pair.type, pair.value) for pair in pairs]


def test_the_list_of_a_recorded_hello_is_read():
    pairs, stop = kv.parse(AGENT_HELLO, 0, len(AGENT_HELLO))
    assert (told(pairs), stop) == (HELLO_PAIRS, len(AGENT_HELLO))


def test_pairs_that_were_parsed_go_out_as_they_came():
    odd = typed_data.encode_string(b"k") + b"\x13\x07"  # a flag on an integer, which writing afresh would lose
    pairs, _ = kv.parse(odd, 0, len(odd))
    assert told(pairs) == [(b"k", typed_data.UINT32, 7)]
    assert kv.encode(pairs) == odd


def test_pairs_of_our_own_are_written():
    assert kv.encode([kv.Pair(*pair) for pair in HELLO_PAIRS]) == AGENT_HELLO
    assert kv.encode([]) == b""


@pytest.mark.parametrize("cut", range(len(AGENT_HELLO)))
def test_a_list_cut_off_anywhere_gives_the_pairs_before_the_cut(cut):
    ends = [0, 13, 32, len(AGENT_HELLO)]
    whole = max(count for count in range(4) if ends[count] <= cut)
    pairs, stop = kv.parse(AGENT_HELLO, 0, cut)
    assert (told(pairs), stop) == (HELLO_PAIRS[:whole], ends[whole])
    assert told(kv.parse(AGENT_HELLO[:cut], 0, cut)[0]) == HELLO_PAIRS[:whole]


FAULTS = [
    ("no value", "0161", walk.MALFORMED),
    ("unknown type", "0161 0a", walk.MALFORMED),
    ("name beyond the end", "0561", walk.BAD),
    ("value beyond the end", "0161 0802 61", walk.BAD),
]


@pytest.mark.parametrize(("hexed", "fault"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS])
def test_an_unreadable_pair_stops_the_list_in_front_of_it(hexed, fault):
    good = kv.Pair(b"n", typed_data.NULL, None).raw
    listed = good + bytes.fromhex(hexed)
    assert walk.pair_end(listed, len(good), len(listed)) == fault
    pairs, stop = kv.parse(listed, 0, len(listed))
    assert (told(pairs), stop) == ([(b"n", typed_data.NULL, None)], len(good))


@pytest.mark.parametrize("pair", HELLO_PAIRS, ids=[row[0].decode() for row in HELLO_PAIRS])
def test_a_pair_is_walked_over(pair):
    assert_walks(walk.pair_end, kv.Pair(*pair).raw)


def test_a_pair_shows_name_type_and_value():
    assert repr(kv.Pair(b"version", typed_data.STR, b"2.0")) == "<Pair b'version' 8 b'2.0'>"


@given(st.binary(max_size=60), st.integers(0, 5), st.integers(0, 60))
def test_no_bytes_make_the_reader_raise_and_what_it_reads_writes_back(junk, pos, end):
    end = min(end, len(junk))
    pairs, stop = kv.parse(junk, pos, end)
    assert pos <= stop <= max(pos, end)
    assert kv.encode(pairs) == junk[pos:stop]
    assert stop >= end or walk.pair_end(junk, stop, end) < 0


@pytest.mark.parametrize(("most", "read", "at"), [(0, 0, 0), (2, 2, 32), (3, 3, len(AGENT_HELLO)), (4, 3, len(AGENT_HELLO))])
def test_no_more_pairs_are_read_than_asked_for(most, read, at):
    pairs, stop = kv.parse(AGENT_HELLO, 0, len(AGENT_HELLO), most)
    assert (told(pairs), stop) == (HELLO_PAIRS[:read], at)
