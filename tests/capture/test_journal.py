"""The journal, or the outgoing data, returns what was read: the last bytes of each direction, in order, all counted."""

import random

import pytest

from spoe_guard.capture.record.journal import LEAST_BYTES, LONGEST_BYTES, PAGE_BYTES, SHARE, Segment
from spoe_guard.capture.record.recording import ASIDE, NEVER
from spoe_guard.capture.record.ring import part_room
from spoe_guard.capture.record.tape import HEAD_BYTES
from spoe_guard.core.terms.output import Close, LinkOutput, Output
from spoe_guard.lab import frames
from spoe_guard.net.witness import Track
from tests.capture.scenes import A, H, Recorded, ack, end, notify_of

LIMIT = 4096
EACH = 500  # bytes of a read, as they are put into the journal
PART = part_room(LIMIT)


class Wire:
    """Sessions whose reads go on as they came, and what each of their connections has said."""

    def __init__(self, **how):
        self.scene = Recorded(**{"session_bytes": LIMIT} | how)
        self.recorder = self.scene.recorder
        self.journal = self.recorder._journal
        self.budget = self.recorder.budget
        self.now = 0.0
        self.tracks = {}
        self.sent = {}

    def open(self, number, links=1):
        assert self.recorder.begin("default", number)
        for side, link_id in ((H, 0), *((A, link_id) for link_id in range(links))):
            track = self.tracks[number, side, link_id] = Track(number, side, link_id)
            self.recorder.met(track, _Nowhere())
            self.sent[track] = b""
            for _ in range(-ASIDE):
                self.say(track, b"-")
        return self.recorder._recordings[number]

    def say(self, track, data):
        self.now += 0.001
        self.sent[track] += data
        out = Output()
        out.to_haproxy, out.to_agent = (data, b"") if track.side is A else (b"", data)
        self.recorder.read(track, data, self.now, out)

    def goes_wrong(self, track, data=b"#"):
        """Something that did not go on as it came."""
        self.now += 0.001
        self.sent[track] += data
        self.recorder.read(track, data, self.now, Output())

    def check(self, number):
        """What is kept are the last bytes of each connection, in order, and all the others are counted."""
        entries = self.recorder._recordings[number].entries()
        assert [entry.now for _, entry in entries] == sorted(entry.now for _, entry in entries)
        for (owner, side, link_id), track in self.tracks.items():
            if owner == number:
                mine = [entry for whose, entry in entries if whose is side and entry.link_id == link_id]
                kept = b"".join(entry.data for entry in mine)
                assert self.sent[track].endswith(kept)
                lost = sum(entry.lost for entry in mine)
                assert not kept or lost + len(kept) == len(self.sent[track])
        return {side: sum(len(entry.data) for whose, entry in entries if whose is side) for side in (H, A)}


class _Nowhere:
    """The socket of a connection that is gone again."""

    def getsockname(self):
        raise OSError

    getpeername = getsockname


