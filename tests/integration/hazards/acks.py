"""Rows C: ACKs that answer another NOTIFY, or come twice, late or on another connection."""

from spoe_guard.lab.misbehaviour import MISBEHAVIOURS, STRAY_OFFSET, End
from spoe_guard.wire import actions, frame, typed_data, walk
from tests.integration.haproxy import Options
from tests.integration.hazards.framing import raw
from tests.integration.hazards.peer import Peer, good_hello
from tests.integration.hazards.row import PATIENCE, Row, variables

SYNC = Options(processing=PATIENCE, spoe=("no option pipelining", "no option async"))


def misplaced(stream_id=0, frame_id=0, factor=1, frame_factor=1):
    """An ACK with the ids of the first one due, changed, in front of the good ones."""

    def play(acks):
        first = acks[0]
        ids = first.stream_id * factor + stream_id, first.frame_id * frame_factor + frame_id
        return [frame.encode(frame.ACK, *ids, payload=actions.unset_var(walk.SCOPE_TXN, b"none")) + raw(acks)]

    return play


def impossible(offer):
    """AGENT-HELLO, and behind it ACKs that nobody asked for, with a stream-id that HAProxy cannot have."""
    return [
        good_hello(offer) + 2 * frame.encode(frame.ACK, frame.MAX_STREAM_ID + 1, 1, actions.unset_var(walk.SCOPE_TXN, b"none"))
    ]


def twice_different(acks):
    second = actions.set_var(walk.SCOPE_TXN, b"allowed", typed_data.STR, b"from-the-second-ACK")
    return [acks[0].raw + frame.with_payload(acks[0], second)]


def empty_then_full(acks):
    return [frame.with_payload(acks[0], b"") + acks[0].raw]


def late(acks):
    return [1.1, raw(acks)]


def case(name, does, play, **how):
    hold = how.pop("hold", 3)
    return Row(name, does, "C1, C2", Peer(play=play, hold=hold), requests=hold, **how)


