"""The streams recorded from real agents, replayed: what the agent answered comes out once, before the DISCONNECT.

streams/README.md says where they come from, what each key of a record means, and what a replay must show.
"""

import json
import random
from pathlib import Path

import pytest

from spoe_guard.core.conversation.glitches import PER_NOTIFY
from spoe_guard.core.terms.anomalies import Anomaly
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.events import AnomalySeen
from tests.properties import spop
from tests.properties.checker import broken_promises
from tests.properties.conversations import AGENT, HAPROXY
from tests.properties.driver import Play, terms_of

STREAMS = Path(__file__).parent / "streams"
AGENTS = ("criteo", "dropmore", "negasus")

SEEDS = range(3)


def records(agent):
    return [json.loads(line) for line in (STREAMS / f"{agent}.jsonl").read_text().splitlines()]


def as_recorded(record):
    return record["segments"]


def byte_by_byte(record):
    return [1] * (len(record["from_agent"]) // 2)


def at_random(seed):
    def sizes(record):
        chance = random.Random(f"{seed} {record['from_agent']}")
        left = len(record["from_agent"]) // 2
        while left:
            size = min(left, chance.choice((1, 2, 3, 7, 20, 40, 100)))
            left -= size
            yield size

    return sizes


SEGMENTATIONS = {"as recorded": as_recorded, "byte by byte": byte_by_byte} | {f"random {n}": at_random(n) for n in SEEDS}


def replay(record, segmentation):
    """Play both sides. HAProxy has no reason to wait: its NOTIFYs go out as soon as it has AGENT-HELLO."""
    sent, answered = bytes.fromhex(record["from_haproxy"]), bytes.fromhex(record["from_agent"])
    hello = spop.cut(sent)[0][0]
    hello_end = len(spop.cut(answered)[0][0])
    played = Play(SessionConfig())
    played.say(HAPROXY, hello)
    at = 0
    for size in segmentation(record):
        end = at + size
        if at < hello_end <= end:
            played.say(AGENT, answered[at:hello_end])
            played.say(HAPROXY, sent[len(hello) :])
            at = hello_end
        if at < end:
            played.say(AGENT, answered[at:end])
        at = end
    assert at == len(answered)
    played.leave(AGENT, reset=False)
    return played.finish()


def judge(record, played):
    """The ids of the ACKs HAProxy got, when nothing is wrong with any of them."""
    assert broken_promises(played.transcript, terms_of(played.config)) == []
    got = [spop.read_frame(raw) for raw in spop.cut(played.wires[HAPROXY].got)[0]]
    assert got[0].type == spop.AGENT_HELLO
    assert got[-1].type == spop.AGENT_DISCONNECT
    acks = got[1:-1]
    assert {ack.type for ack in acks} <= {spop.ACK}
    assert {ack.payload for ack in acks} <= {spop.ALLOWED}
    ids = [list(ack.ids) for ack in acks]
    assert len({tuple(one) for one in ids}) == len(ids), "an ACK came twice"
    assert all(one in record["notify_ids"] for one in ids)
    return ids


def glitches(played):
    """The anomalies of either side, without what is said of an agent that is gone."""
    seen = [event for event in played.events if isinstance(event, AnomalySeen)]
    return [event for event in seen if event.anomaly is not Anomaly.NOTIFY_UNANSWERED]


@pytest.mark.parametrize("agent", AGENTS)
def test_no_recorded_agent_comes_near_a_flood_of_anomalies(agent):
    for record in records(agent):
        made = len(glitches(replay(record, as_recorded)))
        assert made < PER_NOTIFY * max(1, len(record["notify_ids"])), record["id"]
        assert made <= SessionConfig().glitches // 100, record["id"]


@pytest.mark.parametrize("segmentation", SEGMENTATIONS.values(), ids=SEGMENTATIONS)
@pytest.mark.parametrize("agent", AGENTS)
def test_every_answer_that_can_be_recovered_comes_out_and_no_other(agent, segmentation):
    seen = 0
    for record in records(agent):
        assert sorted(judge(record, replay(record, segmentation))) == sorted(record["recoverable_acks"]), record["id"]
        seen += len(record["recoverable_acks"])
    assert seen > 0
