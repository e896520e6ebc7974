"""Rows D and the misleading outputs of docs/evidence/agents.md 6: action lists whose effect differs from their appearance."""

from spoe_guard.lab import frames
from spoe_guard.wire import actions, frame, typed_data, varint, walk
from tests.integration.hazards.peer import Peer
from tests.integration.hazards.row import Row, variables

TXN = walk.SCOPE_TXN
BAD_BOOL = 0x10  # what negasus up to 1.0.5 writes for false: null with a flag


def text(name, value=b"yes"):
    return actions.set_var(TXN, name, typed_data.STR, value)


def head(name):
    return bytes((walk.SET_VAR, 3, TXN)) + typed_data.encode_string(name)


VERDICT = text(b"verdict", b"first")
ECHO = text(b"echo", b"last")
UNSET = actions.unset_var(TXN, b"none")


def between(middle, capabilities=b"pipelining"):
    """An answer that sets verdict, has ``middle``, and sets echo."""
    return Peer(play=lambda acks: [frame.with_payload(acks[0], VERDICT + middle + ECHO)], capabilities=capabilities)


def fragments(acks):
    """The ACK in two: without FIN, then a continuation of type 0."""
    first, cut = acks[0], len(VERDICT)
    whole = VERDICT + ECHO
    return [
        frame.encode(frame.ACK, first.stream_id, first.frame_id, whole[:cut], flags=0)
        + frame.encode(0, first.stream_id, first.frame_id, whole[cut:])
    ]


def row(id_, does, evidence, middle, **how):
    return Row(id_, does, evidence, between(middle), shows=variables, after=False, **how)