ROWS = (
    case(
        "C1 a stream that nobody opened",
        "sends an ACK for a stream-id far above, then the ten good ones, in one write",
        misplaced(stream_id=STRAY_OFFSET),
        hold=10,
        without={"2.2 2.6 3.0": "10 x ok; next ok", "3.2": "10 x st=1; next ok"},
        guarded="10 x ok; next ok",
        anomalies="unmatched_ack",
    ),
    case(
        "C2 frame-id + 1",
        "sends an ACK with the frame-id of an open NOTIFY plus 1, then the good ones",
        misplaced(frame_id=1),
        without={"2.2 2.6 3.0": "3 x ok; next ok", "3.2": "3 x st=1; next ok"},
        guarded="3 x ok; next ok",
        anomalies="unmatched_ack",
    ),
    case(
        "C2 frame-id 0",
        "sends an ACK with frame-id 0 for an open stream, then the good ones",
        misplaced(frame_factor=0),
        without={"2.2 2.6 3.0": "3 x ok; next ok", "3.2": "3 x st=1; next ok"},
        guarded="3 x ok; next ok",
        anomalies="unmatched_ack",
    ),
    case(
        "C2 stream-id 0",
        "sends an ACK with stream-id 0, then the good ones",
        misplaced(factor=0),
        without={"2.2 2.6 3.0": "3 x ok; next ok", "3.2": "3 x st=1; next ok"},
        guarded="3 x ok; next ok",
        anomalies="unmatched_ack",
    ),
    case(
        "C2 stream-id + 2^32",
        "sends an ACK for an open stream-id plus 2^32, which sets nothing, then the good ones",
        misplaced(stream_id=2**32),
        without={"2.2 2.6 3.0": "nothing set, no error, 2 x ok; next ok", "3.2": "3 x ok; next ok"},
        guarded="3 x ok; next ok",
        anomalies="unmatched_ack",
    ),
    case(
        "C2 sync mode",
        "sends an ACK for a stream-id far above, then the good one, with one NOTIFY at a time",
        misplaced(stream_id=STRAY_OFFSET),
        hold=1,
        options=SYNC,
        without={"2.2 2.6 3.0": "st=256; next ok", "3.2": "st=1; next ok"},
        guarded="ok; next ok",
        anomalies="unmatched_ack",
    ),
    Row(
        "C2 a stream-id that HAProxy cannot have",
        "sends ACKs that nobody asked for, with a stream-id that HAProxy cannot have",
        "C2",
        Peer(hello=impossible),
        warm_up=0,
        without={"2.2 2.6 3.0": "ok; next ok", "3.2": "HAProxy dies"},
        guarded="ok; next ok",
        may_count="impossible_stream_id unmatched_ack",
        differs="the watchdog ends HAProxy within 2 s",
    ),
    Row(
        "C2 the same, `unmatched_ack: pass`",
        "the same; the guard has `policy: {unmatched_ack: pass}`, which does not hold for such an id",
        "C2",
        Peer(hello=impossible),
        warm_up=0,
        settings=(("ROUTES__0__POLICY__UNMATCHED_ACK", "pass"),),
        without={"2.2 2.6 3.0": "ok; next ok", "3.2": "HAProxy dies"},
        guarded="ok; next ok",
        may_count="impossible_stream_id unmatched_ack",
    ),
    Row(
        "C3 everything twice",
        "answers everything twice, in one write",
        "C3",
        Peer(play=MISBEHAVIOURS["ack_twice"].play, hold=3),
        requests=3,
        without={"2.2 2.6 3.0 3.2": "3 x ok; next ok"},
        guarded="3 x ok; next ok",
        anomalies="duplicate_ack",
    ),
    Row(
        "C3 two different ACKs",
        "answers a NOTIFY twice in one write, the second sets another variable",
        "C3",
        Peer(play=twice_different),
        shows=variables,
        without={
            "2.2 2.6 3.0": "verdict=/0; next verdict=/after",
            "3.2": "verdict=/0 allowed=from-the-second-ACK; next verdict=/after",
        },
        guarded="verdict=/0; next verdict=/after",
        anomalies="duplicate_ack",
    ),
    Row(
        "C3 an empty ACK, then a full one",
        "answers a NOTIFY twice in one write, first with no action",
        "C3",
        Peer(play=empty_then_full),
        shows=variables,
        without={"2.2 2.6 3.0 3.2": "nothing set, no error; next verdict=/after"},
        guarded="nothing set, no error; next verdict=/after",
        anomalies="duplicate_ack empty_ack",
    ),
    Row(
        "C4 empty ACK",
        "answers with no action",
        "C4, haproxy 851e52b55, coraza-spoa #162",
        Peer(play=lambda acks: [frame.with_payload(acks[0], b"")]),
        differs="the stall is one of 3.1.0 to 3.1.6, which are not among the four",
        without={"2.2 2.6 3.0 3.2": "nothing set, no error; next ok"},
        guarded="nothing set, no error; next ok",
        anomalies="empty_ack",
    ),
    Row(
        "C5 ACK and close at once",
        "answers and closes in the same instant; 200 requests, one after the other",
        "C5, B8",
        Peer(play=lambda acks: [acks[0].raw, End.RESET], every=True),
        requests=200,
        counted="answers",
        without={"2.2 2.6 3.0 3.2": "no answer lost that was given"},
        guarded="no answer lost that was given",
        anomalies="disconnect_missing",
        settings=(("ROUTES__0__LINKS__GIVE_UP", "5s"), ("ROUTES__0__REDISPATCH", "unanswered")),
        differs="a request is lost where its NOTIFY meets the close (st=257); the guard had `links.give_up: 5s` and "
        "`redispatch: unanswered`",
    ),
    Row(
        "C6 late ACK",
        "answers 300 ms after HAProxy has given up",
        "C6",
        Peer(play=late),
        without={"2.2 2.6 3.0 3.2": "st=1; next ok"},
        guarded="st=1; next ok",
    ),
    Row(
        "C6 late ACK in sync mode",
        "the same, with one NOTIFY at a time",
        "C6",
        Peer(play=late),
        options=SYNC,
        without={"2.2 2.6 3.0 3.2": "st=1; next ok"},
        guarded="st=1; next ok",
        may_count="late_ack notify_unanswered",
    ),
    Row(
        "C6 never, with answer_deadline",
        "does not answer; answer_deadline 200ms, unanswered: empty-ack",
        "C6, H4",
        Peer(play=lambda acks: []),
        settings=(("ROUTES__0__ANSWER_DEADLINE", "200ms"), ("ROUTES__0__UNANSWERED", "empty-ack")),
        without={"2.2 2.6 3.0 3.2": "st=1; next ok"},
        guarded="nothing set, no error; next ok",
        anomalies="notify_unanswered",
    ),
    Row(
        "C7 ACK on another connection",
        "answers on another connection of the same engine",
        "C7",
        not_staged="without async in `hello.capabilities` no agent is told that it may; with it, tests/integration/"
        "test_foreign_acks.py sees no answer lost on 2.2, 2.6 and 3.0, with the guard and without it",
    ),
    Row(
        "C8 ids of two connections collide",
        "keys its state by stream-id alone",
        "C8",
        not_staged="no link of the guard carries the NOTIFYs of two connections, so there is nothing to collide",
    ),
    Row(
        "C9 ids of two processes collide",
        "keys its state by stream-id alone over a reload",
        "C9",
        not_staged="a fault inside the agent, with nothing wrong on the wire",
    ),
    Row(
        "C10 one ACK blocks the others",
        "sends an ACK for a stream whose buffer is full",
        "C10",
        not_staged="the buffer is full only behind a first ACK of the same NOTIFY: rows C3 stage that",
    ),
)
