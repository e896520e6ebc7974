import math

import pytest

from spoe_guard.core.incoming.inlet import HEADER_BYTES, Inlet, bytes_needed

CAP = 256
SKIPPABLE = 1000

CASES = [
    # name                                     bytes there                             needed
    ("nothing",                                b"",                                    4),
    ("half a length",                          b"\0\0",                                4),
    ("a frame as long as may be",              CAP.to_bytes(4, "big"),                 4 + CAP),
    ("one byte longer: only its header",       (CAP + 1).to_bytes(4, "big"),           HEADER_BYTES),
    ("the longest that can be skipped",        SKIPPABLE.to_bytes(4, "big"),           HEADER_BYTES),
    ("one longer: judged by its length alone", (SKIPPABLE + 1).to_bytes(4, "big"),     4),
    ("a length out of this world",             b"\xff\xff\xff\xff",                    4),
    ("the shortest frame",                     b"\0\0\0\7",                            11),
    ("a runt: judged by its length alone",     b"\0\0\0\6",                            4),
    ("nothing at all in it",                   b"\0\0\0\0",                            4),
]  # fmt: skip


@pytest.mark.parametrize(("there", "needed"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_the_length_is_judged_before_the_body_is_awaited(there: bytes, needed: int) -> None:
    assert bytes_needed(there, 0, len(there), CAP, SKIPPABLE) == needed
    assert bytes_needed(b"\xff" + there + b"\xff", 1, 1 + len(there), CAP, SKIPPABLE) == needed, "elsewhere in a buffer"


def test_the_header_of_an_oversize_frame_fits_in_what_is_awaited() -> None:
    assert HEADER_BYTES == 4 + 1 + 4 + 2 * 10


def test_without_a_tail_data_is_walked_as_it_came() -> None:
    data = bytes(100)
    assert Inlet().take(data) is data


def test_a_tail_is_kept_until_what_was_needed_is_there() -> None:
    inlet = Inlet()
    inlet.keep(b"ab", 5, now=3.0)
    assert (inlet.held, inlet.since, inlet.inside_frame) == (2, 3.0, True)
    assert inlet.take(b"cd") == b""
    assert inlet.held == 4
    assert inlet.take(b"efg") == b"abcdefg"
    assert inlet.held == 0


def test_a_frames_time_counts_from_its_first_byte_to_its_end() -> None:
    inlet = Inlet()
    inlet.keep(b"ab", 4, now=3.0)
    inlet.keep(inlet.take(b"cd"), 9, now=4.0)
    assert inlet.since == 3.0
    inlet.consumed(9)
    assert (inlet.since, inlet.offset) == (math.inf, 9)


def test_skipping_takes_no_more_than_was_asked_for() -> None:
    inlet = Inlet()
    inlet.skip(10, since=2.0)
    assert inlet.inside_frame
    assert inlet.since == 2.0
    assert inlet.skipped(4) == 4
    assert inlet.since == 2.0
    assert inlet.skipped(100) == 6
    assert not inlet.inside_frame
    assert (inlet.since, inlet.offset) == (math.inf, 10)
    assert inlet.skipped(100) == 0


def test_skipping_nothing_starts_no_clock() -> None:
    inlet = Inlet()
    inlet.skip(0, since=2.0)
    assert not inlet.inside_frame
    assert inlet.since == math.inf
