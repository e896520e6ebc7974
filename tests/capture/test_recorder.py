"""What is kept of a session, what an anomaly leaves behind, and that every bound holds at the bound and one past it."""

import pytest

from spoe_guard.capture import pcapng, pcapng_in
from spoe_guard.capture.recorder import AT_ONCE
from spoe_guard.capture.recording import AFTERWARDS_S, RecordedSession
from spoe_guard.capture.ring import ENTRY_BYTES, HELLO_BYTES, LEAST_BYTES, MOST_HELLOS, PARTS, Budget, Entry, Ring, least_held
from spoe_guard.core.anomalies import Action, Side, severity
from spoe_guard.core.config import SessionConfig
from spoe_guard.core.handed import NotTakenError
from spoe_guard.core.observing import open_session
from spoe_guard.core.output import Close
from spoe_guard.core.place import Place
from spoe_guard.core.tally import Tally
from spoe_guard.lab import frames
from tests.capture.scenes import RUNT, A, H, Recorded, ack, end, notify

LIMIT = 8192
PART = LIMIT // PARTS


def put(ring, data, link=0, **more):
    entry = Entry(1.0, link, data, 0, to_agent=data, **more)
    if ring.add(entry if more else (1.0, link, data, 0), link, len(data), entry.size()):
        ring.roll()


def read_bytes(ring):
    return sum(len(entry.data) for entry in ring.kept())


@pytest.fixture
def ring():
    return Ring(H, LIMIT, Budget(1 << 30))


def hello():
    return frames.haproxy_hello()


def test_a_direction_keeps_its_bound_and_not_a_byte_more(ring):
    for _ in range(PARTS):
        put(ring, b"x" * PART)
    assert read_bytes(ring) == LIMIT
    assert not ring.lost
    put(ring, b"y")
    assert LIMIT - PART < read_bytes(ring) <= LIMIT
    assert ring.lost == {0: PART}
    assert ring.kept()[-1].data == b"y"


