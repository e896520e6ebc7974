"""What the hot lane reads from a frame's header: where the frame ends, and its ids as one number."""

import pytest

from spoe_guard.wire import frame, varint, walk

KIND = frame.NOTIFY
WHOLE = frame.encode(KIND, 7, 1, b"payload")
SIZE = len(WHOLE) - 4

OTHER = {
    "another type": frame.encode(frame.ACK, 7, 1, b"payload"),
    "without FIN": frame.encode(KIND, 7, 1, b"payload", 0),
    "with the last bit of the flags": frame.encode(KIND, 7, 1, b"payload", 3),
    "with a bit of the third byte": frame.encode(KIND, 7, 1, b"payload", 0x0101),
    "with a bit of the second byte": frame.encode(KIND, 7, 1, b"payload", 0x010001),
    "with a bit of the first byte": frame.encode(KIND, 7, 1, b"payload", 0x01000001),
    "a runt with bytes behind it": (6).to_bytes(4, "big") + WHOLE[4:],
    "longer than may be": (SIZE + 1).to_bytes(4, "big") + WHOLE[4:] + b"x",
    "longer than there are numbers": b"\xff\xff\xff\xff" + WHOLE[4:],
}


def test_a_whole_frame_ends_where_its_length_says_wherever_it_stands() -> None:
    assert walk.whole_end(WHOLE, 0, len(WHOLE), KIND, SIZE) == len(WHOLE)
    assert walk.whole_end(b"x" + WHOLE + b"xx", 1, len(WHOLE) + 3, KIND, SIZE) == len(WHOLE) + 1


@pytest.mark.parametrize("raw", OTHER.values(), ids=OTHER)
def test_any_other_frame_has_no_end(raw: bytes) -> None:
    assert walk.whole_end(raw, 0, len(raw), KIND, SIZE) == 0


def test_one_that_is_not_all_there_has_no_end_whatever_stands_behind() -> None:
    assert [walk.whole_end(WHOLE, 0, end, KIND, SIZE) for end in range(len(WHOLE))] == [0] * len(WHOLE)


def test_the_shortest_frame_is_one_too() -> None:
    shortest = frame.encode(KIND, 7, 1)
    assert walk.whole_end(shortest, 0, len(shortest), KIND, 7) == len(shortest) == 11


PACKED = [(0, 0), (1, 1), (239, 239), (240, 240), (2287, 2288), (264431, 264432), (33818863, 33818863), (4328786159, 33818863)]


def pack(first: int, second: int) -> bytes:
    return varint.encode(first) + varint.encode(second)


@pytest.mark.parametrize(("stream_id", "frame_id"), PACKED)
def test_ids_are_packed_in_full_with_their_length_wherever_they_stand(stream_id: int, frame_id: int) -> None:
    ids = pack(stream_id, frame_id)
    packed = walk.pack_ids(b"\xff" + ids + b"\xff", 1, len(ids) + 2)
    assert (packed >> 30, packed >> 4 & (1 << 26) - 1, packed & 15) == (stream_id, frame_id, len(ids))


def test_different_ids_are_different_numbers() -> None:
    firsts = [stream_id for stream_id, _ in PACKED]
    seconds = {frame_id for _, frame_id in PACKED}
    packed = [walk.pack_ids(ids, 0, len(ids)) for ids in (pack(one, other) for one in firsts for other in seconds)]
    assert len(set(packed)) == len(packed)


@pytest.mark.parametrize(("stream_id", "frame_id"), PACKED)
def test_ids_that_do_not_end_are_not_packed(stream_id: int, frame_id: int) -> None:
    ids = pack(stream_id, frame_id)
    assert [walk.pack_ids(ids, 0, end) for end in range(len(ids))] == [0] * len(ids)
    assert walk.pack_ids(ids, len(ids) + 1, len(ids)) == 0  # a read may end before where they would stand


@pytest.mark.parametrize(("stream_id", "frame_id"), [(4328786160, 1), (1, 33818864), ((1 << 64) - 1, 1), (1, (1 << 64) - 1)])
def test_ids_that_are_too_long_are_not_packed(stream_id: int, frame_id: int) -> None:
    ids = pack(stream_id, frame_id)
    assert walk.pack_ids(ids, 0, len(ids)) == 0
