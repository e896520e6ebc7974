"""Each misbehaviour of the table does what its row describes."""

import pytest

from spoe_guard.lab import frames
from spoe_guard.lab.misbehaviour import MISBEHAVIOURS, End
from spoe_guard.wire import frame

ACKS = [frame.parse(frame.encode(frame.ACK, i, 1, frames.text_verdict(b"verdict", b"/%d" % i))) for i in (301, 302, 303)]


def written(name, acks=ACKS):
    return b"".join(step for step in MISBEHAVIOURS[name].play(acks) if isinstance(step, bytes))


@pytest.mark.parametrize("name", sorted(MISBEHAVIOURS))
def test_exactly_the_last_unanswered_acks_are_missing(name):
    found = [frame.with_flags(ack.raw, 0)[9:] in written(name) for ack in ACKS]  # ids and payload: enough to know one by
    answered = len(ACKS) - MISBEHAVIOURS[name].unanswered
    assert found == [i < answered for i in range(len(ACKS))]


@pytest.mark.parametrize("name", sorted(MISBEHAVIOURS))
def test_something_is_wrong_with_it(name):
    """Nothing in the table is what an agent should have done: all answers in order, connection open."""
    steps = MISBEHAVIOURS[name].play(ACKS)
    assert End.LINGER in steps or written(name) != b"".join(ack.raw for ack in ACKS)


@pytest.mark.parametrize("name", sorted(MISBEHAVIOURS))
def test_an_end_is_the_last_step_and_one_ack_is_enough(name):
    steps = MISBEHAVIOURS[name].play(ACKS[:1])
    assert all(isinstance(step, bytes) for step in steps[:-1])


def test_names_are_the_keys_and_sentences_are_for_people():
    assert [row.name for row in MISBEHAVIOURS.values()] == list(MISBEHAVIOURS)
    assert all(row.sentence and not row.sentence.endswith(".") for row in MISBEHAVIOURS.values())


def test_the_bytes_of_the_two_that_kill_haproxy_2_6():
    assert written("zero_length_frame", ACKS[:1]) == b"\0\0\0\0"
    assert written("one_byte_frame", ACKS[:1]) == b"\0\0\0\1g"


def test_acks_inside_disconnect_split_it_where_criteo_does():
    ack = ACKS[0].raw
    sent = written("acks_inside_disconnect", ACKS[:1])
    assert sent[:11] + sent[11 + len(ack) :] == frames.CRITEO_DISCONNECT
    assert sent[11 : 11 + len(ack)] == ack


def test_the_stray_ack_names_a_stream_that_is_not_due():
    length = int.from_bytes(written("stray_ack")[:4], "big")
    stray = frame.parse(written("stray_ack")[: length + 4])
    assert stray.type == frame.ACK
    assert stray.stream_id not in {ack.stream_id for ack in ACKS}