def fill(wire, track, count=LEAST_BYTES // EACH + 100):
    """Have the journal let go of all that is in it."""
    for number in range(count):
        wire.say(track, bytes([number % 251]) * EACH)


@pytest.mark.parametrize("seed", range(8))
def test_in_any_order_the_last_reads_are_kept_and_all_counted(seed):
    chance = random.Random(seed)
    wire = Wire()
    weights = {}
    for number in range(1, 7):
        wire.open(number, links=1 + number % 3)
        busy = chance.choice((0.01, 0.3, 1.0, 5.0))
        weights |= {key: busy * chance.choice((0.1, 1.0)) for key in wire.tracks if key[0] == number}
    for _ in range(6):
        for key in chance.choices(list(weights), list(weights.values()), k=600):
            size = chance.choice((1, 40, 130, 300, LONGEST_BYTES, LONGEST_BYTES + 1))
            wire.say(wire.tracks[key], chance.randbytes(size))
            if chance.random() < 0.01:
                wire.goes_wrong(wire.tracks[key], chance.randbytes(20))
        for number in chance.sample(range(1, 7), 2):
            wire.check(number)
    for number in range(1, 7):
        wire.check(number)
        wire.recorder.over(number)
    assert wire.budget.used == 0


def test_a_quiet_session_keeps_its_last_bytes_beside_a_busy_one():
    wire = Wire()
    for number in (1, 2):
        wire.open(number)
    for _ in range(20):
        wire.say(wire.tracks[1, H, 0], b"q" * 100)
        wire.say(wire.tracks[1, A, 0], b"a" * 50)
    fill(wire, wire.tracks[2, H, 0])
    assert wire.tracks[1, H, 0].noted == 0
    assert wire.check(1) == {H: 2000 - ASIDE, A: 1000 - ASIDE}
    assert wire.check(2)[H] >= LIMIT - PART - EACH


@pytest.mark.parametrize(("behind", "most", "enough"), [
    (PART, LIMIT - PART, True), (PART - 1, LIMIT - PART, False), (PART, LIMIT - PART - 1, False),
])  # fmt: skip
def test_journal_reads_go_once_newer_ones_fill_both_directions_of_the_ring(behind, most, enough):
    wire = Wire()
    wire.open(1)
    asked, sent = wire.tracks[1, H, 0], wire.tracks[1, A, 0]
    for track in (asked, sent):
        wire.say(track, b"x")
    oldest, newer = Segment(), Segment()
    oldest.pages = 1
    wire.journal._segments = [oldest, newer]
    for track, weight in ((asked, most), (sent, behind)):
        oldest.tracks[track], newer.tracks[track] = 0, track.weight - weight
    wire.journal._drop_oldest()
    assert (sent.noted > 0) is enough  # it is still where it was
    assert (asked.noted > 0) is (most >= LIMIT - PART)


@pytest.mark.parametrize("other", [0, 1])
def test_a_busy_session_passes_over_dropped_reads_without_copying_them(other):
    """``other``: bytes that the agent answers each time; where it says nothing, there is nothing to keep of it."""
    wire = Wire()
    recording = wire.open(1)
    for _ in range(2 * LEAST_BYTES // EACH):
        wire.say(wire.tracks[1, H, 0], b"h" * EACH)
        if other:
            wire.say(wire.tracks[1, A, 0], b"a" * 100)
    for ring in (recording._haproxys, recording._agents):
        assert sum(len(entry.data) for entry in ring.kept()) == -ASIDE
    assert wire.check(1)[H] > LIMIT - PART - EACH


def test_a_hello_stays_however_much_comes_behind_it():
    wire = Wire()
    recording = wire.open(1)
    hello = frames.agent_hello()
    track = wire.tracks[2, A, 0] = Track(1, A, 7)
    wire.recorder.met(track, _Nowhere())
    wire.sent[track] = b""
    wire.say(track, hello)
    for _ in range(-ASIDE):
        wire.say(track, b"x")  # nothing is let go of yet where the hello is
    fill(wire, track, count=2 * LEAST_BYTES // EACH)
    [first, second, *_] = [entry for side, entry in recording.entries() if side is A and entry.link_id == 7]
    assert first.data == hello
    assert second.lost > LEAST_BYTES


def test_a_partial_hello_takes_no_later_bytes_in_when_reads_are_skipped():
    wire = Wire()
    recording = wire.open(1)
    track = Track(1, A, 7)
    wire.recorder.met(track, _Nowhere())
    wire.sent[track] = b""
    for byte in frames.agent_hello()[:-ASIDE]:
        wire.say(track, bytes((byte,)))
    fill(wire, track, count=2 * LEAST_BYTES // EACH)
    entries = [entry for side, entry in recording.entries() if side is A and entry.link_id == 7]
    assert all(len(entry.data) == EACH for entry in entries)
    assert entries[0].lost + sum(len(entry.data) for entry in entries) == len(wire.sent[track])


def _closes_another(data):
    out = Output()
    order = LinkOutput(1)
    order.close_agent = Close.FLUSH
    out.to_agent, out.more = data, [order]
    return out


def _answers_haproxy(data):
    out = Output()
    out.to_agent, out.to_haproxy = data, b"ack"
    return out


def _answers_the_agent(data):
    out = Output()
    out.to_haproxy, out.to_agent = data, b"notify"
    return out


@pytest.mark.parametrize(("side", "does"), [(H, _closes_another), (H, _answers_haproxy), (A, _answers_the_agent)])
def test_a_passed_read_is_kept_with_the_rest_of_its_output(side, does):
    wire = Wire()
    recording = wire.open(1)
    out = does(b"data")
    wire.recorder.read(wire.tracks[1, side, 0], b"data", 1.0, out)
    [entry] = [entry for _, entry in recording.entries() if entry.data == b"data"]
    assert (entry.to_agent, entry.to_haproxy) == (out.to_agent, out.to_haproxy)
    assert [order.link_id for order in (entry.extra.more if entry.extra else ())] == [order.link_id for order in out.more]


def test_nothing_is_kept_of_a_lost_connection_or_an_ended_session():
    wire = Wire()
    wire.open(1)
    gone, there = wire.tracks[1, A, 0], wire.tracks[1, H, 0]
    wire.recorder.lost(gone)
    wire.recorder.over(1)
    for track in (gone, there):
        wire.say(track, b"x")
        wire.goes_wrong(track)
        wire.recorder.lost(track)
    assert wire.budget.used == 0


@pytest.mark.parametrize("beyond", [0, 1])
def test_a_long_read_and_the_next_ones_stay_out_of_the_journal(beyond):
    wire = Wire()
    wire.open(1)
    track = wire.tracks[1, H, 0]
    wire.say(track, b"x" * (LONGEST_BYTES + beyond))
    assert (track.noted > 0) == (not beyond)
    for _ in range(-ASIDE):
        assert (track.noted > 0) == (not beyond)
        wire.say(track, b"y")
    wire.say(track, b"z")
    assert track.noted > 0
    wire.check(1)


def test_a_page_is_filled_to_its_last_byte_and_no_further():
    wire = Wire()
    wire.open(1)
    track = wire.tracks[1, H, 0]
    for _ in range(PAGE_BYTES // 512 - 1):
        wire.say(track, b"x" * (512 - HEAD_BYTES))
    wire.say(track, b"y" * (512 - HEAD_BYTES))
    assert len(wire.journal._pages) == 1
    wire.say(track, b"")
    assert len(wire.journal._pages) == 2
    wire.check(1)


@pytest.mark.parametrize("missing", [0, 1])
def test_a_budget_with_no_room_for_two_pages_has_no_journal(missing):
    wire = Wire(total_bytes=SHARE * 2 * PAGE_BYTES - missing)
    wire.open(1)
    wire.say(wire.tracks[1, H, 0], b"x")
    assert (wire.tracks[1, H, 0].noted > 0) == (not missing)
    assert wire.check(1) == {H: 1 - ASIDE, A: -ASIDE}


@pytest.mark.parametrize("total", [4, 5, 7, 8, 64])
def test_the_journal_takes_its_share_of_the_budget_and_no_more(total):
    wire = Wire(total_bytes=total * PAGE_BYTES)
    wire.open(1)
    fill(wire, wire.tracks[1, H, 0])
    pages = len(wire.journal._pages) + len(wire.journal._spare)
    assert pages == min(total // SHARE, LEAST_BYTES // PAGE_BYTES)
    assert wire.budget.used <= wire.budget.limit
    wire.check(1)


@pytest.mark.parametrize(("sessions", "pages"), [(16, 4), (19, 4), (20, 5)])
def test_the_journal_is_as_long_as_what_all_sessions_may_keep(sessions, pages):
    wire = Wire()
    for number in range(1, sessions + 1):
        wire.open(number)
    assert 2 * LIMIT * 16 == LEAST_BYTES
    most = 0
    for _ in range(2 * LEAST_BYTES // EACH):
        wire.say(wire.tracks[1, H, 0], b"x" * EACH)
        most = max(most, len(wire.journal._pages))
    assert most == pages
    for number in range(2, sessions + 1):
        wire.recorder.over(number)
    fill(wire, wire.tracks[1, H, 0])
    assert len(wire.journal._pages) <= 4


def test_memory_of_what_is_let_go_of_is_used_again():
    wire = Wire()
    wire.open(1)
    fill(wire, wire.tracks[1, H, 0])
    pages = {id(page) for page in (*wire.journal._pages, *wire.journal._spare)}
    fill(wire, wire.tracks[1, H, 0])
    assert {id(page) for page in (*wire.journal._pages, *wire.journal._spare)} == pages


def test_the_reads_of_a_side_behind_an_odd_step_stay_apart():
    wire = Wire()
    wire.open(1, links=2)
    haproxy, first, second = (wire.tracks[1, side, link_id] for side, link_id in ((H, 0), (A, 0), (A, 1)))
    for track in (haproxy, first, second):
        wire.say(track, b"before")
    wire.goes_wrong(first)
    assert haproxy.noted > 0
    assert first.noted == second.noted == ASIDE
    for _ in range(-ASIDE):
        wire.say(first, b"x")
    assert (first.noted, second.noted) == (0, ASIDE)
    wire.say(first, b"y")
    assert first.noted > 0
    wire.say(second, b"z")  # which must not come before it
    assert first.noted == 0
    wire.check(1)


@pytest.mark.parametrize("every", [10, 500])
def test_two_links_of_which_one_is_busy_keep_their_order(every):
    wire = Wire()
    recording = wire.open(1, links=2)
    quiet, busy = wire.tracks[1, A, 0], wire.tracks[1, A, 1]
    for number in range(2 * LEAST_BYTES // 200):
        wire.say(busy, b"b" * 200)
        if number % every == 0:
            wire.say(quiet, b"q" * 10)
    wire.say(quiet, b"last")
    wire.check(1)
    assert any(entry.link_id == 0 for side, entry in recording.entries() if side is A)


def test_long_and_short_reads_on_two_links_keep_their_order():
    wire = Wire()
    wire.open(1, links=2)
    long, short = wire.tracks[1, A, 0], wire.tracks[1, A, 1]
    for _ in range(3):
        wire.say(long, b"l" * (LONGEST_BYTES + 1))
        for _ in range(2 - ASIDE):
            wire.say(short, b"s")
        assert short.noted > 0
    wire.check(1)


def test_from_an_anomaly_to_its_capture_nothing_goes_into_the_journal():
    scene = Recorded()
    session = scene.session()
    scene.round_trips(session, 100)
    tracks = session.tracks.values()
    assert all(track.noted > 0 for track in tracks)
    scene.go_wrong(session)
    assert all(track.noted == NEVER for track in tracks)
    scene.round_trips(session, 1, first=200, size=LONGEST_BYTES)
    late = session.met(A, 1)
    assert all(track.noted < ASIDE for track in (*tracks, late))
    scene.ring(scene.timers[0].at)
    assert all(track.noted == 0 for track in tracks)
    [take] = scene.takes
    sent = b"".join(entry.data for side, entry in take.entries if side is A)
    assert sent.count(b"verdict") == 101
    assert scene.timers == []


def test_a_timer_of_a_capture_that_was_complete_before_does_nothing():
    scene = Recorded()
    session = scene.session()
    scene.go_wrong(session)
    session.recording.clear()
    assert len(scene.takes) == 1
    assert scene.timers[0].at > 1e9
    end(session, scene.now)
    assert len(scene.takes) == 1


def test_what_ended_leaves_nothing_in_the_journal_and_others_keep_theirs():
    wire = Wire()
    for number in (1, 2):
        wire.open(number)
        for _ in range(20):
            wire.say(wire.tracks[number, H, 0], b"x" * 100)
    gone, stays = wire.tracks[1, H, 0], wire.tracks[2, H, 0]
    wire.recorder.over(1)
    assert all(gone not in segment.tracks for segment in wire.journal._segments)
    assert gone.noted < ASIDE
    wire.recorder.read(gone, b"late", 9.0, Output())
    wire.recorder.met(late := Track(1, A, 3), _Nowhere())
    assert late.noted == NEVER
    assert wire.check(2)[H] == 2000 - ASIDE
    assert stays.noted == 0
    wire.recorder.over(2)
    assert (wire.journal._pages, wire.journal._spare, wire.budget.used) == ([], [], 0)


def test_a_connection_that_is_gone_leaves_what_it_said():
    wire = Wire()
    recording = wire.open(1, links=2)
    track = wire.tracks[1, A, 1]
    wire.say(track, b"last words")
    wire.recorder.lost(track)
    assert all(track not in segment.tracks for segment in wire.journal._segments)
    assert recording.entries()[-1][1].data == b"last words"
    wire.check(1)


def test_after_everything_was_let_go_of_positions_go_on():
    scene = Recorded()
    for _ in range(2):
        session = scene.session()
        scene.round_trips(session, 50)
        sent = b"".join(entry.data for side, entry in session.entries() if side is A)
        assert sent == frames.agent_hello() + b"".join(ack(notify_of(number)) for number in range(1, 51))
        session.release()


def test_a_session_cleared_while_a_page_is_begun_counts_its_losses():
    wire = Wire(total_bytes=SHARE * 3 * PAGE_BYTES)
    recording = wire.open(1)
    fill(wire, wire.tracks[1, H, 0], count=20)
    recording.clear()
    assert wire.tracks[1, H, 0].noted == 0
    wire.say(wire.tracks[1, H, 0], b"next")
    [entry] = [entry for side, entry in recording.entries() if side is H]
    assert (entry.data, entry.lost) == (b"next", 20 * EACH - ASIDE)
