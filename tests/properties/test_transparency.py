"""Correct traffic passes unchanged, observe mode changes nothing, every byte is accounted for. driver.py counts the bytes."""

from hypothesis import given
from hypothesis import strategies as st

from spoe_guard.core.terms.anomalies import Anomaly
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.events import AnomalySeen, FrameAuthored
from tests.properties import spop
from tests.properties.configs import any_policy, configs
from tests.properties.conversations import AGENT, HAPROXY, Leave, Say, against_both, as_told, healthy, segmentations
from tests.properties.driver import Dial, Play
from tests.properties.effort import marks, thoroughly
from tests.properties.frames import mangled
from tests.properties.stream_ids import broken_stream_ids
from tests.properties.test_promises import dials
from tests.properties.transcript import Did

pytestmark = marks


@thoroughly
@given(against_both, configs(any_policy, exact_keys=True), segmentations, dials)
def test_every_byte_is_accounted_for_after_every_step_under_any_policy(moves, config, sizes, dial):
    """Never raises, either; Play.books and Play.finish hold the assertions."""
    played = Play(config, dial=dial, sizes=sizes).play(moves).finish()
    _assert_nothing_was_forged(played)
    assert not broken_stream_ids(played.transcript)


def _assert_nothing_was_forged(played):
    """What was booked as forwarded came from the other side: frames that it never wrote are no more than was authored."""
    stands = played.session.snapshot()
    if any(isinstance(event, AnomalySeen) and event.anomaly is Anomaly.INTERLEAVED_FRAMES for event in played.events):
        return  # a frame written in pieces is sent on in one: all its bytes came, in another order
    haproxy, agents = [played.wires[HAPROXY]], list(played.links.values())
    for side, others, books in ((haproxy, agents, stands.to_haproxy), (agents, haproxy, stands.to_agent)):
        written = b"".join(wire.sent for wire in others)
        cut = [spop.cut(wire.got) for wire in side]
        foreign = sum(len(raw) for frames, _ in cut for raw in frames if raw not in written)
        assert foreign <= books.authored
        assert all(rest == b"" or rest in written for _, rest in cut)
    authored = sum(isinstance(event, FrameAuthored) for event in played.events)
    assert (authored > 0) == (stands.to_haproxy.authored + stands.to_agent.authored > 0)


@thoroughly
@given(against_both, configs(any_policy, observe=True, exact_keys=True), segmentations, dials)
def test_observing_changes_no_byte_in_either_direction(moves, config, sizes, dial):
    played = Play(config, dial=dial, sizes=sizes).play(moves).finish()
    assert all(not event.applied for event in played.events if isinstance(event, AnomalySeen))
    assert not any(isinstance(event, FrameAuthored) for event in played.events)


@thoroughly
@given(healthy(), segmentations, st.sampled_from([Dial.AT_ONCE, Dial.LATER]), st.booleans())
def test_a_healthy_conversation_passes_byte_for_byte(moves, sizes, dial, observe):
    """But for the HELLOs, in which only what the guard itself takes and HAProxy can stand is changed."""
    played = Play(SessionConfig(observe=observe), dial=dial, sizes=sizes).play(moves[:1])
    played.wait(0.0)  # the dial
    played.play(moves[1:])
    haproxy, agent = played.wires[HAPROXY], played.wires[AGENT]
    sent = b"".join(move.data for move in moves if isinstance(move, Say) and move.side == AGENT)
    assert agent.sent == sent
    assert haproxy.got == (sent if observe else as_told(sent))
    agent_disconnected = spop.cut(sent)[0][-1][4] == spop.AGENT_DISCONNECT
    expected = haproxy.sent if observe else spop.haproxy_hello(16368) + haproxy.sent[len(spop.haproxy_hello()) :]
    assert agent.got[: len(expected)] == expected
    assert (agent.got == expected) is (not agent_disconnected or observe)
    assert not [event for event in played.events if isinstance(event, AnomalySeen)]
    assert not agent_disconnected or observe or spop.cut(agent.got)[0][-1][4] == spop.HAPROXY_DISCONNECT
    played.play([Leave(HAPROXY, reset=True), Leave(AGENT)]).finish()
    assert not [event for event in played.events if isinstance(event, AnomalySeen)]


noise = st.one_of(
    st.binary(min_size=1, max_size=200),
    st.sampled_from([b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\0" * 64, spop.agent_hello()]),
    mangled(st.just(spop.haproxy_hello()), st.just(spop.frame(spop.NOTIFY, (1, 1), spop.ONE_MESSAGE))),
)


@thoroughly
@given(noise, segmentations)
def test_noise_never_reaches_the_agent(sent, sizes):
    played = Play(SessionConfig(), sizes=sizes).play([Say(HAPROXY, sent)]).finish()
    frames, _ = spop.cut(sent)
    if frames[:1] == [spop.haproxy_hello()]:
        return  # noise behind a valid HELLO is another matter
    reached = [step.data for step in played.transcript if step.did is Did.AGENT_GOT]
    if reached:  # a flipped bit may leave a HELLO that is valid, or one that is valid in front of the rest
        assert spop.cut(reached[0])[0][0] in sent or spop.read_frame(reached[0]).type == spop.HAPROXY_HELLO
        assert frames[0][4] == spop.HAPROXY_HELLO