ROWS = (
    row(
        "D1 an action of type 9",
        "sets verdict, then an action of type 9, then sets echo",
        "D1",
        bytes((9, 0)),
        without={"2.2 2.6 3.0 3.2": "verdict=first"},
        guarded="st=269",
        anomalies="ack_malformed notify_unanswered",
    ),
    row(
        "D1 a wrong number of arguments",
        "sets verdict, then a SET-VAR with 2 arguments, then sets echo",
        "D1",
        bytes((walk.SET_VAR, 2, TXN)) + typed_data.encode_string(b"allowed") + typed_data.encode_value(typed_data.STR, b"x"),
        without={"2.2 2.6 3.0 3.2": "verdict=first"},
        guarded="st=269",
        anomalies="ack_malformed notify_unanswered",
    ),
    row(
        "D1 scope 5",
        "sets verdict, then a variable of scope 5, then sets echo",
        "D1",
        actions.set_var(5, b"allowed", typed_data.STR, b"x"),
        without={"2.2 2.6 3.0 3.2": "verdict=first"},
        guarded="st=269",
        anomalies="ack_malformed notify_unanswered",
    ),
    row(
        "D2 a name of 70 bytes",
        "sets verdict, then a variable with a name of 70 bytes, then sets echo",
        "D2, haproxy 23a2811b6; agents 6",
        text(b"n" * 70),
        without={"2.2 2.6 3.0 3.2": "verdict=first echo=last"},
        guarded="verdict=first echo=last",
        anomalies="ack_long_name",
        differs="no crash was seen; the over-read is HAProxy's until 23a2811b6",
    ),
    row(
        "D2 a name of 5000 bytes",
        "the same with 5,000 bytes",
        "D2, haproxy 23a2811b6",
        text(b"n" * 5000),
        without={"2.2 2.6 3.0 3.2": "verdict=first echo=last"},
        guarded="verdict=first echo=last",
        anomalies="ack_long_name",
        differs="no crash was seen; the over-read is HAProxy's until 23a2811b6",
    ),
    row(
        "D3 an empty name",
        "sets verdict, then a variable without a name, then sets echo",
        "D3",
        text(b""),
        without={"2.2 2.6 3.0 3.2": "verdict=first echo=last"},
        guarded="verdict=first echo=last",
    ),
    row(
        "D3 a name with a dash",
        "sets verdict, then a variable called no-name, then sets echo",
        "D3",
        text(b"no-name"),
        without={"2.2 2.6 3.0 3.2": "verdict=first echo=last"},
        guarded="verdict=first echo=last",
    ),
    row(
        "D4 NULL",
        "sets verdict, then allowed to NULL, then sets echo",
        "D4",
        actions.set_var(TXN, b"allowed", typed_data.NULL, None),
        without={"2.2 2.6 3.0 3.2": "verdict=first echo=last"},
        guarded="verdict=first echo=last",
        anomalies="ack_null_value",
        differs="a variable that holds what another one left is a fault of 2.0 to 2.2.4, which are not among the four",
    ),
    row(
        "D4 a value of type 12 with a body",
        "sets verdict, then a value of type 12 and two bytes, then sets echo",
        "D4; agents 6",
        head(b"allowed") + bytes((12, 0xF0, 0x55)),
        without={"2.2 2.6 3.0 3.2": "verdict=first"},
        guarded="st=269",
        anomalies="ack_malformed notify_unanswered",
    ),
    row(
        "D5 boolean 0x21",
        "sets verdict, then allowed to 0x21, then sets echo",
        "D5",
        head(b"allowed") + b"\x21",
        without={"2.2 2.6 3.0 3.2": "verdict=first allowed=0 echo=last"},
        guarded="verdict=first allowed=0 echo=last",
        anomalies="ack_bad_bool",
    ),
    row(
        "D6 -1 as a 32-bit pattern",
        "sets allowed to INT32 -1 in its 32-bit pattern",
        "D6",
        head(b"allowed") + bytes((typed_data.INT32,)) + varint.encode(2**32 - 1),
        without={"2.2 2.6 3.0 3.2": "verdict=first allowed=4294967295 echo=last"},
        guarded="verdict=first allowed=4294967295 echo=last",
    ),
    Row(
        "D7 process-wide scope",
        "sets a variable of scope 0",
        "D7",
        not_staged="HAProxy's own rule, and nothing wrong on the wire: the guard passes it, as its catalogue says, and "
        "counts it; `ack_proc_scope: drop` leaves such an action out",
    ),
    row(
        "P1 a zero byte behind UNSET-VAR",
        "sets verdict, unsets another with a zero byte behind it, then sets echo",
        "agents 6: negasus, all versions",
        UNSET + b"\0",
        without={"2.2 2.6 3.0 3.2": "verdict=first"},
        guarded="verdict=first echo=last",
        anomalies="ack_stray_null",
    ),
    row(
        "P2 false as 0x10",
        "sets verdict, then allowed to false written as 0x10, then sets echo",
        "agents 6: negasus up to 1.0.5",
        head(b"allowed") + bytes((BAD_BOOL,)),
        without={"2.2 2.6 3.0 3.2": "verdict=first echo=last"},
        guarded="verdict=first allowed=0 echo=last",
        anomalies="ack_bad_bool",
    ),
    row(
        "P3 binary without a length",
        "sets verdict, then binary without its length, then sets echo",
        "agents 6: negasus up to 1.0.4",
        head(b"allowed") + bytes((typed_data.BIN,)) + b"Ax",
        without={"2.2 2.6 3.0 3.2": "verdict=first"},
        guarded="st=269",
        anomalies="bad_varint notify_unanswered",
    ),
    row(
        "P4 a typed name in UNSET-VAR",
        "sets verdict, unsets a name of 4 letters with a type in front, then sets echo",
        "agents 6: krrg",
        bytes((walk.UNSET_VAR, 2, TXN, typed_data.STR)) + typed_data.encode_string(b"none"),
        without={"2.2 2.6 3.0 3.2": "verdict=first"},
        guarded="st=269",
        anomalies="ack_malformed notify_unanswered",
    ),
    row(
        "P5 -1 as one byte",
        "sets verdict, then allowed to -1 written as the one byte FF, then sets echo",
        "agents 6: criteo",
        head(b"allowed") + bytes((typed_data.INT64, 0xFF)),
        without={"2.2 2.6 3.0 3.2": "verdict=first allowed=271"},
        guarded="st=269",
        anomalies="ack_malformed notify_unanswered",
    ),
    row(
        "P6 a name with NUL",
        "sets verdict, then a name of 8 bytes that is four letters, NUL and rest, then sets echo",
        "agents 6: spoa-modsecurity",
        text(b"echo\0abc"),
        without={"2.2 2.6 3.0 3.2": "verdict=first echo=last"},
        guarded="verdict=first echo=last",
    ),
    Row(
        "P7 ACK in fragments",
        "answers in two fragments: ACK without FIN, then type 0 with FIN",
        "agents 6: dotnet, PHP",
        Peer(play=fragments),
        shows=variables,
        without={"2.2 2.6 3.0": "st=256; next verdict=/after", "3.2": "st=1; next verdict=/after"},
        guarded="verdict=first echo=last; next verdict=/after",
        anomalies="fragmented_ack",
    ),
    Row(
        "P8 DISCONNECT with 400 bytes of text",
        "says DISCONNECT with status 50 and 400 bytes of text in place of an answer",
        "agents 6: PHP, dotnet; E5",
        Peer(play=lambda acks: [frames.disconnect(frame.AGENT_DISCONNECT, 50, b"x" * 400)]),
        without={"2.2 2.6 3.0": "st=1; next ok", "3.2": "st=306; next ok"},
        guarded="st=306; next ok",
        anomalies="disconnect_before_ack disconnect_malformed disconnect_repeated notify_unanswered",
    ),
)