@pytest.mark.parametrize("size", [PART - 1, PART, PART + 1, LIMIT // 2, LIMIT])
def test_whatever_the_size_of_reads_the_bound_holds(ring, size):
    for _ in range(3 * PARTS):
        put(ring, b"x" * size)
        assert read_bytes(ring) <= LIMIT
    assert read_bytes(ring) > LIMIT - PART - size or size == LIMIT


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
        link = 0 if number < 150 else number % 3 if number < 250 else 2
        data = b"x" * (90 + number % 7) if sent[link] else hello()
        put(ring, data, link)
        sent[link] += len(data)
    kept = dict.fromkeys(sent, 0)
    for entry in ring.kept():
        kept[entry.link] += len(entry.data)
    assert all(ring.lost.values())
    assert {link: kept[link] + ring.lost[link] for link in sent} == sent


def test_many_small_reads_are_bounded_in_number(ring):
    for _ in range(10 * LIMIT):
        put(ring, b"x")
    assert len(ring.entries) <= PART // LEAST_BYTES
    assert (
        (LIMIT - PART) // LEAST_BYTES <= len(ring.kept()) - HELLO_BYTES <= LIMIT // LEAST_BYTES
    )  # the first of them pass for a HELLO


def test_the_hellos_of_so_many_links_stay_and_of_no_more(ring):
    for link in range(MOST_HELLOS + 1):
        put(ring, frames.agent_hello(), link=link)
    for _ in range(100):
        put(ring, b"x" * 100, link=0)
    assert {entry.link for entry in ring.kept() if entry.data == frames.agent_hello()} == set(range(MOST_HELLOS))


def test_the_budget_is_what_is_kept_and_nothing_at_the_end():
    budget = Budget(1 << 30)
    ring = Ring(H, LIMIT, budget)
    put(ring, hello())
    for number in range(500):
        put(ring, b"x" * (number % 300))
        held = sum(entry.size() + ENTRY_BYTES for entry in ring.kept())
        assert held <= budget.used <= held + PART + (PART // LEAST_BYTES) * ENTRY_BYTES
    ring.clear()
    assert read_bytes(ring) == 0
    ring.end()
    assert budget.used == 0


def test_a_recorded_session_does_what_the_session_alone_does():
    recorded = Recorded()
    alone = open_session(SessionConfig(), Tally(), 0.0, Place(1))
    session = recorded.recorder.make_session(SessionConfig(), recorded.stats["default"].tally, 0.0, Place(1))
    one, two = notify(1), notify(2)
    calls = [
        ("start", (0.0,), {}), ("receive", (H, hello(), 0.0), {}), ("agent_connected", (0.0,), {}),
        ("receive", (A, frames.agent_hello(), 0.0), {}), ("receive", (H, one + two[:9], 0.1), {}),
        ("receive", (H, two[9:], 0.1), {}),
        ("receive", (A, ack(one) + RUNT, 0.2), {}), ("closed", (A, 0.3), {"reset": False}), ("tick", (0.9,), {}),
        ("closed", (H, 1.0), {"reset": True}), ("tick", (9.0,), {}),
    ]  # fmt: skip
    for name, args, named in calls:
        ours, theirs = getattr(session, name)(*args, **named), getattr(alone, name)(*args, **named)
        assert [getattr(ours, each) for each in ("to_haproxy", "to_agent", "dial", "close_haproxy", "close_agent")] == [
            getattr(theirs, each) for each in ("to_haproxy", "to_agent", "dial", "close_haproxy", "close_agent")
        ]
        assert list(map(repr, ours.events)) == list(map(repr, theirs.events))
        assert session.deadline <= alone.deadline


def test_an_anomaly_leaves_what_came_before_and_what_came_behind_it():
    recorded = Recorded()
    session = recorded.session()
    recorded.round_trips(session, 3)
    recorded.go_wrong(session)
    assert recorded.takes == []
    recorded.round_trips(session, 2, first=10)
    assert session.deadline <= recorded.now + AFTERWARDS_S
    recorded.now += AFTERWARDS_S
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


def notify_of(number):
    return notify(number, b"//")


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
    recorded = Recorded(total_bytes=600_000, session_bytes=16384)
    budget = recorded.recorder.budget
    sessions = [recorded.session() for _ in range(10)]
    most = 0
    for turn in range(40):
        for session in sessions:
            recorded.round_trips(session, 5, first=1 + 5 * turn, size=300)
            most = max(most, budget.used)
    assert 400_000 < most <= budget.limit
    for session in sessions:
        end(session, recorded.now)
    assert budget.used == 0


def test_idle_sessions_take_what_their_hellos_take_and_one_too_many_is_not_recorded():
    fits = 10
    recorded = Recorded(total_bytes=fits * 2 * least_held(16384))
    sessions = [recorded.session() for _ in range(fits)]
    assert all(isinstance(session, RecordedSession) for session in sessions)
    assert recorded.recorder.budget.used == recorded.recorder.budget.limit
    plain = recorded.session()
    assert not isinstance(plain, RecordedSession)
    end(sessions[0], recorded.now)
    assert isinstance(recorded.session(), RecordedSession)


def test_where_all_others_are_idle_the_one_that_is_not_gives_way():
    recorded = Recorded(total_bytes=20 * 2 * least_held(16384) + 1000)
    for _ in range(19):
        recorded.session()
    busy = recorded.session()
    for turn in range(50):
        recorded.round_trips(busy, 1, first=1 + turn, size=200)
        assert recorded.recorder.budget.used <= recorded.recorder.budget.limit


def test_a_session_that_gave_way_says_what_is_missing():
    recorded = Recorded()
    session = recorded.session()
    recorded.round_trips(session, 5)
    session.clear()
    recorded.go_wrong(session)
    end(session, recorded.now)
    [take] = recorded.takes
    first = next(entry for side, entry in take.entries if side is A and entry.data)
    assert first.lost == len(frames.agent_hello()) + sum(len(ack(notify_of(number))) for number in range(1, 6))


@pytest.mark.parametrize(("beyond", "kept"), [(0, LIMIT), (1, PART)])
def test_a_read_that_goes_on_as_it_came_is_kept_whole_up_to_the_bound(beyond, kept):
    recorded = Recorded(session_bytes=LIMIT)
    session = recorded.session()
    more = len(notify(1, b"x" * LIMIT)) - LIMIT
    read = notify(1, b"x" * (LIMIT + beyond - more))
    assert len(read) == LIMIT + beyond
    session.receive(H, read, 0.1)
    [entry] = [entry for side, entry in session.entries() if side is H and len(entry.data) > 1000]
    assert entry.data == read[-kept:]
    assert entry.lost == len(read) - kept


def test_a_read_beyond_the_bound_keeps_its_end():
    recorded = Recorded(session_bytes=LIMIT)
    session = recorded.session()
    burst = b"".join(notify(number) for number in range(1, 400))
    session.receive(H, burst, 0.1)
    recorded.go_wrong(session)
    end(session, recorded.now)
    [take] = recorded.takes
    [entry] = [entry for side, entry in take.entries if side is H and len(entry.data) > 500]
    assert entry.data == burst[-PART:]
    assert entry.lost == len(burst) - PART


def test_a_session_that_breaks_is_forgotten():
    recorded = Recorded()
    session = recorded.session()
    recorded.go_wrong(session)
    session.release()
    assert len(recorded.takes) == 1
    assert recorded.recorder.budget.used == 0
    session.receive(H, notify(9), recorded.now)
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
    taken = theirs.recorder.make_session(SessionConfig(give_up_s=5.0), theirs.stats["default"].tally, 0.0, Place(1))
    taken.take_over(handed, 0.1)
    taken.receive(H, b"GET / HTTP/1.1\r\n\r\n", 0.2)
    end(taken, 0.3)
    [take] = theirs.takes
    assert take.entries[0][1].data == hello()


def test_what_is_observed_is_not_handed_over():
    session = Recorded().session(SessionConfig(observe=True))
    assert session.to_hand_over() is None
    with pytest.raises(NotTakenError):
        session.take_over(None, 0.0)


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
    scene.recorder.set(2 * LIMIT, 2 * least_held(2 * LIMIT) + before._haproxys.limit, "warning", (6, 60.0))
    after = scene.session()
    assert (before._haproxys.limit, after._haproxys.limit) == (LIMIT, 2 * LIMIT)
    scene.recorder.set(2 * LIMIT, scene.recorder.budget.used, "warning", (6, 60.0))
    assert not isinstance(scene.recorder.make_session(SessionConfig(), Tally(), 0.0, Place(9)), RecordedSession)
