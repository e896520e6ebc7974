import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoe_guard.wire import kv, messages, typed_data, walk
from tests.wire.walking import assert_walks

IP = kv.Pair(b"ip", typed_data.IPV4, typed_data.decode_value(b"\x06\x7f\0\0\1", 0, 5)[0])
NOTE = kv.Pair(b"note", typed_data.STR, b"hello")
BARE = kv.Pair(b"", typed_data.NULL, None)

PAYLOADS = [
    ("no message", [], ""),
    ("no argument", [(b"m", [])], "016d 00"),
    ("one argument", [(b"m", [IP])], "016d 01 026970 067f000001"),
    ("an argument without name or value", [(b"m", [BARE])], "016d 01 00 00"),
    ("two messages", [(b"m", [IP, NOTE]), (b"other", [])], "016d 02 026970 067f000001 046e6f7465 080568656c6c6f 056f74686572 00"),
]


def told(listed):
    return [(message.name, [pair.raw for pair in message.args]) for message in listed]


@pytest.mark.parametrize(("listed", "hexed"), [row[1:] for row in PAYLOADS], ids=[row[0] for row in PAYLOADS])
def test_messages_are_written_and_read_as_the_spec_says(listed, hexed):
    payload = bytes.fromhex(hexed)
    assert messages.encode([messages.Message(name, args) for name, args in listed]) == payload
    read = messages.parse(payload)
    assert read is not None
    assert told(read) == [(name, [pair.raw for pair in args]) for name, args in listed]
    assert walk.check_messages(payload, 0, len(payload)) == walk.OK
    assert walk.check_messages(b"\xff" + payload + b"\xff", 1, len(payload) + 1) == walk.OK


@pytest.mark.parametrize("cut", range(1, 30))
def test_messages_cut_off_anywhere_but_between_two_do_not_parse(cut):
    payload = bytes.fromhex(PAYLOADS[-1][2])
    between = len(payload) - 7
    assert between == 23
    whole = cut == between
    assert (walk.check_messages(payload, 0, cut) == walk.OK) is whole
    assert (messages.parse(payload[:cut]) is not None) is whole


@pytest.mark.parametrize("hexed", [row[2] for row in PAYLOADS[1:4]], ids=[row[0] for row in PAYLOADS[1:4]])
def test_a_message_is_walked_over(hexed):
    assert_walks(walk.message_end, bytes.fromhex(hexed))


FAULTS = [
    ("no count of arguments", "016d", walk.MALFORMED),
    ("fewer arguments than counted", "016d 02 026970 067f000001", walk.INCOMPLETE),
    ("more arguments than counted", "016d 00 026970 067f000001", walk.BAD),
    ("name beyond the end", "056d", walk.BAD),
    ("value of no type", "016d 01 00 0f", walk.MALFORMED),
]


@pytest.mark.parametrize(("hexed", "fault"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS])
def test_a_fault_says_which(hexed, fault):
    payload = bytes.fromhex(hexed)
    assert walk.check_messages(payload, 0, len(payload)) == fault
    assert messages.parse(payload) is None


def test_255_arguments_fit_and_256_are_the_callers_bug():
    full = messages.encode([messages.Message(b"m", [BARE] * 255)])
    assert walk.check_messages(full, 0, len(full)) == walk.OK
    with pytest.raises(ValueError):
        messages.encode([messages.Message(b"m", [BARE] * 256)])


@given(st.binary(max_size=60))
def test_no_bytes_make_the_reader_raise_and_what_it_reads_writes_back(junk):
    read = messages.parse(junk)
    assert (read is None) == (walk.check_messages(junk, 0, len(junk)) != walk.OK)
    if read is not None:
        assert messages.encode(read) == junk
