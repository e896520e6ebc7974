"""A tape returns exactly what was put on it, and nothing is written beyond its memory."""

import math
import random
import struct

import pytest

from spoe_guard.capture.record.tape import HEAD_BYTES, Tape

WAITING = b"\xa5" * 64


@pytest.fixture
def tape():
    return Tape(256)


def told(tape):
    """Yield all that is on it."""
    at = 0
    while at < tape.used:
        yield tape.read(at)
        at += HEAD_BYTES + len(tape.read(at)[3])


@pytest.mark.parametrize("now", [0.0, 1234567.0000001, math.inf])
@pytest.mark.parametrize("mark", [0, 1, -1, (1 << 63) - 1, -(1 << 63)])
@pytest.mark.parametrize("data", [b"", b"\0", b"\0\xff" * 100])
def test_a_read_comes_back_as_it_was_put(tape, now, mark, data):
    tape.put(0.0, 0, 0, WAITING)
    at = tape.used
    tape.put(now, 7, mark, data)
    tape.put(0.0, 0, 0, WAITING)
    assert tape.read(at) == (now, 7, mark, data)
    assert tape.used == 3 * HEAD_BYTES + 2 * len(WAITING) + len(data)


@pytest.mark.parametrize(("link_id", "said"), [(0x7FFFFFFF, 0x7FFFFFFF), (0x80000000, 0), (0x80000001, 1)])
def test_a_link_whose_number_has_no_room_begins_again(tape, link_id, said):
    tape.put(1.0, link_id, 5, b"data")
    assert tape.read(0) == (1.0, said, 5, b"data")


@pytest.mark.parametrize(("beyond", "room"), [(-1, 256), (0, 256), (1, 512)])
def test_the_memory_is_filled_to_its_last_byte_before_there_is_more(tape, beyond, room):
    tape.put(1.0, 1, 1, b"a" * (256 - 2 * HEAD_BYTES - 10))
    tape.put(2.0, 2, 2, b"b" * (10 + beyond))
    assert tape.room == room
    assert [data for *_, data in told(tape)] == [b"a" * (256 - 2 * HEAD_BYTES - 10), b"b" * (10 + beyond)]


@pytest.mark.parametrize("room", [0, 1, HEAD_BYTES - 1, HEAD_BYTES])
def test_a_tape_without_room_for_a_head_takes_what_it_needs(room):
    tape = Tape(room)
    tape.put(1.0, 2, 3, b"data" * 1000)
    assert tape.room == HEAD_BYTES + 4000
    assert tape.read(0) == (1.0, 2, 3, b"data" * 1000)


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_put_there_stays_in_order(seed):
    chance = random.Random(seed)
    tape = Tape(chance.randrange(600))
    for _ in range(3):
        reads = [
            (chance.random(), chance.randrange(1 << 31), chance.randrange(-(1 << 63), 1 << 63), chance.randbytes(size))
            for size in chance.choices((0, 1, 40, 300, 512, 5000), k=chance.randrange(200))
        ]
        for read in reads:
            tape.put(*read)
        assert list(told(tape)) == reads
        tape.forget()


def test_what_was_forgotten_is_not_read_and_its_memory_used_again(tape):
    tape.put(1.0, 1, 1, b"before" * 100)
    room = tape.room
    tape.forget()
    assert tape.used == 0
    with pytest.raises(IndexError):
        tape.read(0)
    tape.put(2.0, 2, 2, b"behind")
    assert tape.room == room
    assert list(told(tape)) == [(2.0, 2, 2, b"behind")]
    with pytest.raises(IndexError):
        tape.read(tape.used)


@pytest.mark.parametrize("at", [-1, 1, HEAD_BYTES, HEAD_BYTES + 1, 1 << 62])
def test_where_no_read_is_none_is_read(tape, at):
    tape.put(-math.inf, 0x7FFFFFFF, -1, b"")
    with pytest.raises(IndexError):
        tape.read(at)


@pytest.mark.parametrize(("size", "fits"), [(0, True), (1, False)])
def test_a_head_that_says_more_than_there_is_is_not_believed(tape, size, fits):
    """Where no read begins a head may say anything: here it is the data of one."""
    tape.put(1.0, 1, 1, bytes(16) + size.to_bytes(4, "little") + bytes(4))
    if fits:
        assert tape.read(HEAD_BYTES) == (0.0, 0, 0, b"")
    else:
        with pytest.raises(IndexError):
            tape.read(HEAD_BYTES)


@pytest.mark.parametrize("data", [None, "data"])
def test_what_is_no_bytes_is_not_put(tape, data):
    with pytest.raises(TypeError):
        tape.put(1.0, 1, 1, data)
    assert tape.used == 0


@pytest.mark.parametrize("mark", [1 << 63, -(1 << 63) - 1])
def test_a_mark_of_more_than_64_bits_is_not_put(tape, mark):
    with pytest.raises((OverflowError, struct.error)):
        tape.put(1.0, 1, mark, b"data")
    assert tape.used == 0
