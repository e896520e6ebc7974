"""What is kept of a session, what an anomaly leaves behind, and that every bound holds at the bound and one past it."""

import random

import pytest

from spoe_guard.capture import pcapng, pcapng_in
from spoe_guard.capture.recorder import AT_ONCE
from spoe_guard.capture.ring import (
    ENTRY_BYTES,
    FIRST_BYTES,
    HEAD_BYTES,
    LEAST_BYTES,
    MOST_HELLOS,
    MOST_LINKS,
    PART_BYTES,
    PARTS,
    Budget,
    Entry,
    Ring,
    least_held,
)
from spoe_guard.core.anomalies import Action, Side, severity
from spoe_guard.core.config import SessionConfig
from spoe_guard.core.output import Close
from spoe_guard.lab import frames
from tests.capture.scenes import RUNT, A, H, Recorded, ack, end, notify, notify_of

LIMIT = 8192
PART = LIMIT // PARTS


def put(ring, data, link=0):
    """As a session does with a read that went on as it came."""
    size = HEAD_BYTES + len(data)
    if ring.left < size and not ring.begins_again(size):
        ring.roll(size)
    ring.add(1.0, link, data)


def put_apart(ring, data, link=0, **more):
    entry = Entry(1.0, link, data, 0, to_haproxy=data, **more)
    if ring.left < entry.size():
        ring.roll(entry.size())
    ring.put(entry)


def read_bytes(ring):
    return sum(len(entry.data) for entry in ring.kept())


@pytest.fixture
def ring():
    return Ring(A, LIMIT, Budget(1 << 30))


def hello():
    return frames.haproxy_hello()


def test_a_direction_keeps_its_bound_and_not_a_byte_more(ring):
    for _ in range(PARTS):
        put(ring, b"x" * (PART - HEAD_BYTES))
    assert read_bytes(ring) == LIMIT - PARTS * HEAD_BYTES
    assert not any(entry.lost for entry in ring.kept())
    put(ring, b"y")
    assert read_bytes(ring) == (PARTS - 1) * (PART - HEAD_BYTES) + 1
    assert [entry.lost for entry in ring.kept()] == [PART - HEAD_BYTES] + [0] * (PARTS - 1)
    assert ring.kept()[-1].data == b"y"


