"""Rows E: DISCONNECT and close."""

from spoe_guard.lab import frames
from spoe_guard.lab.misbehaviour import MISBEHAVIOURS, End
from spoe_guard.wire import frame, kv, typed_data
from tests.integration.hazards.framing import raw
from tests.integration.hazards.peer import Peer
from tests.integration.hazards.row import Row

GOODBYE = frames.disconnect(frame.AGENT_DISCONNECT)
STATUS = kv.Pair(b"status-code", typed_data.UINT32, 50)


def goodbye(*pairs, stream_id=0, frame_id=0):
    return frame.encode(frame.AGENT_DISCONNECT, stream_id, frame_id, kv.encode(list(pairs)))


def with_status(status):
    return Peer(play=lambda acks: [frames.disconnect(frame.AGENT_DISCONNECT, status), End.CLOSE])


def with_ids_of_a_stream(acks):
    """DISCONNECT with the ids of the last NOTIFY, behind which the first two are answered; the connection stays open."""
    last = acks[-1]
    return [frame.with_payload(last, b"")[:4] + bytes((frame.AGENT_DISCONNECT,)) + last.raw[5 : last.payload_at] + raw(acks[:-1])]


def status_is_text(acks):
    return [goodbye(kv.Pair(b"status-code", typed_data.STR, b"fifty"), kv.Pair(b"message", typed_data.STR, b"x"))]


