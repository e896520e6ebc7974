"""Rows A: invalid frames, frames that are too long or truncated, and bursts of the wrong size."""

from spoe_guard.lab import frames
from spoe_guard.lab.misbehaviour import MISBEHAVIOURS, WRAPPING_LENGTH, End
from spoe_guard.wire import frame, typed_data, varint
from tests.integration.hazards.peer import Largest, Peer, padded
from tests.integration.hazards.row import Row

PAUSE_S = 0.05  # long enough for HAProxy to read what came so far


def raw(acks):
    return b"".join(each.raw for each in acks)


def length_of(acks, length):
    """The first ACK's frame with another length in front."""
    return length.to_bytes(4, "big") + acks[0].raw[4:]


def endless_stream_id(acks):
    body = bytes((frame.ACK, 0, 0, 0, frame.FLAG_FIN)) + b"\xff" * 12 + b"\x01" + acks[0].payload
    return len(body).to_bytes(4, "big") + body


def wrapping_disconnect(acks):
    payload = varint.encode(WRAPPING_LENGTH) + b"status-code" + bytes((typed_data.UINT32, 0))
    return frame.encode(frame.AGENT_DISCONNECT, payload=payload)


def split_everywhere(acks):
    """Cut each ACK behind its 11th byte, with a stream-id of two bytes."""
    return [raw(acks)[:11], PAUSE_S, raw(acks)[11:]]


