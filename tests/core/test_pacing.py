"""The pace of writes to HAProxy: 8 KiB of whole frames within a millisecond, a longer frame alone (hazard A1)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoe_guard.core.conversation.pacing import BURST_BYTES, WINDOW_S, Pace
from spoe_guard.wire import frame
from tests.core import frames

MS = 0.001


def sized(wire_bytes: int) -> bytes:
    return frame.encode(frame.ACK, 1, 1, b"x" * (wire_bytes - 11))


def test_the_figures_are_the_catalogues() -> None:
    assert (BURST_BYTES, WINDOW_S) == (8192, MS)


@pytest.mark.parametrize(("last", "passes"), [(92, True), (93, False)])
def test_8192_bytes_pass_at_once_and_one_more_does_not(last: int, passes: bool) -> None:
    pace = Pace()
    for _ in range(9):
        assert pace.passes(900, 5.0)
    assert pace.passes(last, 5.0) is passes


def test_what_does_not_fit_is_queued_whole_and_goes_a_millisecond_later() -> None:
    pace = Pace()
    sent = [sized(4000), sized(4000), sized(4000), sized(192)]
    assert not pace.passes(12192, 5.0)
    assert pace.through(b"".join(sent), 5.0) == sent[0] + sent[1]
    assert pace.queue == sent[2] + sent[3]
    assert pace.due == 5.0 + MS
    assert pace.through(b"", pace.due - 1e-9) == b""
    assert pace.through(b"", pace.due) == sent[2] + sent[3]
    assert not pace.queue


def test_nothing_overtakes_the_queue() -> None:
    pace = Pace()
    pace.through(sized(8192) + sized(8192), 5.0)
    assert not pace.passes(10, 5.0)
    assert pace.through(sized(30), 5.0) == b""
    assert pace.through(b"", pace.due) == sized(8192)
    assert pace.through(b"", pace.due) == sized(30)


@pytest.mark.parametrize("size", [8192, 8193, 16372])
def test_a_longer_frame_goes_with_nothing_a_millisecond_before_and_behind_it(size: int) -> None:
    pace = Pace()
    assert pace.passes(11, 5.0)
    assert pace.through(sized(size), 5.0) == b""
    assert pace.through(sized(11), 5.0 + MS - 1e-9) == b""
    assert pace.through(b"", 5.0 + MS) == sized(size)  # and 11 bytes are too many behind it
    assert pace.queue == sized(11)
    assert pace.through(b"", pace.due - 1e-9) == b""
    assert pace.due == pytest.approx(5.0 + 2 * MS)
    assert pace.through(b"", pace.due) == sized(11)
    assert Pace().through(sized(size), 5.0) == sized(size)


def test_what_went_in_the_millisecond_before_still_counts() -> None:
    pace = Pace()
    assert pace.passes(100, 5.0)
    assert pace.passes(8000, 5.0009)
    assert not pace.passes(193, 5.0011)  # a new slot has begun, and the 8000 bytes are 0.2 ms old
    assert pace.passes(92, 5.0011)
    assert pace.passes(8092, 5.0021)  # they are older than a millisecond


def test_a_trickle_never_waits() -> None:
    pace = Pace()
    for turn in range(5000):  # 20 MB/s would be too much; this is 2 MB/s
        assert pace.passes(200, 5.0 + turn * MS / 10)


def test_what_is_released_is_queued_no_more() -> None:
    pace = Pace()
    pace.through(sized(8192) + sized(100), 5.0)
    assert pace.release() == sized(100)
    assert pace.release() == b""


moments = st.sampled_from([0.0, 0.0, 0.0001, 0.0004, 0.0005, 0.0009, 0.001, 0.0011, 0.002])
sizes = st.sampled_from([30, 200, 900, 4000, 8191, 8192, 8193, 16000])


@given(st.lists(st.tuples(moments, st.lists(sizes, max_size=4)), max_size=30))
def test_no_millisecond_carries_more_and_all_of_it_goes_in_order(moves: list[tuple[float, list[int]]]) -> None:
    pace, now, went, sent = Pace(), 5.0, [], b""
    for after, some in moves:
        now += after
        data = b"".join(map(sized, some))
        sent += data
        went.append((now, data if pace.passes(len(data), now) else pace.through(data, now)))
    while pace.queue:
        assert pace.due > now
        now = pace.due
        went.append((now, pace.through(b"", now)))
        assert went[-1][1], "it was due, and nothing went"
    assert b"".join(data for _, data in went) == sent
    written = [(at, len(one.raw)) for at, data in went for one in frames.cut(data)]
    for at, _ in written:
        within = [size for when, size in written if at - MS + 1e-6 < when <= at]
        assert sum(within) <= 8192 or len(within) == 1