ROWS = (
    Row(
        "E1 normal, with an answer open",
        "answers two of three, says DISCONNECT with status 0, and closes nothing",
        "E1",
        Peer(play=MISBEHAVIOURS["disconnect_left_open"].play, hold=3),
        requests=3,
        without={"2.2 2.6": "2 x ok, st=256; next ok", "3.0": "2 x ok, st=1; next ok", "3.2": "2 x ok, st=257; next ok"},
        guarded="2 x ok, st=269; next ok",
        anomalies="disconnect_before_ack disconnect_status notify_unanswered",
        differs="only 3.0 waits for the timeout; 2.2 and 2.6 end at once with 256",
    ),
    Row(
        "E2 status 10000",
        "says DISCONNECT with status 10,000 and closes",
        "E2",
        with_status(10_000),
        without={"2.2 2.6 3.0 3.2": "st=10256; next ok"},
        guarded="st=355; next ok",
        anomalies="disconnect_before_ack disconnect_status notify_unanswered",
    ),
    Row(
        "E2 status 2^32 + 7",
        "says DISCONNECT with status 2^32 + 7 and closes",
        "E2",
        with_status(2**32 + 7),
        without={"2.2 2.6 3.0 3.2": "st=263; next ok"},
        guarded="st=355; next ok",
        anomalies="disconnect_before_ack disconnect_status notify_unanswered",
    ),
    Row(
        "E3 DISCONNECT and close in one instant",
        "says DISCONNECT with status 50 and resets at once; 200 requests",
        "E3",
        Peer(play=lambda acks: [frames.disconnect(frame.AGENT_DISCONNECT, 50), End.RESET], every=True),
        requests=200,
        after=False,
        differs="it was known of 3.4.0 only; 3.2.26 has it too: in one run 2 of 200, in another none",
        counted="stalls",
        without={"2.2 2.6 3.0": "none stalls", "3.2": "some stall / none stalls"},
        guarded="none stalls",
        anomalies="disconnect_before_ack notify_unanswered",
    ),
    Row(
        "E4 DISCONNECT with the ids of a stream",
        "says DISCONNECT with the ids of an open NOTIFY, then answers two others",
        "E4",
        Peer(play=with_ids_of_a_stream, hold=3),
        requests=3,
        without={"2.2 2.6 3.0 3.2": "3 x st=1; next ok"},
        guarded="2 x ok, st=355; next ok",
        anomalies="ack_after_disconnect disconnect_bad_ids disconnect_before_ack disconnect_malformed disconnect_repeated "
        "notify_unanswered",
    ),
    Row(
        "E5 status that is text",
        "says DISCONNECT with a status-code that is no integer, and closes nothing",
        "E5, E9",
        Peer(play=status_is_text),
        without={"2.2 2.6 3.0": "st=1; next ok", "3.2": "st=260; next ok"},
        guarded="st=355; next ok",
        anomalies="disconnect_before_ack disconnect_malformed disconnect_repeated notify_unanswered",
    ),
    Row(
        "E5 bytes behind DISCONNECT",
        "answers, says DISCONNECT, writes rubbish, and closes",
        "E5",
        Peer(play=lambda acks: [raw(acks) + GOODBYE + b"\xde\xad\xbe\xef" * 4, End.CLOSE], hold=3),
        requests=3,
        without={"2.2 2.6 3.0 3.2": "3 x ok; next ok"},
        guarded="3 x ok; next ok",
        anomalies="garbled_stream",
    ),
    Row(
        "E6 ACKs inside DISCONNECT",
        "writes its three ACKs into the middle of its DISCONNECT, and closes",
        "E6; agents 4.1",
        Peer(play=MISBEHAVIOURS["acks_inside_disconnect"].play, hold=3),
        requests=3,
        without={"2.2 2.6 3.0": "3 x st=259; next ok", "3.2": "3 x st=260; next ok"},
        guarded="3 x ok; next ok",
        anomalies="interleaved_frames",
    ),
    Row(
        "E7 DISCONNECT, then ACKs",
        "says DISCONNECT, then answers, then closes",
        "E7; agents 4.6: negasus 1.0.7",
        Peer(play=MISBEHAVIOURS["disconnect_then_acks"].play, hold=3),
        requests=3,
        without={"2.2 2.6 3.0": "3 x st=256; next ok", "3.2": "3 x st=257; next ok"},
        guarded="3 x ok; next ok",
        anomalies="ack_after_disconnect disconnect_before_ack",
    ),
    Row(
        "E7 ACKs, then DISCONNECT",
        "answers, says DISCONNECT, and closes: as it should be",
        "E7",
        Peer(play=lambda acks: [raw(acks) + GOODBYE, End.CLOSE], hold=3),
        requests=3,
        without={"2.2 2.6 3.0 3.2": "3 x ok; next ok"},
        guarded="3 x ok; next ok",
    ),
    Row(
        "E8 close without a word",
        "answers two of three and closes",
        "E8",
        Peer(play=MISBEHAVIOURS["close_without_a_word"].play, hold=3),
        requests=3,
        without={"2.2 2.6 3.0 3.2": "2 x ok, st=257; next ok"},
        guarded="2 x ok, st=269; next ok",
        anomalies="disconnect_missing notify_unanswered",
    ),
    Row(
        "E8 reset without a word",
        "answers two of three and resets",
        "E8",
        Peer(play=MISBEHAVIOURS["reset_without_a_word"].play, hold=3),
        requests=3,
        without={"2.2 2.6 3.0 3.2": "2 x ok, st=257; next ok"},
        guarded="2 x ok, st=269; next ok",
        anomalies="disconnect_missing notify_unanswered",
    ),
    Row(
        "E8 hangs",
        "answers two of three and stops, connection open",
        "E8, H4",
        Peer(play=MISBEHAVIOURS["hang"].play, hold=3),
        requests=3,
        without={"2.2 2.6 3.0 3.2": "2 x ok, st=1; next st=1"},
        guarded="2 x ok, st=1; next st=1",
        differs="by default the guard leaves it to HAProxy; row `C6 never` shows answer_deadline",
    ),
    Row(
        "E9 DISCONNECT without a payload",
        "says DISCONNECT with nothing in it, and closes nothing",
        "E9",
        Peer(play=lambda acks: [goodbye()]),
        without={"2.2 2.6 3.0": "st=256; next ok", "3.2": "st=257; next ok"},
        guarded="st=355; next ok",
        anomalies="disconnect_before_ack disconnect_malformed disconnect_repeated notify_unanswered",
        differs="no HAProxy waits: all take it for status 0",
    ),
)
