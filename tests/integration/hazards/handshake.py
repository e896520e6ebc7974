"""Rows B: what an agent may send, or omit, before the first NOTIFY."""

from spoe_guard.lab import frames
from spoe_guard.lab.misbehaviour import MISBEHAVIOURS, End
from spoe_guard.wire import actions, frame, kv, typed_data, walk
from tests.integration.hazards.framing import PAUSE_S
from tests.integration.hazards.peer import Peer, good_hello
from tests.integration.hazards.row import Row

VERSION = kv.Pair(b"version", typed_data.STR, b"2.0")
SIZE = kv.Pair(b"max-frame-size", typed_data.UINT32, 16380)
NO_CAPABILITIES = kv.Pair(b"capabilities", typed_data.STR, b"")
REFUSAL = frames.disconnect(frame.AGENT_DISCONNECT, 50, b"not today")


def hello(*pairs):
    return frame.encode(frame.AGENT_HELLO, payload=kv.encode(list(pairs)))


def split(cut):
    """Write AGENT-HELLO in two."""
    return lambda offer: [good_hello(offer)[:cut], PAUSE_S, good_hello(offer)[cut:]]


def says(*pairs):
    return Peer(hello=lambda offer: [hello(*pairs)])


def early_ack(offer):
    return [frame.encode(frame.ACK, 1, 1, actions.unset_var(walk.SCOPE_TXN, b"none")) + good_hello(offer)]


