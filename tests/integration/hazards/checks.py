"""Rows G: possible answers of an agent to a health check (``option spop-check``)."""

from spoe_guard.lab import frames
from spoe_guard.lab.misbehaviour import End
from spoe_guard.wire import frame, kv, typed_data
from tests.integration.haproxy import Options
from tests.integration.hazards.handshake import NO_CAPABILITIES, REFUSAL, SIZE, VERSION, says
from tests.integration.hazards.peer import Peer, good_hello
from tests.integration.hazards.row import PATIENCE, Row

CHECKED = Options(processing=PATIENCE, check=True)

ROWS = (
    Row(
        "G1 bytes behind HELLO in a check",
        "writes AGENT-HELLO and AGENT-DISCONNECT together to a health check",
        "G1; agents 2: criteo",
        Peer(hello=lambda offer: [good_hello(offer) + frames.disconnect(frame.AGENT_DISCONNECT), End.CLOSE]),
        scene="check",
        options=CHECKED,
        without={"2.2 2.6 3.0": "UP", "3.2": "DOWN (invalid frame received)"},
        guarded="UP",
        anomalies="hello_trailing",
    ),
    Row(
        "G2 no capabilities in a check",
        "leaves capabilities out of its answer to a health check",
        "G2",
        says(VERSION, SIZE),
        scene="check",
        options=CHECKED,
        without={"2.2 2.6 3.0": "UP", "3.2": "DOWN (capabilities value not found)"},
        guarded="UP",
        anomalies="hello_malformed",
    ),
    Row(
        "G3 other flags in a check",
        "sets a reserved flag in its answer to a health check",
        "G3",
        Peer(hello=lambda offer: [frame.with_flags(good_hello(offer), 0x11)]),
        scene="check",
        options=CHECKED,
        without={"2.2 2.6 3.0": "UP", "3.2": "DOWN (invalid frame received)"},
        guarded="UP",
        anomalies="reserved_flags",
    ),
    Row(
        "G4 a check refused",
        "answers a health check with DISCONNECT, status 50 and a text",
        "G4",
        Peer(hello=lambda offer: [REFUSAL, End.CLOSE]),
        scene="check",
        options=CHECKED,
        without={"2.2 2.6 3.0": "HAProxy dies", "3.2": "DOWN (version value not found)"},
        guarded="DOWN (an unknown error occurred)",
        guarded_on={"3.2": "DOWN (version value not found)"},
        anomalies="hello_refused",
        differs="2.2, 2.6 and 3.0 end with SIGSEGV over a status from 14 to 98 in a check; for the others they show a text",
    ),
    Row(
        "G5 a size above the offer in a check",
        "announces 16,384 to a health check",
        "G5",
        says(VERSION, kv.Pair(b"max-frame-size", typed_data.UINT32, 16384), NO_CAPABILITIES),
        scene="check",
        options=CHECKED,
        without={"2.2 2.6 3.0 3.2": "DOWN (max-frame-size too big or too small)"},
        guarded="UP",
        anomalies="hello_size",
    ),
    Row(
        "G6 the end of a good check",
        "answers a health check well, and is reset for it",
        "G6",
        Peer(hello=lambda offer: [good_hello(offer)]),
        scene="check",
        options=CHECKED,
        without={"2.2 2.6 3.0 3.2": "UP"},
        guarded="UP",
    ),
    Row(
        "G7 a capability in a check",
        "announces pipelining to a health check",
        "G7, haproxy 11389018b",
        says(VERSION, SIZE, kv.Pair(b"capabilities", typed_data.STR, b"pipelining")),
        scene="check",
        options=CHECKED,
        without={"2.2 2.6 3.0 3.2": "UP"},
        guarded="UP",
        anomalies="hello_capability",
        differs="a crash before 2.0 only",
    ),
)
