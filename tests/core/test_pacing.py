"""HAProxy is given less than half of its buffer ahead of its reading, or one longer frame alone (hazard A1)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoe_guard.core.conversation.pacing import EACH_S, FIRST_S, LONGEST_S, Crowd, Pace
from spoe_guard.wire import frame
from tests.core import frames
from tests.core.mux import Mux

MS = 0.001


def sized(wire_bytes: int) -> bytes:
    return frame.encode(frame.ACK, 1, 1, b"x" * (wire_bytes - 11))


class Written:
    """A pace, and the HAProxy that is written to as it says. ``asked``: how often it was asked about."""

    def __init__(self, size: int = 16384, *, known: bool = True, resumed: bool = False, crowd: Crowd | None = None) -> None:
        self.mux = Mux(size)
        self.before = 0  # bytes of another guard that are unread
        self.known = known
        self.asked = 0
        self.sent = b""  # all there was to write
        self.pace = Pace(size, self._read, crowd, resumed=resumed)

    def _read(self) -> int | None:
        self.asked += 1
        return self.mux.read - self.before if self.known else None

    def write(self, *sizes: int, now: float = 5.0) -> list[int]:
        """Return the sizes of the frames that go now."""
        data = b"".join(map(sized, sizes))
        self.sent += data
        went = self.pace.through(data, now)
        self.mux.got += went
        return [len(one.raw) for one in frames.cut(went)]

    def passes(self, size: int, now: float = 5.0) -> bool:
        """Write as the lane does."""
        if self.pace.queue or not self.pace.has_room(size, now):
            return False
        self.pace.wrote(size)
        self.mux.got += sized(size)
        self.sent += sized(size)
        return True


def test_the_figures_are_the_catalogues() -> None:
    assert (FIRST_S, LONGEST_S, EACH_S) == (MS, 8 * MS, 0.2 * MS)


@pytest.mark.parametrize(
    ("size", "last", "passes"), [(16384, 91, True), (16384, 92, False), (16383, 91, True), (16382, 91, False)]
)
def test_less_than_half_of_the_buffer_passes_unread(size: int, last: int, passes: bool) -> None:
    written = Written(size)
    assert all(written.passes(900) for _ in range(9))
    assert written.passes(last) is passes


@pytest.mark.parametrize("size", [4096, 16384, 65536])
def test_nothing_is_asked_until_what_may_be_unread_is_used_up(size: int) -> None:
    written = Written(size)
    for _ in range((size // 2 - 1) // 128):
        assert written.passes(128)
    assert not written.asked
    assert not written.passes(128)
    assert written.asked == 1


def test_as_much_as_was_read_may_be_written() -> None:
    written = Written()
    assert written.write(*[900] * 10) == [900] * 9
    written.mux.reads(4 * 900)
    assert written.write(now=5.0 + MS) == [900]
    assert [written.passes(900), written.passes(900), written.passes(900)] == [True, True, False]
    written.mux.reads()
    assert written.passes(8191)
    assert not written.passes(11)


def test_what_was_read_is_known_before_a_mark_moves() -> None:
    """The two ways ask at different times of what one read brought, and are to write the same."""
    written = Written()
    assert written.write(82) == [82]
    written.mux.reads()
    assert written.write(3600) == [3600]
    assert written.write(4557) == [4557]  # with the first frame it would be too much


def test_a_frame_of_which_a_part_was_read_counts_as_a_whole() -> None:
    written = Written()
    assert written.write(4000, 4000, 3000, 3000) == [4000, 4000]
    written.mux.reads(3999)
    assert written.write(now=5.0 + MS) == []
    written.mux.reads(1)
    assert written.write(now=5.0 + 3 * MS) == [3000]
    assert written.mux.load == 7000


def test_what_does_not_fit_is_queued_whole_and_in_order() -> None:
    written = Written()
    assert written.write(4000, 4000, 4000, 191) == [4000, 4000]
    assert len(written.pace.queue) == 4191
    assert written.write(30) == []
    assert written.pace.due == 5.0 + MS
    written.mux.reads()
    assert written.write(now=5.0 + MS - 1e-9) == []
    assert written.write(now=5.0 + MS) == [4000, 191, 30]
    assert written.pace.due > 1e9


@pytest.mark.parametrize("size", [8192, 8193, 16372])
def test_a_longer_frame_goes_alone_when_all_was_read(size: int) -> None:
    written = Written()
    assert written.passes(11)
    assert written.write(size) == []
    written.mux.reads(10)
    assert written.write(11, now=5.0 + MS) == []
    written.mux.reads()
    assert written.write(now=5.0 + 3 * MS) == [size]
    written.mux.reads(size - 1)
    assert written.write(now=5.0 + 4 * MS) == []
    written.mux.reads()
    assert written.write(now=5.0 + 6 * MS) == [11]
    assert Written().write(size) == [size]


def test_one_byte_less_than_half_is_no_longer_frame() -> None:
    written = Written()
    assert written.write(8191) == [8191]
    written.mux.reads()
    assert written.write(8180, 11) == [8180, 11]


def test_a_connection_that_is_full_is_asked_about_less_and_less_often() -> None:
    written, now, waits = Written(), 5.0, []
    written.write(8000, 8000, now=now)
    for _ in range(6):
        waits.append(round((written.pace.due - now) / MS, 6))
        now = written.pace.due
        written.write(now=now)
    assert waits == [1, 2, 4, 8, 8, 8]
    assert written.asked == 7
    written.mux.reads()
    now = written.pace.due
    assert written.write(8000, now=now) == [8000]
    assert written.pace.due == now + MS


def test_a_burst_at_a_full_connection_asks_once_a_millisecond() -> None:
    written = Written()
    written.write(8000, 8000)
    for turn in range(9):
        written.write(100, now=5.0 + turn * MS / 10)
    assert written.asked == 1


@pytest.mark.parametrize(("full", "wait"), [(5, 1 * MS), (6, 1.2 * MS), (1000, 200 * MS)])
def test_many_connections_that_are_full_share_the_questions(full: int, wait: float) -> None:
    crowd = Crowd()
    others = [Written(crowd=crowd) for _ in range(full)]
    for one in others:
        one.write(8000, 8000)
    assert crowd.full == full
    assert others[-1].pace.due == pytest.approx(5.0 + wait)
    for one in others[1:]:
        one.mux.reads()
        assert one.write(now=one.pace.due) == [8000]
    assert crowd.full == 1
    assert others[0].pace.release() == sized(8000)
    assert crowd.full == 0


def test_an_haproxy_that_says_something_is_asked_about_at_once() -> None:
    written, now = Written(), 5.0
    written.write(8000, 8000, now=now)
    for _ in range(3):
        now = written.pace.due
        written.write(now=now)
    written.pace.hurry(now + MS)
    assert written.pace.due == now + MS
    asked = written.asked
    assert written.write(now=now + MS) == []
    assert written.asked == asked + 1
    assert written.pace.due == pytest.approx(now + 2 * MS)
    written.mux.reads()
    written.pace.hurry(now + 1.5 * MS)
    assert written.write(now=now + 1.5 * MS) == [8000]
    written.pace.hurry(now + 2 * MS)
    assert written.pace.due > 1e9


def test_what_is_released_is_queued_no_more() -> None:
    written = Written()
    written.write(8191, 100)
    assert written.pace.release() == sized(100)
    assert written.pace.release() == b""
    assert written.pace.due > 1e9


def test_what_cannot_be_known_counts_as_read_a_millisecond_later() -> None:
    written = Written(known=False)
    assert written.write(8000, 8000, 9000, 11) == [8000]
    assert written.write(now=5.0 + MS - 1e-9) == []
    written.pace.hurry(5.0 + MS / 2)
    assert written.write(now=5.0 + MS / 2) == []
    for size in (8000, 9000, 11):
        assert written.write(now=written.pace.due) == [size]


def test_what_is_not_known_is_not_guessed_from_an_earlier_queue() -> None:
    written = Written(known=False)
    written.write(8000, 8000)
    assert written.write(now=5.0 + MS) == [8000]
    assert written.write(1000, now=6.0) == []
    assert written.write(now=written.pace.due) == [1000]


def test_who_reads_at_once_is_not_asked() -> None:
    pace = Pace(16384)
    for _ in range(100):
        assert pace.has_room(8191, 5.0)
        pace.wrote(8191)
    assert pace.through(sized(8000) + sized(192), 5.0) == sized(8000)
    assert pace.through(b"", 5.0 + MS) == sized(192)


@pytest.mark.parametrize(("unread", "waits"), [(0, False), (1, True)])
def test_nothing_is_written_on_top_of_what_the_guard_before_wrote(unread: int, waits: bool) -> None:
    written = Written(resumed=True)
    written.before = unread
    assert written.write(100) == ([] if waits else [100])
    assert written.asked == 1
    written.before = 0
    assert written.write(100, now=5.0 + MS) == ([100, 100] if waits else [100])


def test_starts_of_frames_are_remembered_within_a_bound() -> None:
    written = Written()
    for turn in range(2000):
        written.passes(11 + turn % 90)
        if turn % 7 == 0:
            written.mux.reads(200)
        if not written.pace.has_room(100, 5.0):
            written.mux.reads()
    written.write(*[100] * 200)
    assert not written.mux.dead


# --- any interleaving --------------------------------------------------------------------------------------------------------


sizes = st.sampled_from([11, 30, 200, 900, 2000, 4095, 4096, 8000, 8190, 8191, 8192, 8193, 15000, 16372])
several = st.lists(sizes, min_size=1, max_size=25)
some_bytes = st.sampled_from([None, None, 1, 4, 100, 899, 2000, 4096, 8191])
moves = st.one_of(
    st.tuples(st.just("write"), several),
    st.tuples(st.just("pass"), sizes),
    st.tuples(st.just("read"), some_bytes),
    st.tuples(st.just("read"), some_bytes),
    st.tuples(st.just("hurry"), st.just(0)),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 0.3 * MS, MS, 5 * MS, 50 * MS])),
)


@given(st.lists(moves, max_size=60), st.sampled_from([1024, 4096, 16384, 65536]))
def test_no_read_of_haproxys_ever_fills_its_buffer(moves: list[tuple[str, Any]], size: int) -> None:
    written, now, longest = Written(size), 5.0, size - 12

    def scaled(one: int) -> int:
        return min(max(one * size // 16384, 11), longest)

    def between() -> None:
        written.passes(size // 2 - 1, now)

    for what, how in moves:
        if what == "write":
            written.write(*map(scaled, how), now=now)
        elif what == "pass":
            written.passes(scaled(how), now)
        elif what == "read":
            written.mux.reads(how, between=between)
        else:
            if what == "hurry":
                written.pace.hurry(now)
            else:
                now += how
            if now >= written.pace.due:
                written.write(now=now)
        assert not written.mux.dead
        assert written.mux.load < size / 2 or written.mux.frames_under_way == 1
    while written.pace.queue:
        assert written.pace.due > now, "it is due, and nothing happens"
        now = written.pace.due
        written.mux.reads()
        assert written.write(now=now), "all was read, and nothing goes"
    written.mux.reads()
    assert written.mux.got == written.sent
    assert written.mux.done == len(written.sent)