ROWS = (
    Row(
        "B1 HELLO split behind its 11th byte",
        "writes AGENT-HELLO in two: 11 bytes, a pause, the rest",
        "B1, haproxy #3478",
        Peer(hello=split(11)),
        warm_up=0,
        without={"2.2 2.6 3.0 3.2": "ok; next ok"},
        guarded="ok; next ok",
        differs="no harm on any of the four, 3.2.26 among them; known of earlier 3.1 to 3.4",
    ),
    Row(
        "B1 HELLO split before its last byte",
        "writes AGENT-HELLO in two, the last byte late",
        "B1, haproxy #3478",
        Peer(hello=split(-1)),
        warm_up=0,
        without={"2.2 2.6 3.0 3.2": "ok; next ok"},
        guarded="ok; next ok",
        differs="no harm on any of the four, 3.2.26 among them; known of earlier 3.1 to 3.4",
    ),
    Row(
        "B1 HELLO split behind its length",
        "writes the four bytes of the length first, the rest late",
        "B1",
        Peer(hello=split(4)),
        warm_up=0,
        without={"2.2 2.6 3.0 3.2": "ok; next ok"},
        guarded="ok; next ok",
    ),
    Row(
        "B2 no version",
        "leaves version out of AGENT-HELLO",
        "B2, HELLO",
        says(SIZE, NO_CAPABILITIES),
        warm_up=0,
        without={"2.2": "st=256; next st=256", "2.6 3.0": "st=1; next st=1; reconnect storm", "3.2": "st=257; next st=257"},
        guarded="ok; next ok",
        anomalies="hello_malformed",
    ),
    Row(
        "B2 no max-frame-size",
        "leaves max-frame-size out",
        "B2, HELLO",
        says(VERSION, NO_CAPABILITIES),
        warm_up=0,
        without={"2.2": "st=256; next st=256", "2.6 3.0": "st=1; next st=1; reconnect storm", "3.2": "ok; next ok"},
        guarded="ok; next ok",
        anomalies="hello_size",
    ),
    Row(
        "B2 max-frame-size 255",
        "announces a size below 256",
        "B2, HELLO",
        says(VERSION, kv.Pair(b"max-frame-size", typed_data.UINT32, 255), NO_CAPABILITIES),
        warm_up=0,
        without={"2.2": "st=256; next st=256", "2.6 3.0": "st=1; next st=1; reconnect storm", "3.2": "st=257; next st=257"},
        guarded="ok; next ok",
        anomalies="hello_size",
    ),
    Row(
        "B2 max-frame-size above the offer",
        "announces one more than was offered",
        "B2, HELLO",
        says(VERSION, kv.Pair(b"max-frame-size", typed_data.UINT32, 16381), NO_CAPABILITIES),
        warm_up=0,
        without={"2.2": "st=256; next st=256", "2.6 3.0": "st=1; next st=1; reconnect storm", "3.2": "st=257; next st=257"},
        guarded="ok; next ok",
        anomalies="hello_size",
    ),
    Row(
        "B2 a key that starts like another",
        "puts a boolean version-x in front of version",
        "B2, HELLO",
        says(kv.Pair(b"version-x", typed_data.BOOL, True), VERSION, SIZE, NO_CAPABILITIES),
        warm_up=0,
        without={"2.2": "st=256; next st=256", "2.6 3.0": "st=1; next st=1; reconnect storm", "3.2": "st=257; next st=257"},
        guarded="ok; next ok",
        anomalies="hello_malformed",
    ),
    Row(
        "B3 version 1.0",
        "says version 1.0",
        "B3",
        says(kv.Pair(b"version", typed_data.STR, b"1.0"), SIZE, NO_CAPABILITIES),
        warm_up=0,
        without={"2.2": "st=256; next st=256", "2.6 3.0": "st=1; next st=1; reconnect storm", "3.2": "st=257; next st=257"},
        guarded="st=260; next st=260",
        guarded_on={"2.6": "st=1; next st=1", "3.0": "st=1; next st=1"},
        anomalies="hello_version",
    ),
    Row(
        "B3 version 2",
        "says version 2, without the point",
        "B3",
        says(kv.Pair(b"version", typed_data.STR, b"2"), SIZE, NO_CAPABILITIES),
        warm_up=0,
        without={"2.2": "st=256; next st=256", "2.6 3.0": "st=1; next st=1; reconnect storm", "3.2": "st=257; next st=257"},
        guarded="ok; next ok",
        anomalies="hello_version",
    ),
    Row(
        "B4 HELLO before it is asked",
        "says AGENT-HELLO as soon as it is connected, and not again",
        "B4",
        Peer(accept=[frames.agent_hello()], hello=lambda offer: []),
        warm_up=0,
        without={"2.2 2.6 3.0 3.2": "ok; next ok"},
        guarded="ok; next ok",
    ),
    Row(
        "B4 ACK before HELLO",
        "sends an ACK in front of AGENT-HELLO",
        "B4",
        Peer(hello=early_ack),
        warm_up=0,
        without={"2.2": "st=256; next st=256", "2.6 3.0": "st=1; next st=1; reconnect storm", "3.2": "st=260; next st=260"},
        guarded="ok; next ok",
        anomalies="frame_before_hello",
    ),
    Row(
        "B5 refused in place of HELLO",
        "says DISCONNECT with status 50 in place of AGENT-HELLO, and waits for HAProxy's close",
        "B5, B6",
        Peer(hello=lambda offer: [REFUSAL, End.LINGER]),
        warm_up=0,
        without={"2.2": "st=306; next st=306", "2.6 3.0": "st=1; next st=1; reconnect storm", "3.2": "st=260; next st=260"},
        guarded="st=1; next st=1",
        guarded_on={"2.2": "st=306; next st=306", "3.2": "st=260; next st=260"},
        anomalies="hello_refused",
        differs="2.2 does not connect again; it is told as late as the others",
    ),
    Row(
        "B6 refused, closed",
        "says DISCONNECT with status 50 in place of AGENT-HELLO, and closes",
        "B6",
        Peer(hello=lambda offer: [REFUSAL, End.CLOSE]),
        warm_up=0,
        without={"2.2": "st=306; next st=306", "2.6 3.0": "st=1; next st=1; reconnect storm", "3.2": "st=260; next st=260"},
        guarded="st=1; next st=1",
        guarded_on={"2.2": "st=306; next st=306", "3.2": "st=260; next st=260"},
        anomalies="hello_refused",
        differs="2.2 does not connect again; it is told as late as the others",
    ),
    Row(
        "B6 closed at accept",
        "closes each connection as soon as it is there",
        "B6",
        Peer(accept=[End.CLOSE]),
        warm_up=0,
        without={"2.2 3.2": "st=257; next st=257", "2.6 3.0": "st=1; next st=1; reconnect storm"},
        guarded="st=1; next st=1",
        guarded_on={"2.2": "st=269; next st=269", "3.2": "st=260; next st=260"},
        anomalies="disconnect_missing",
        differs="2.2 does not connect again; it is told as late as the others",
    ),
    Row(
        "B7 closed in place of HELLO",
        "reads HAPROXY-HELLO and closes",
        "B7",
        Peer(hello=lambda offer: [End.CLOSE]),
        warm_up=0,
        without={"2.2 3.2": "st=257; next st=257", "2.6 3.0": "st=1; next st=1; reconnect storm"},
        guarded="st=1; next st=1",
        guarded_on={"2.2": "st=269; next st=269", "3.2": "st=260; next st=260"},
        anomalies="disconnect_missing",
        differs="2.2 does not connect again; it is told as late as the others",
    ),
    Row(
        "B8 a close behind each answer",
        "closes behind each ACK; 200 requests, one after the other",
        "B8, haproxy 5e84f13a0",
        Peer(play=lambda acks: [acks[0].raw, End.CLOSE], every=True),
        requests=200,
        counted="answers",
        without={"2.2 2.6 3.0 3.2": "no answer lost that was given"},
        guarded="no answer lost that was given",
        anomalies="disconnect_missing",
        settings=(("ROUTES__0__LINKS__GIVE_UP", "5s"), ("ROUTES__0__REDISPATCH", "unanswered")),
        differs="no st=2 was seen: a request is lost where its NOTIFY meets the close (st=257); the guard had `links.give_up: "
        "5s` and `redispatch: unanswered`",
    ),
    Row(
        "B9 a stream on a connection without HELLO",
        "is slow to say HELLO, then fails it",
        "B9, haproxy fd7ebf117",
        not_staged="HAProxy 3.1.0 to 3.1.7 only; none of those is among the four",
    ),
    Row(
        "B10 second HELLO",
        "says AGENT-HELLO again, then answers",
        "B10",
        Peer(play=MISBEHAVIOURS["second_hello"].play, hold=3),
        requests=3,
        without={"2.2 2.6 3.0 3.2": "3 x ok; next ok"},
        guarded="3 x ok; next ok",
        anomalies="hello_repeated",
    ),
)