ROWS = (
    Row(
        "A1 one large ACK",
        "answers with one ACK as long as it was offered (16,380 behind the length without the guard), then behaves",
        "A1",
        Peer(play=lambda acks: [Largest(acks[0])]),
        without={"2.2 2.6 3.0": "ok; next ok", "3.2": "st=1; next st=1"},
        guarded="ok; next ok",
    ),
    Row(
        "A1 an ACK that fills the buffer",
        "answers with one ACK of 16,384 bytes on the wire (16,380 behind the length), whatever it was offered, then behaves",
        "A1",
        Peer(play=lambda acks: [padded(acks[0], 16384)]),
        without={"2.2 2.6 3.0": "ok; next ok", "3.2": "st=1; next st=1"},
        guarded="ok; next ok",
        guarded_on={"3.2": "st=269; next ok"},
        may_count="notify_unanswered oversize_frame",
    ),
    Row(
        "A1 burst of ACKs",
        "answers 20 NOTIFYs in one write of 20 ACKs of 900 bytes, then behaves",
        "A1",
        Peer(play=lambda acks: [b"".join(padded(each, 900) for each in acks)], hold=20),
        requests=20,
        without={"2.2 2.6 3.0": "20 x ok; next ok", "3.2": "20 x st=1; next st=1"},
        guarded="20 x ok; next ok",
    ),
    Row(
        "A2 ACK split behind its 11th byte",
        "writes an ACK in two: 11 bytes, a pause, the rest; the stream-id takes two bytes",
        "A2, haproxy 4a540a4fb",
        Peer(play=split_everywhere),
        warm_up=121,
        without={"2.2 2.6 3.0 3.2": "ok; next ok"},
        guarded="ok; next ok",
        differs="no harm on any of the four, 3.2.26 among them",
    ),
    Row(
        "A3 length 0, close",
        "answers two of three, then sends a frame of length 0 and closes",
        "A3, haproxy #2490",
        Peer(play=MISBEHAVIOURS["zero_length_frame"].play, hold=3),
        requests=3,
        without={"2.2 2.6": "HAProxy dies", "3.0 3.2": "2 x ok, st=260; next ok"},
        guarded="2 x ok, st=269; next ok",
        anomalies="disconnect_missing notify_unanswered runt_frame",
    ),
    Row(
        "A3 length 1, close",
        "answers two of three, then sends a frame of length 1 and closes",
        "A3, haproxy #2490",
        Peer(play=MISBEHAVIOURS["one_byte_frame"].play, hold=3),
        requests=3,
        without={"2.2 2.6": "HAProxy dies", "3.0 3.2": "2 x ok, st=260; next ok"},
        guarded="2 x ok, st=269; next ok",
        anomalies="disconnect_missing notify_unanswered runt_frame",
    ),
    Row(
        "A3 length 0, answers behind it",
        "sends a frame of length 0, then answers",
        "A3",
        Peer(play=lambda acks: [bytes(4) + raw(acks)], hold=3),
        requests=3,
        without={"2.2 2.6": "3 x st=1; next st=1", "3.0": "3 x st=260; next ok", "3.2": "3 x st=1; next ok"},
        guarded="3 x ok; next ok",
        anomalies="runt_frame",
    ),
    Row(
        "A3 length 5, answers behind it",
        "sends a frame of length 5, then answers",
        "A3",
        Peer(play=lambda acks: [bytes((0, 0, 0, 5, frame.ACK, 0, 0, 0, 1)) + raw(acks)], hold=3),
        requests=3,
        without={"2.2 2.6": "3 x ok; next ok", "3.0": "3 x st=260; next ok", "3.2": "3 x st=1; next ok"},
        guarded="3 x ok; next ok",
        anomalies="runt_frame",
    ),
    Row(
        "A4 oversize ACK",
        "answers the first of three with an ACK of 16,500 bytes, and the others well behind it",
        "A4",
        Peer(play=lambda acks: [padded(acks[0], 16500) + raw(acks[1:])], hold=3),
        requests=3,
        without={"2.2 2.6 3.0": "3 x st=259; next ok", "3.2": "3 x st=1; next st=1"},
        guarded="2 x ok, st=269; next ok",
        anomalies="notify_unanswered oversize_frame",
    ),
    Row(
        "A5 length of 4 GiB",
        "sends an ACK whose length says 0xFFFFFFFF, the good ones behind it",
        "A5",
        Peer(play=lambda acks: [length_of(acks, 0xFFFFFFFF) + raw(acks)], hold=3),
        requests=3,
        without={"2.2 2.6 3.0": "3 x st=259; next ok", "3.2": "3 x st=1; next ok"},
        guarded="3 x ok; next ok",
        anomalies="garbled_stream interleaved_frames",
    ),
    Row(
        "A6 endless stream-id",
        "sends an ACK whose stream-id does not end, the good ones behind it",
        "A6 (i)",
        Peer(play=lambda acks: [endless_stream_id(acks) + raw(acks)], hold=3),
        requests=3,
        without={"2.2 2.6 3.0": "3 x ok; next ok", "3.2": "3 x st=1; next ok"},
        guarded="3 x ok; next ok",
        anomalies="bad_varint",
        differs="3.0 and older answer the good ones behind it",
    ),
    Row(
        "A6 length that wraps, in an ACK",
        "answers the last of three with a variable name whose length wraps a pointer",
        "A6 (ii), haproxy bd03f0500",
        Peer(play=MISBEHAVIOURS["wrapping_length"].play, hold=3),
        requests=3,
        without={"2.2 2.6 3.0": "HAProxy dies", "3.2": "nothing set, no error, 2 x ok; next ok"},
        guarded="2 x ok, st=269; next ok",
        anomalies="bad_varint notify_unanswered",
        differs="3.2.26 lives: it sets nothing, and says no error",
    ),
    Row(
        "A6 length that wraps, in DISCONNECT",
        "says DISCONNECT with a key whose length wraps a pointer, and closes",
        "A6 (ii)",
        Peer(play=lambda acks: [wrapping_disconnect(acks), End.CLOSE]),
        without={"2.2 2.6 3.0": "HAProxy dies", "3.2": "st=260; next ok"},
        guarded="st=269; next ok",
        anomalies="disconnect_malformed notify_unanswered",
    ),
    Row(
        "A6 non-minimal varint",
        "writes an integer in more bytes than needed",
        "A6 (iii)",
        not_staged="SPOP's encoding has exactly one form for each value: f0 00 is the only way to write 240",
    ),
    Row(
        "A7 cut at the end",
        "answers two of three, and closes in the middle of the third ACK",
        "A7",
        Peer(play=MISBEHAVIOURS["ack_cut_in_half"].play, hold=3),
        requests=3,
        without={"2.2 2.6 3.0": "2 x ok, st=257; next ok", "3.2": "2 x ok, st=260; next ok"},
        guarded="2 x ok, st=269; next ok",
        anomalies="disconnect_missing notify_unanswered truncated_frame",
    ),
    Row(
        "A8 ACK without FIN",
        "leaves the FIN flag of its ACKs out",
        "A8",
        Peer(play=MISBEHAVIOURS["ack_without_fin"].play, hold=3),
        requests=3,
        without={"2.2 2.6 3.0": "3 x st=256; next ok", "3.2": "3 x st=1; next ok"},
        guarded="3 x ok; next ok",
        anomalies="missing_fin",
    ),
    Row(
        "A8 HELLO without FIN",
        "leaves the FIN flag of its HELLO out",
        "A8",
        Peer(hello=lambda offer: [frame.with_flags(frames.agent_hello(), 0)]),
        warm_up=0,
        without={"2.2": "st=256; next st=256", "2.6 3.0": "st=1; next st=1; reconnect storm", "3.2": "st=260; next st=260"},
        guarded="ok; next ok",
        anomalies="missing_fin",
    ),
    Row(
        "A8 ABRT set",
        "sets ABRT and a reserved flag in its ACKs",
        "A8",
        Peer(play=lambda acks: [b"".join(frame.with_flags(each.raw, 0x13) for each in acks)], hold=3),
        requests=3,
        without={"2.2 2.6 3.0 3.2": "3 x ok; next ok"},
        guarded="3 x ok; next ok",
        anomalies="reserved_flags",
    ),
    Row(
        "A9 unknown type, no stream",
        "sends a frame of type 42 with stream-id 0, then answers",
        "A9",
        Peer(play=lambda acks: [frame.encode(42) + raw(acks)], hold=3),
        requests=3,
        without={"2.2 2.6 3.0": "3 x ok; next ok", "3.2": "3 x st=1; next ok"},
        guarded="3 x ok; next ok",
        anomalies="unknown_frame_type",
    ),
    Row(
        "A9 unknown type, of a stream",
        "sends a frame of type 42 with the ids of an open NOTIFY, then answers",
        "A9",
        Peer(play=lambda acks: [frame.encode(42, acks[0].stream_id, acks[0].frame_id) + raw(acks)], hold=3),
        requests=3,
        without={"2.2 2.6 3.0 3.2": "3 x ok; next ok"},
        guarded="3 x ok; next ok",
        anomalies="unknown_frame_type",
    ),
    Row(
        "A9 a NOTIFY from the agent",
        "sends a NOTIFY itself, then answers",
        "A9",
        Peer(play=MISBEHAVIOURS["notify_from_agent"].play, hold=3),
        requests=3,
        without={"2.2 2.6 3.0 3.2": "3 x ok; next ok"},
        guarded="3 x ok; next ok",
        anomalies="wrong_side_frame",
    ),
)
