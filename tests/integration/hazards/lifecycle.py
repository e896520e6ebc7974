"""Rows F and H: what HAProxy does by itself, and what it does on a stop."""

from spoe_guard.lab.misbehaviour import End
from tests.integration.haproxy import Options
from tests.integration.hazards.peer import Peer
from tests.integration.hazards.row import PATIENCE, Row

IDLE = Options(processing=PATIENCE, idle="2s")

ROWS = (
    Row(
        "H1 a stop, and no goodbye",
        "answers, and when HAProxy stops says nothing and keeps the connection",
        "H1, haproxy #1876",
        Peer(goodbye=[End.LINGER]),
        scene="soft-stop",
        options=IDLE,
        without={"2.2 2.6 3.0": "HAProxy stays for `timeout idle`", "3.2": "HAProxy stops at once"},
        guarded="HAProxy stops at once",
    ),
    Row(
        "H2 a stop with a NOTIFY open",
        "is told to stop under load",
        "H2",
        not_staged="tests/integration/test_dying_and_stopping.py stops HAProxy 2.6 behind an agent that hangs",
    ),
    Row(
        "H3 a reload",
        "sees every connection opened anew",
        "H3",
        not_staged="needs the guard's listen queue alone, no agent fault",
    ),
    Row(
        "H4 a processing timeout that is lost",
        "never answers",
        "H4, haproxy #2478",
        not_staged="a race inside HAProxy before 3c066b1e3; what the guard does about it is row C6, never",
    ),
    Row(
        "H5 an error sticks",
        "fails one event of a transaction",
        "H5",
        not_staged="HAProxy's documented rule (option continue-on-error), and the configuration of these scenes has one event",
    ),
    Row(
        "H6 the client goes",
        "answers when nobody waits any more",
        "H6",
        not_staged="an ACK for an old stream: row C6 stages it",
    ),
    Row(
        "H7 idle close",
        "is left alone until HAProxy closes",
        "H7",
        not_staged="no fault of anybody: tests/core plays the bytes of both ways to close",
    ),
    Row(
        "H8 large buffers",
        "answers before HAProxy's filter has its buffer",
        "H8",
        not_staged="a crash of 3.4-dev, not released",
    ),
    Row(
        "F1 a NOTIFY above the negotiated size",
        "announces 256, is sent more",
        "F1",
        not_staged="3.1.0 to 3.1.7 only, which are not among the four; the second table has it, sent by hand",
    ),
    Row(
        "F2 a NOTIFY without a message",
        "is sent a NOTIFY with nothing in it",
        "F2, haproxy dc6e8dde2",
        not_staged="3.1.0 to 3.1.8 and 3.2.0 to 3.2.4 only; the second table has it, sent by hand",
    ),
    Row(
        "F3 fragments",
        "is sent a NOTIFY in fragments",
        "F3",
        not_staged="it takes requests that are too long: tests/integration/test_oversize.py; the second table has it, by hand",
    ),
    Row(
        "F4 no capability",
        "is offered an empty list of capabilities",
        "F4",
        Peer(capabilities=b""),
        options=Options(processing=PATIENCE, spoe=("no option pipelining", "no option async")),
        without={"2.2 2.6 3.0 3.2": "ok; next ok"},
        guarded="ok; next ok",
    ),
    Row(
        "F5 RST in place of DISCONNECT",
        "is reset by HAProxy 3.1 and later",
        "F5",
        not_staged="no fault of anybody: tests/core plays the reset",
    ),
    Row(
        "F6 HAPROXY-DISCONNECT with a NOTIFY open",
        "is told goodbye while it works",
        "F6",
        not_staged="tests/core plays it; HAProxy says it at moments of its own",
    ),
    Row("F7 a burst at the start", "is sent 20 NOTIFYs at once", "F7", not_staged="row A1 burst of ACKs has the same 20"),
)