@pytest.mark.parametrize(("put", "head"), [(put, HEAD_BYTES), (put_apart, 0)])
@pytest.mark.parametrize("size", [PART - 1, PART, PART + 1, LIMIT // 2, LIMIT])
def test_whatever_the_size_of_reads_the_bound_holds(ring, put, head, size):
    for count in range(1, 3 * PARTS):
        put(ring, b"x" * (size - head))
        kept = len(ring.kept())
        assert kept * size <= LIMIT
        assert kept == count or (kept + 1) * size > LIMIT - PART
        assert kept > 0


def test_what_was_lost_is_said_once_behind_the_hello(ring):
    put(ring, hello())
    count = 200
    for _ in range(count):
        put(ring, b"x" * 100)
    kept = ring.kept()
    [gap] = [entry for entry in kept if entry.lost]
    assert kept.index(gap) == 1
    assert gap.lost + read_bytes(ring) == len(hello()) + count * 100


def test_what_was_lost_is_counted_for_the_link_it_came_on(ring):
    sent = dict.fromkeys((0, 1, 2), 0)
    for number in range(400):
        link = 0 if number < 150 else number % 3 if number < 250 or number > 390 else 2
        data = b"x" * (90 + number % 7) if sent[link] else hello()
        put(ring, data, link)
        sent[link] += len(data)
    kept, lost = dict.fromkeys(sent, 0), dict.fromkeys(sent, 0)
    for entry in ring.kept():
        kept[entry.link] += len(entry.data)
        lost[entry.link] += entry.lost
    assert all(lost.values())
    assert {link: kept[link] + lost[link] for link in sent} == sent


def test_a_hello_between_reads_on_another_link_stays(ring):
    put(ring, frames.agent_hello(), link=1)
    for _ in range(200):
        put(ring, b"x" * 100, link=1)
    put(ring, frames.agent_hello(), link=2)
    for _ in range(200):
        put(ring, b"x" * 100, link=1)
    assert [entry.link for entry in ring.kept() if entry.data == frames.agent_hello()] == [1, 2]


def test_haproxy_has_one_connection_wherever_it_went():
    ring = Ring(H, LIMIT, Budget(1 << 30))
    for number in range(200):
        put(ring, b"x" * 100, link=number // 50)
    assert {entry.link for entry in ring.kept()} == {0}
    assert {entry.out_link for entry in ring.kept()} == {2, 3}
    assert [entry.lost for entry in ring.kept() if entry.lost] == [200 * 100 - read_bytes(ring)]


@pytest.mark.parametrize(("link", "said"), [(0x7FFFFFFF, 0x7FFFFFFF), (0x80000000, 0)])
def test_the_number_of_a_link_has_room_or_begins_again(ring, link, said):
    put(ring, b"x", link=link)
    assert [(entry.link, entry.data) for entry in ring.kept()] == [(said, b"x")]


def test_what_fits_into_the_bound_is_not_let_go_of_for_one_long_read():
    ring = Ring(A, LIMIT + 2 * PART, Budget(1 << 30))
    put(ring, b"x" * (PART - HEAD_BYTES))
    put_apart(ring, b"y" * (LIMIT + 1))
    assert read_bytes(ring) == PART - HEAD_BYTES + LIMIT + 1


@pytest.mark.parametrize(("first", "again"), [(PART, True), (PART // 2 + 1, True), (PART + 1, False), (LIMIT, False)])
def test_memory_of_a_part_is_used_for_one_of_the_same_room(ring, first, again):
    put(ring, b"x" * (first - HEAD_BYTES))
    records = ring._records
    seen = []
    for _ in range(2 * PARTS):
        put(ring, b"y" * (PART - HEAD_BYTES))
        seen.append(ring._records is records)
    assert any(seen) == again


@pytest.mark.parametrize("put", [put, put_apart])
def test_a_long_read_takes_the_place_of_another_and_leaves_its_hello_and_what_the_budget_counts(ring, put):
    put(ring, b"x" * 5000)
    put_apart(ring, frames.agent_hello(), link=1)
    for number in range(3):
        records, used = ring._records, ring._budget.used
        put(ring, b"%d" % number * 5000)
        assert ring._records is records
        assert [entry.data[:1] for entry in ring.kept() if entry.link == 0] == [b"%d" % number]
    assert [entry.data for entry in ring.kept() if entry.link == 1] == [frames.agent_hello()]
    assert ring._budget.used == used
    put(ring, b"y")
    assert [len(entry.data) for entry in ring.kept() if entry.link == 0] == [5000, 1]
    ring.end()
    assert ring._budget.used == 0


@pytest.mark.parametrize(("first", "stays"), [(5000, True), (5001, False)])
@pytest.mark.parametrize("older", [0, PART - HEAD_BYTES])
def test_what_fits_beside_a_long_read_stays_and_nothing_older_than_what_does_not(first, stays, older):
    ring = Ring(A, LIMIT + 5000, Budget(1 << 30))
    if older:
        put(ring, b"o" * older)
    put(ring, b"x" * (first - HEAD_BYTES))
    put(ring, b"y" * 5000)
    assert [entry.data[:1] for entry in ring.kept()] == ([b"x", b"y"] if stays else [b"y"])


@pytest.mark.parametrize("limit", [LIMIT, LIMIT * 3 // 2])  # a part may be as long as the whole, or not
@pytest.mark.parametrize("seed", range(4))
def test_a_ring_that_begins_again_keeps_what_one_keeps_that_rolls(seed, limit):
    chance = random.Random(seed)
    again, rolls = Ring(A, limit, Budget(1 << 30)), Ring(A, limit, Budget(1 << 30))
    begun = 0
    for number in range(400):
        size = chance.choice((HEAD_BYTES + 1, PART, LIMIT // 2, LIMIT // 2 + 1, LIMIT - 1, LIMIT))
        data, link = bytes([number % 251]) * (size - HEAD_BYTES), number // 40 if number % 3 else 0
        if number % 50 == 0:
            data = frames.agent_hello()
        if again.left < len(data) + HEAD_BYTES:
            begins = again.begins_again(len(data) + HEAD_BYTES)
            begun += begins
            if not begins:
                again.roll(len(data) + HEAD_BYTES)
            rolls.roll(len(data) + HEAD_BYTES)
        for ring in (again, rolls):
            ring.add(float(number), link, data)
        assert again.kept() == rolls.kept()
        assert (again.left, again._budget.used) == (rolls.left, rolls._budget.used)
    assert begun > 20


@pytest.mark.parametrize("size", [LIMIT // 2, LIMIT // 2 + 1, LIMIT, LIMIT + 1])
def test_a_long_read_takes_the_place_of_the_one_before_if_both_have_no_room(ring, size):
    put(ring, frames.agent_hello())
    for number in b"ab":
        put(ring, bytes([number]) * (LIMIT - HEAD_BYTES))
    assert ring.begins_again(size) is (LIMIT // 2 < size <= LIMIT)


def test_what_is_more_than_a_read_is_not_given_up_for_the_next_long_one(ring):
    """An anomaly may hang on it, and the HELLO of a link that has none yet."""
    put(ring, b"x" * (LIMIT - HEAD_BYTES))
    assert not ring.begins_again(LIMIT)
    put(ring, b"x" * (LIMIT - HEAD_BYTES))
    assert ring.begins_again(LIMIT)
    put_apart(ring, b"y")
    assert not ring.begins_again(LIMIT)


@pytest.mark.parametrize(("put", "least"), [(put, HEAD_BYTES + 1), (put_apart, LEAST_BYTES)])
def test_many_small_reads_are_bounded_in_number(ring, put, least):
    for _ in range(10 * LIMIT):
        put(ring, b"x")
    assert (PARTS - 1) * (PART // least) <= len(ring.kept()) <= PARTS * (PART // least)


@pytest.mark.parametrize("links", [MOST_HELLOS, MOST_HELLOS + 1])
def test_the_hellos_of_the_newest_links_stay_and_of_no_more(ring, links):
    budget = ring._budget
    for link in range(links):
        put(ring, frames.agent_hello(), link=link)
    for _ in range(100):
        put(ring, b"x" * 100, link=links - 1)
    assert [entry.link for entry in ring.kept() if entry.data == frames.agent_hello()] == list(range(links))[-MOST_HELLOS:]
    ring.end()
    assert budget.used == 0


def test_a_hello_in_two_parts_stays(ring):
    put(ring, frames.agent_hello()[:10])
    ring.roll(PART)
    put(ring, frames.agent_hello()[10:])
    for _ in range(100):
        put(ring, b"x" * 100)
    assert b"".join(entry.data for entry in ring.kept()[:2]) == frames.agent_hello()


@pytest.mark.parametrize("said", [notify(1), bytes(4), b"GET / HTTP/1.1"], ids=["notify", "runt", "http"])
def test_what_is_no_hello_is_not_kept_as_one(ring, said):
    for byte in said:
        put(ring, bytes((byte,)))
    for _ in range(100):
        put(ring, b"x" * 100)
    assert all(entry.data == b"x" * 100 for entry in ring.kept())
    assert ring.kept()[0].lost == len(said) + 100 * 100 - read_bytes(ring)
    ring.end()
    assert ring._budget.used == 0


@pytest.mark.parametrize("others", [MOST_LINKS - 1, MOST_LINKS])
def test_of_so_many_links_it_is_known_what_was_read_and_of_no_more(ring, others):
    for _ in range(200):
        put(ring, b"x" * 100, link=1)
    for link in range(2, 2 + others):
        put(ring, b"y", link=link)
    put(ring, b"x" * 100, link=1)
    known = 201 * 100 - sum(len(entry.data) for entry in ring.kept() if entry.link == 1)
    assert sum(entry.lost for entry in ring.kept() if entry.link == 1) == (known if others < MOST_LINKS else 0)


@pytest.mark.parametrize(("put", "each"), [(put, HEAD_BYTES), (put_apart, ENTRY_BYTES)])
def test_the_budget_is_what_is_kept_and_nothing_at_the_end(put, each):
    budget = Budget(1 << 30)
    ring = Ring(H, LIMIT, budget)
    put_apart(ring, hello())
    for number in range(500):
        put(ring, b"x" * (LEAST_BYTES + number % 300))
        kept = sum(len(entry.data) + each for entry in ring.kept())
        assert kept <= budget.used <= kept + PART + (PARTS + 1) * PART_BYTES + ENTRY_BYTES
    ring.clear()
    assert read_bytes(ring) == 0
    ring.end()
    assert budget.used == 0


def test_an_anomaly_leaves_what_came_before_and_what_came_behind_it():
    recorded = Recorded()
    session = recorded.session()
    recorded.round_trips(session, 3)
    recorded.go_wrong(session)
    assert recorded.takes == []
    recorded.round_trips(session, 2, first=10)
    assert recorded.takes == []
    recorded.now = recorded.timers[0].at
    session.tick(recorded.now)
    [take] = recorded.takes
    capture = take.capture("full")
    said = b"".join(chunk.data for chunk in capture.said() if chunk.side is A)
    assert said == frames.agent_hello() + b"".join(map(ack, map(notify_of, (1, 2, 3)))) + RUNT + b"".join(
        map(ack, map(notify_of, (10, 11)))
    )
    [noted] = [chunk for chunk in capture.chunks if chunk.notes]
    assert noted.data == RUNT
    assert noted.notes[0].startswith("runt_frame: agent: drop: ")


def test_both_legs_are_in_the_file_and_come_back_as_they_were():
    recorded = Recorded()
    session = recorded.session()
    recorded.round_trips(session, 3)
    recorded.go_wrong(session)
    end(session, recorded.now)
    [take] = recorded.takes
    written = take.capture("full")
    [read] = pcapng_in.load(pcapng.dump(written))
    assert [(c.side, c.inward, c.data, c.end, c.notes) for c in read.chunks] == [
        (c.side, c.inward, c.data, c.end, c.notes) for c in written.chunks
    ]
    to_haproxy = b"".join(chunk.data for chunk in read.chunks if chunk.side is H and not chunk.inward)
    assert to_haproxy == frames.agent_hello() + b"".join(ack(notify_of(number)) for number in (1, 2, 3))


def test_the_end_of_the_session_completes_a_capture():
    recorded = Recorded()
    session = recorded.session()
    recorded.go_wrong(session)
    end(session, recorded.now)
    assert len(recorded.takes) == 1
    assert recorded.recorder.budget.used == 0


def test_traffic_behind_an_anomaly_does_not_push_it_out():
    recorded = Recorded()
    session = recorded.session()
    recorded.round_trips(session, 1)
    recorded.go_wrong(session)
    recorded.round_trips(session, 500, first=2, size=200)
    [take] = recorded.takes
    assert RUNT in [entry.data for _, entry in take.entries]
    assert sum(len(entry.data) for side, entry in take.entries if side is H) <= 2 * 16384


@pytest.mark.parametrize(("least", "wanted"), [("info", True), ("warning", True), ("error", False)])
def test_only_anomalies_of_the_chosen_severity_are_written(least, wanted):
    recorded = Recorded(least=least)
    session = recorded.session()
    recorded.go_wrong(session)  # dropped: a warning
    end(session, recorded.now)
    assert bool(recorded.takes) == wanted


def test_what_passes_is_less_severe_than_what_is_mended_and_that_less_than_an_end():
    assert {action: severity(action) for action in Action} == {
        action: "info" if action is Action.PASS else "error" if action is Action.CLOSE else "warning" for action in Action
    }


def test_so_many_captures_of_an_anomaly_are_made_and_one_more_is_counted():
    recorded = Recorded(rate=(3, 60.0))
    for _ in range(3):
        session = recorded.session()
        recorded.go_wrong(session)
        end(session, recorded.now)
    assert len(recorded.takes) == 3
    assert recorded.dropped() == {}
    session = recorded.session()
    recorded.go_wrong(session)
    end(session, recorded.now)
    assert len(recorded.takes) == 3
    assert recorded.dropped() == {"rate": 1}
    recorded.now += 20.0
    session = recorded.session()
    recorded.go_wrong(session)
    end(session, recorded.now)
    assert len(recorded.takes) == 4


def test_so_many_captures_wait_for_what_comes_behind_and_one_more_is_counted():
    recorded = Recorded(rate=(1000, 1.0))
    for _ in range(AT_ONCE):
        recorded.go_wrong(recorded.session())
    assert recorded.dropped() == {}
    recorded.go_wrong(recorded.session())
    assert recorded.dropped() == {"busy": 1}


def test_a_writer_without_room_costs_the_capture_and_nothing_else():
    recorded = Recorded(room=False)
    session = recorded.session()
    recorded.go_wrong(session)
    end(session, recorded.now)
    assert recorded.dropped() == {"busy": 1}


def test_all_sessions_together_keep_their_bound():
    recorded = Recorded(total_bytes=300_000, session_bytes=16384)
    budget = recorded.recorder.budget
    sessions = [recorded.session() for _ in range(10)]
    most = 0
    for turn in range(40):
        for session in sessions:
            recorded.round_trips(session, 5, first=1 + 5 * turn, size=300)
            most = max(most, budget.used)
    assert 200_000 < most <= budget.limit
    for session in sessions:
        end(session, recorded.now)
    assert budget.used == 0


def test_idle_sessions_take_what_their_hellos_take_and_one_too_many_is_not_recorded():
    fits = 10
    recorded = Recorded(total_bytes=fits * 2 * least_held(16384))
    sessions = [recorded.session() for _ in range(fits)]
    assert all(session.recording for session in sessions)
    assert recorded.recorder.budget.used == recorded.recorder.budget.limit
    plain = recorded.session()
    assert plain.recording is None
    end(sessions[0], recorded.now)
    assert recorded.session().recording


def test_where_all_others_are_idle_the_one_that_is_not_gives_way():
    recorded = Recorded(total_bytes=20 * 2 * least_held(16384) + 1000)
    for _ in range(19):
        recorded.session()
    busy = recorded.session()
    for turn in range(50):
        recorded.round_trips(busy, 1, first=1 + turn, size=200)
        assert recorded.recorder.budget.used <= recorded.recorder.budget.limit


def test_what_there_is_no_room_for_is_missing_and_said_to_be():
    long, short = notify(1, b"/" * 2 * FIRST_BYTES), notify(2)

    def heard(total_bytes):
        scene = Recorded(session_bytes=LIMIT, total_bytes=total_bytes)
        session = scene.session()
        session.receive(H, long, 0.1)
        used, first = scene.recorder.budget.used, kept(session)
        session.receive(H, short, 0.2)
        return used, first, kept(session)

    def kept(session):
        return [(entry.data, entry.lost) for side, entry in session.entries() if side is H and entry.data]

    enough, *all_of_it = heard(1 << 20)
    assert all_of_it == [[(hello(), 0), (long, 0)], [(hello(), 0), (long, 0), (short, 0)]]
    assert heard(enough) == (enough, *all_of_it)
    assert heard(enough - 1) == (2 * least_held(LIMIT), [], [(short, len(hello()) + len(long))])


def test_a_session_that_gave_way_says_what_is_missing():
    recorded = Recorded()
    session = recorded.session()
    recorded.round_trips(session, 5)
    session.recording.clear()
    recorded.go_wrong(session)
    end(session, recorded.now)
    [take] = recorded.takes
    first = next(entry for side, entry in take.entries if side is A and entry.data)
    assert first.lost == len(frames.agent_hello()) + sum(len(ack(notify_of(number))) for number in range(1, 6))


@pytest.mark.parametrize("beyond", [0, 1])
def test_a_read_that_goes_on_as_it_came_is_kept_whole_up_to_the_bound(beyond):
    recorded = Recorded(session_bytes=LIMIT)
    session = recorded.session()
    more = len(notify(1, b"x" * LIMIT)) - LIMIT
    read = notify(1, b"x" * (LIMIT + beyond - more))
    assert len(read) == LIMIT + beyond
    session.receive(H, read, 0.1)
    [entry] = [entry for side, entry in session.entries() if side is H and len(entry.data) > 1000]
    assert entry.data == read[beyond:]
    assert entry.lost == beyond


@pytest.mark.parametrize("beyond", [0, 1])
def test_of_a_read_that_does_not_go_on_as_it_came_a_part_of_that_is_kept(beyond):
    recorded = Recorded(session_bytes=LIMIT)
    session = recorded.session()
    asked = notify(1)
    session.receive(H, asked, 0.1)
    answer = ack(asked)
    read = answer + bytes(PART + beyond - len(answer))  # runts behind the ACK
    assert session.receive(A, read, 0.2).to_haproxy == answer
    end(session, 0.3)
    [take] = recorded.takes
    [entry] = [entry for side, entry in take.entries if side is A and entry.data.endswith(RUNT)]
    assert entry.data == read[beyond:]
    assert entry.lost == beyond


def test_long_reads_behind_an_anomaly_do_not_push_it_out():
    recorded = Recorded(session_bytes=LIMIT)
    session = recorded.session()
    asked = [notify(number) for number in range(1, 800)]
    for each in asked:
        session.receive(H, each, recorded.now)
    recorded.go_wrong(session)
    for several in (asked[:400], asked[400:]):
        answers = b"".join(map(ack, several))
        assert len(answers) > LIMIT
        assert session.receive(A, answers, recorded.now).to_haproxy == answers
    [take] = recorded.takes
    assert RUNT in [entry.data for _, entry in take.entries]


def test_a_session_that_breaks_is_forgotten():
    recorded = Recorded()
    session = recorded.session()
    recorded.go_wrong(session)
    session.release()
    assert len(recorded.takes) == 1
    assert recorded.recorder.budget.used == 0
    for number in range(9, 99):
        session.receive(H, notify(number), recorded.now)
    assert session.entries() == []
    assert recorded.recorder.budget.used == 0


def test_a_flood_of_anomalies_in_one_read_is_noted_and_not_kept():
    recorded = Recorded()
    session = recorded.session()
    session.receive(H, notify(1), 0.1)
    out = session.receive(A, RUNT * 3000, 0.2)
    assert len(out.events) >= 3000
    end(session, recorded.now)
    [take] = recorded.takes
    [noted] = [chunk for chunk in take.capture("full").chunks if "runt_frame" in "".join(chunk.notes)]
    assert len(noted.notes) == 16 + 1
    assert noted.notes[-1] == f"and {3000 - 16} anomalies more"


def test_observe_mode_is_recorded_and_the_comment_says_that_nothing_was_done():
    recorded = Recorded()
    session = recorded.session(SessionConfig(observe=True))
    assert recorded.go_wrong(session).to_haproxy == RUNT
    session.closed(H, recorded.now, reset=True)
    [take] = recorded.takes
    assert any("observe mode: not done" in note for chunk in take.capture("full").chunks for note in chunk.notes)


def test_a_session_is_handed_over_with_what_it_has_and_recorded_on_the_other_side_with_its_hello():
    ours, theirs = Recorded(), Recorded()
    session = ours.session(SessionConfig(give_up_s=5.0))
    ours.round_trips(session, 1)
    handed = session.to_hand_over()
    assert handed is not None
    session.handed_over(ours.now)
    session.closed(A, ours.now, reset=False)
    session.tick(ours.now + 10)
    assert ours.recorder.budget.used == 0
    taken = theirs.begin(SessionConfig(give_up_s=5.0))
    taken.take_over(handed, 0.1)
    taken.receive(H, b"GET / HTTP/1.1\r\n\r\n", 0.2)
    end(taken, 0.3)
    [take] = theirs.takes
    assert take.entries[0][1].data == hello()


def test_what_haproxy_wrote_is_said_of_the_link_that_it_went_to():
    recorded = Recorded()
    session = recorded.session(SessionConfig(give_up_s=5.0))
    session.closed(A, 0.1, reset=False)
    out = session.receive(H, notify(1), 0.2)
    link = out.link or out.more[0].link
    session.agent_connected(0.3, link)
    session.receive(A, frames.agent_hello(), 0.4, link)
    second = notify(2)
    assert session.receive(H, second, 0.5).to_agent == second
    [entry] = [entry for side, entry in session.entries() if side is H and entry.data == second]
    assert (entry.link, entry.out_link) == (0, link)
    assert link > 0


def test_the_guards_own_ends_are_in_it():
    recorded = Recorded()
    session = recorded.session()
    recorded.go_wrong(session)
    assert session.closed(A, recorded.now, reset=False).close_agent is not Close.KEEP
    end(session, recorded.now + 2)
    [take] = recorded.takes
    ended = [(chunk.side, chunk.inward) for chunk in take.capture("full").chunks if chunk.end]
    assert (Side.AGENT, True) in ended
    assert (Side.AGENT, False) in ended


def test_a_session_that_is_recorded_already_writes_nothing_more_once_that_is_turned_off():
    scene = Recorded()
    session = scene.session()
    scene.recorder.write_nothing()
    scene.go_wrong(session)
    end(session, scene.now)
    assert (scene.takes, scene.dropped()) == ([], {})
    scene.recorder.set(16384, 64 << 20, "warning", (6, 60.0))
    again = scene.session()
    scene.go_wrong(again)
    end(again, scene.now)
    assert len(scene.takes) == 1


def test_other_bounds_hold_for_new_sessions_and_for_all_together():
    scene = Recorded(session_bytes=LIMIT)
    before = scene.session()
    scene.recorder.set(2 * LIMIT, 2 * least_held(2 * LIMIT) + before.recording.limit, "warning", (6, 60.0))
    after = scene.session()
    assert (before.recording.limit, after.recording.limit) == (LIMIT, 2 * LIMIT)
    scene.recorder.set(2 * LIMIT, scene.recorder.budget.used, "warning", (6, 60.0))
    assert scene.session().recording is None


@pytest.mark.parametrize("links", [MOST_LINKS - 1, MOST_LINKS])
def test_the_addresses_of_haproxy_and_of_the_newest_links_are_known(links):
    scene = Recorded()
    session = scene.session()
    session.met(H, 0, 9001, 40000)
    for link in range(links):
        session.met(A, link, 50000 + link, 9000)
    newest = [(A, link) for link in range(links)][-(MOST_LINKS - 1) :]
    assert list(session.recording.sockets) == [(H, 0), *newest]
    assert [each.port for each in session.recording.sockets[H, 0]] == [40000, 9001]
    assert [each.port for each in session.recording.sockets[A, links - 1]] == [50000 + links - 1, 9000]
