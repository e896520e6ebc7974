"""What the recorder keeps of a session, what it writes for an anomaly, and every bound at its limit and one past it."""

import pytest

from spoe_guard.capture.files import pcapng, pcapng_in
from spoe_guard.capture.record.recorder import AT_ONCE
from spoe_guard.capture.record.ring import FIRST_BYTES, MOST_LINKS, PARTS, least_held
from spoe_guard.core.incoming.walker import FRAMES_A_TURN
from spoe_guard.core.terms.anomalies import Action, Anomaly, Side, severity
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.output import Close
from spoe_guard.lab import frames
from tests.capture.scenes import RUNT, A, H, Recorded, ack, end, notify, notify_of

LIMIT = 8192
PART = LIMIT // PARTS


def hello():
    return frames.haproxy_hello()


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
    sent = b"".join(chunk.data for chunk in capture.heard() if chunk.side is A)
    assert sent == frames.agent_hello() + b"".join(map(ack, map(notify_of, (1, 2, 3)))) + RUNT + b"".join(
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
    told = frames.agent_hello(capabilities=b"pipelining,fragmentation")
    assert to_haproxy == told + b"".join(ack(notify_of(number)) for number in (1, 2, 3))


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


def test_severity_grows_from_pass_over_repair_to_close():
    assert {action: severity(action) for action in Action} == {
        action: "info" if action is Action.PASS else "error" if action is Action.CLOSE else "warning" for action in Action
    }


def test_captures_of_an_anomaly_beyond_the_rate_are_counted_not_made():
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


def test_captures_that_wait_for_more_reads_are_bounded_and_the_rest_counted():
    recorded = Recorded(rate=(1000, 1.0))
    for _ in range(AT_ONCE):
        recorded.go_wrong(recorded.session())
    assert recorded.dropped() == {}
    recorded.go_wrong(recorded.session())
    assert recorded.dropped() == {"busy": 1}


def test_an_anomaly_that_gets_no_capture_need_not_be_told():
    recorded = Recorded(rate=(1, 60.0), least="warning")
    recorder, runt = recorded.recorder, (Anomaly.RUNT_FRAME, Action.DROP)
    session = recorded.session()
    number = session.number
    assert recorder.wants(number, *runt)
    assert not recorder.wants(number, Anomaly.EMPTY_ACK, Action.PASS)  # of a lower severity
    assert not recorder.wants(number + 1, *runt)
    recorded.go_wrong(session)
    assert not recorder.wants(number, *runt)  # the capture that is under way includes it
    recorder.missed(number, *runt)
    recorder.missed(number + 1, *runt)
    end(session, recorded.now)
    assert recorded.dropped() == {}
    other = recorded.session()
    assert not recorder.wants(other.number, *runt)
    recorder.missed(other.number, *runt)
    recorder.missed(other.number, Anomaly.EMPTY_ACK, Action.PASS)
    assert recorded.dropped() == {"rate": 1}
    assert recorder.wants(other.number, Anomaly.BAD_VARINT, Action.DROP)


def test_while_too_many_captures_wait_an_anomaly_need_not_be_told():
    recorded = Recorded(rate=(1000, 1.0))
    for _ in range(AT_ONCE):
        recorded.go_wrong(recorded.session())
    number = recorded.session().number
    assert not recorded.recorder.wants(number, Anomaly.RUNT_FRAME, Action.DROP)
    recorded.recorder.missed(number, Anomaly.RUNT_FRAME, Action.DROP)
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


def test_a_session_for_which_the_budget_has_no_room_is_not_recorded():
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
def test_a_read_passed_unchanged_is_kept_whole_up_to_the_bound(beyond):
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
def test_a_changed_read_is_kept_up_to_its_part_of_the_bound(beyond):
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
    out = session.receive(A, RUNT * FRAMES_A_TURN, 0.2)
    assert len(out.events) >= FRAMES_A_TURN
    end(session, recorded.now)
    [take] = recorded.takes
    [noted] = [chunk for chunk in take.capture("full").chunks if "runt_frame" in "".join(chunk.notes)]
    assert len(noted.notes) == 16 + 1
    assert noted.notes[-1] == f"and {FRAMES_A_TURN - 16} anomalies more"


def test_observe_mode_is_recorded_and_the_comment_says_that_nothing_was_done():
    recorded = Recorded()
    session = recorded.session(SessionConfig(observe=True))
    assert recorded.go_wrong(session).to_haproxy == RUNT
    session.closed(H, recorded.now, reset=True)
    [take] = recorded.takes
    assert any("observe mode: not done" in note for chunk in take.capture("full").chunks for note in chunk.notes)


def test_a_handed_over_session_is_recorded_with_its_hello_by_the_successor():
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
    link_id = out.link_id or out.more[0].link_id
    session.agent_connected(0.3, link_id)
    session.receive(A, frames.agent_hello(), 0.4, link_id)
    second = notify(2)
    assert session.receive(H, second, 0.5).to_agent == second
    [entry] = [entry for side, entry in session.entries() if side is H and entry.data == second]
    assert (entry.link_id, entry.out_link) == (0, link_id)
    assert link_id > 0


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


def test_a_recorded_session_writes_nothing_once_recording_is_turned_off():
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
    for link_id in range(links):
        session.met(A, link_id, 50000 + link_id, 9000)
    newest = [(A, link_id) for link_id in range(links)][-(MOST_LINKS - 1) :]
    assert list(session.recording.sockets) == [(H, 0), *newest]
    assert [each.port for each in session.recording.sockets[H, 0]] == [40000, 9001]
    assert [each.port for each in session.recording.sockets[A, links - 1]] == [50000 + links - 1, 9000]
