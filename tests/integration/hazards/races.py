"""Rows with a random outcome: the agent's behaviour depends on chance, so each row runs 200 times."""

import itertools
import random

from spoe_guard.lab.misbehaviour import End
from spoe_guard.wire import frame, kv, typed_data
from tests.integration.hazards.peer import Peer
from tests.integration.hazards.row import RACES, Row

# As criteo writes it, the status as INT64: docs/evidence/agents.md 4.1.
GOODBYE = frame.encode(
    frame.AGENT_DISCONNECT,
    payload=kv.encode([kv.Pair(b"status-code", typed_data.INT64, 0), kv.Pair(b"message", typed_data.STR, b"normal")]),
)
GOODBYE_HEAD = 11
# Which of the two frames each of four writes belongs to: head and payload of each, in order.
ORDERS = sorted(set(itertools.permutations(("ack", "ack", "bye", "bye"))))
CHANCE = random.Random(4)


def crossed(acks):
    """ACK and goodbye as two threads write them into one buffer, in one of the six ways there are."""
    ack = acks[0]
    parts = {
        "ack": iter((ack.raw[: ack.payload_at], ack.payload)),
        "bye": iter((GOODBYE[:GOODBYE_HEAD], GOODBYE[GOODBYE_HEAD:])),
    }
    return [b"".join(next(parts[whose]) for whose in CHANCE.choice(ORDERS)), End.CLOSE]


def cut_anywhere(acks):
    return [acks[0].raw[: CHANCE.randrange(1, len(acks[0].raw))], CHANCE.choice((End.CLOSE, End.RESET))]


ROWS = (
    Row(
        "A7 killed in the middle of an ACK",
        f"ends, by close or reset, somewhere inside its ACK; {RACES} requests, one after the other",
        "A7, E8, E3",
        Peer(play=cut_anywhere, every=True),
        requests=RACES,
        after=False,
        counted="stalls",
        without={"2.2 2.6 3.0": "none stalls", "3.2": "some stall / none stalls"},
        guarded="none stalls",
        anomalies="disconnect_missing notify_unanswered truncated_frame",
        differs="the stall (E3) was known of 3.4.0 only; 3.2.26 has it too: in one run 3 of 200, in another none",
    ),
    Row(
        "E6 ACK and DISCONNECT at the same time",
        f"writes head and payload of both into one buffer, in one of the six orders; {RACES} requests, one after the other",
        "E6, E7; agents 4.1: criteo",
        Peer(play=crossed, every=True),
        requests=RACES,
        after=False,
        counted="answers",
        without={"2.2 2.6 3.0 3.2": "answers lost that were given"},
        guarded="no answer lost that was given",
        anomalies="ack_after_disconnect disconnect_before_ack interleaved_frames",
    ),
)
