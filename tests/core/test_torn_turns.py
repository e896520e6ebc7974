"""What an agent writes torn is looked at in turns: none takes long, and what they find together is what one would find."""

from collections.abc import Callable

import pytest

from spoe_guard.core.incoming.agent.effort import FRAME, WORK_A_TURN
from spoe_guard.core.incoming.agent.torn import TAKEN_AT_ONCE
from spoe_guard.core.incoming.walker import BYTES_A_TURN, FRAMES_A_TURN
from spoe_guard.core.observed import ObservedSession
from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.events import AnomalySeen
from spoe_guard.core.terms.output import Output
from spoe_guard.core.terms.tally import Tally
from spoe_guard.wire import frame
from tests.core.frames import FIN, ack, agent_disconnect, agent_hello, haproxy_disconnect, haproxy_hello, notify, raw
from tests.core.observed import RUNNING, observe
from tests.core.script import Talk, running
from tests.cost.shapes import (
    SHORTEST,
    behind_a_break,
    beside_many,
    in_an_ack,
    nearly,
    never_in_order,
    within_a_length,
    within_disconnect,
)

pytestmark = pytest.mark.usefixtures("both_speeds")

SHAPES = [behind_a_break, beside_many, in_an_ack, nearly, never_in_order, within_a_length, within_disconnect]


def opened(count: int, policy: dict[Anomaly, Action] | None = None, **config: object) -> Talk:
    """A talk in which so many of 1.1, 3.1 and so on are open."""
    talk = running(policy, glitches=10**6, **config)
    talk.play("haproxy <all> -> ok", all=b"".join(notify(f"{2 * at + 1}.1") for at in range(count)))
    return talk


def turns(talk: Talk, data: bytes) -> list[tuple[int, Output]]:
    """Feed ``data`` as one read; return of each turn the bytes that were left and what came of it."""
    took, agent = [], talk.session._agents[0]
    stands_at = agent.inlet.offset + agent.inlet.held + len(data)
    judged = sum(talk.tally.frames_to_haproxy)
    while data:
        out = talk.session.receive(Side.AGENT, data, talk.now)
        took.append((out.left, out))
        assert talk.session.held == talk.tally.held_bytes >= 0
        assert agent.inlet.offset + agent.inlet.held == stands_at - out.left
        assert sum(talk.tally.frames_to_haproxy) <= judged + 2 * FRAMES_A_TURN
        judged = sum(talk.tally.frames_to_haproxy)
        data = data[len(data) - out.left :]
        assert len(took) < 1000
    return took


def anomalies(took: list[tuple[int, Output]]) -> list[Anomaly]:
    return [event.anomaly for _, out in took for event in out.events if hasattr(event, "anomaly")]


def acks(took: list[tuple[int, Output]]) -> list[bytes]:
    written = b"".join(out.to_haproxy for _, out in took)
    return [written[at : at + 4 + int.from_bytes(written[at : at + 4])] for at in _starts(written)]


def _starts(written: bytes) -> list[int]:
    at, found = 0, []
    while at < len(written):
        found.append(at)
        at += 4 + int.from_bytes(written[at : at + 4])
    return found


@pytest.mark.parametrize("make", SHAPES)
def test_no_turn_of_a_torn_stream_takes_or_judges_more_than_others(make: Callable[[int], bytes]) -> None:
    talk = opened(1500)
    data = make(15_000)
    took = turns(talk, data + b"\0" * 30)
    assert len(took) > 4
    whole = len(data) if make in (within_a_length, within_disconnect) else 0  # one frame by its length, which is taken at once
    before = len(data) + 30
    for left, out in took:
        assert before - left <= max(whole, BYTES_A_TURN + TAKEN_AT_ONCE)
        assert len(out.events) <= 2 * FRAMES_A_TURN
        before = left
    assert talk.session._agents[0].torn.held < 4 + frame.DEFAULT_MAX_FRAME_SIZE


def test_all_that_a_read_has_is_found_before_another_one_comes() -> None:
    """It ends with a head, and no byte waits for others."""
    talk = opened(500)
    inner = b"".join(ack(f"{2 * at + 1}.1", payload=SHORTEST) for at in range(500)) + A[:11]
    assert len(turns(talk, len(inner).to_bytes(4, "big") + inner)) > 4
    assert talk.tally.frames_to_haproxy[frame.ACK] == 500


def nearly_over(talk: Talk) -> None:
    """What is torn may do no more in this turn than begin."""
    talk.session._agents[0].torn._effort.take_of_turn(WORK_A_TURN)


A, B, LONG = ack("1.1"), ack("3.1", payload=b"\1\3\2\6reason\x08\4late"), ack("5.1", payload=9 * b"\2\2\2\1a")
CROSSED = A[:11] + B + LONG[:11] + A[11:] + LONG[11:]
GARBAGE = b"\x7f\xff\xff\xff" + bytes(40)


def three(policy: dict[Anomaly, Action] | None = None, **config: object) -> Talk:
    return opened(3, policy, **config)


def test_pieces_that_take_another_turn_are_held_but_for_what_comes_again() -> None:
    talk = three()
    nearly_over(talk)
    left = talk.session.receive(Side.AGENT, CROSSED, talk.now).left
    assert left == len(CROSSED) - len(A) + 1
    assert talk.session.held == len(A) - 1  # what seems to be one frame, but for its last byte
    took = turns(talk, CROSSED[-left:])
    assert anomalies(took) == [Anomaly.INTERLEAVED_FRAMES]
    assert acks(took) == [B, A, LONG]
    assert talk.session.held == 0


def test_what_is_behind_pieces_comes_again_as_frames() -> None:
    talk = three()
    cut = len(A[:11] + B + LONG[:11])
    assert acks(turns(talk, CROSSED[:cut])) == [B]
    nearly_over(talk)
    took = turns(talk, CROSSED[cut:] + frame.with_flags(ack("7.1"), FIN | 2))
    assert len(took) > 1
    assert acks(took) == [A, LONG]
    assert anomalies(took) == [Anomaly.UNMATCHED_ACK]


FOUND_IN_VAIN = raw(B + LONG + b"\7" * 50)  # its length may be that of a frame of which B and LONG are inside, but for its end


def test_what_turns_out_to_be_one_frame_is_judged_as_one() -> None:
    for over in (False, True):
        talk = three()
        if over:
            nearly_over(talk)
        took = turns(talk, FOUND_IN_VAIN + ack("1.1"))
        assert len(took) == 1 + over
        [odd] = talk_events(took)
        assert (odd.anomaly, odd.offset) == (Anomaly.UNKNOWN_FRAME_TYPE, len(talk.said_by_agent))
        assert acks(took) == [A]
        assert talk.session.held == 0


def talk_events(took: list[tuple[int, Output]]) -> list:
    return [event for _, out in took for event in out.events]


def test_a_disconnect_that_is_tried_in_turns_is_searched_in_turns() -> None:
    """Its payload is no list: it may be pieces, which it is not, or have whole ACKs in it."""
    empty = [ack(at, payload=b"") for at in ("3.1", "5.1")]
    talk = three({Anomaly.EMPTY_ACK: Action.PASS})
    sent = frame.encode(frame.AGENT_DISCONNECT, payload=b"".join(empty) + b"g\7")  # no head of an ACK is like that
    nearly_over(talk)
    first = talk.session.receive(Side.AGENT, sent + A, talk.now)
    assert (first.left, first.events) == (len(A) + 1, ())
    nearly_over(talk)
    took = turns(talk, sent[-1:] + A)
    assert took[0][0] == len(A) + 1
    assert acks(took)[:3] == [*empty, A]
    assert anomalies(took)[0] is Anomaly.DISCONNECT_MALFORMED
    assert anomalies(took).count(Anomaly.INTERLEAVED_FRAMES) == 3


def test_a_disconnect_that_is_no_pieces_is_searched_in_turns() -> None:
    talk = three()
    sent = frame.encode(frame.AGENT_DISCONNECT, payload=b"\xff" + B + LONG)
    nearly_over(talk)
    took = turns(talk, sent + A)
    assert took[0][0] == len(A) + 1
    assert acks(took)[:3] == [B, LONG, A]


def test_closing_over_pieces_in_a_later_turn_delivers_none_of_them() -> None:
    talk = three({Anomaly.INTERLEAVED_FRAMES: Action.CLOSE})
    nearly_over(talk)
    took = turns(talk, CROSSED + A)
    assert len(took) == 2
    assert [each[4] for each in acks(took)] == [frame.AGENT_DISCONNECT]
    assert talk.session.held == 0


@pytest.mark.parametrize("sent", [CROSSED, GARBAGE + CROSSED, FOUND_IN_VAIN, frame.encode(102, payload=b"\xff" + B + LONG)])
@pytest.mark.parametrize("times", [1, 2, 3, 4])
def test_what_waits_for_its_turn_is_dropped_when_haproxy_leaves(sent: bytes, times: int) -> None:
    talk = three()
    rest = sent
    for _ in range(times):
        nearly_over(talk)
        left = talk.session.receive(Side.AGENT, rest, talk.now).left
        rest = rest[len(rest) - left :]
        if not rest:
            return
    talk.session.receive(Side.HAPROXY, haproxy_disconnect(), talk.now)
    assert talk.session.held == 0
    took = turns(talk, rest)
    assert not acks(took)
    assert talk.session.held == 0
    books = talk.session.snapshot().to_haproxy
    assert talk.tally.bytes_to_haproxy == books.forwarded + books.dropped


def test_pieces_that_stand_still_in_a_pause_end_the_link() -> None:
    talk = three()
    nearly_over(talk)
    turns(talk, CROSSED[: len(A)])
    nearly_over(talk)
    left = talk.session.receive(Side.AGENT, CROSSED[len(A) :], talk.now).left
    assert left > 0
    out = talk.session.tick(talk.now + talk.config.frame_s)
    assert Anomaly.TRUNCATED_FRAME in [event.anomaly for event in out.events if hasattr(event, "anomaly")]
    assert talk.session.held == 0
    assert not acks(turns(talk, CROSSED[-left:]))


def test_a_leaving_link_ends_with_its_last_answer_in_any_turn() -> None:
    talk = opened(1)
    sent = agent_disconnect()
    pieces = sent[:11] + ack("9.1")[:11] + ack("7.1") + sent[11:] + A + ack("9.1")[11:]
    for _ in range(2):
        nearly_over(talk)
    took = turns(talk, pieces + ack("7.1"))
    assert [each[4] for each in acks(took)] == [frame.ACK, frame.AGENT_DISCONNECT]
    assert talk.session.held == 0


def test_frames_that_are_found_together_behind_the_last_answer_are_not_heard() -> None:
    """Each of them is whole within the length of another one; the second is the last answer of a link that leaves."""
    talk = opened(1)
    inner = agent_disconnect() + A + ack("7.1") + ack("9.1")
    took = turns(talk, len(inner).to_bytes(4, "big") + inner)
    assert anomalies(took) == [
        Anomaly.INTERLEAVED_FRAMES,
        Anomaly.DISCONNECT_BEFORE_ACK,
        Anomaly.ACK_AFTER_DISCONNECT,
    ]
    assert [each[4] for each in acks(took)] == [frame.ACK, frame.AGENT_DISCONNECT]
    books = talk.session.snapshot().to_haproxy
    assert talk.tally.bytes_to_haproxy == books.forwarded + books.dropped


def test_a_disconnect_ends_the_pieces_in_any_turn() -> None:
    """It is found with the last of them: the stream is in order again, and what follows is judged as frames."""
    found, bye = ack("1.1", payload=b""), agent_disconnect()
    crossed = found[:4] + bye[:4] + found[4:] + bye[4:]  # whose length is whose turns out at the last byte
    for over in (False, True):
        talk = opened(1)
        turns(talk, A + crossed[:-1])
        nearly_over(talk)
        effort = talk.session._agents[0].torn._effort
        assert effort.turn_over()
        effort.take_of_turn(WORK_A_TURN - FRAME if over else 0)  # one of the two is judged in it, or both are
        turns(talk, crossed[-1:])
        assert anomalies(turns(talk, A)) == [Anomaly.DUPLICATE_ACK]


def test_observed_the_bytes_of_a_pause_pass_when_they_come_again() -> None:
    talk = observe(RUNNING + "haproxy NOTIFY 1.1 + NOTIFY 3.1 + NOTIFY 5.1 -> ok")
    talk.session._shadow._agents[0].torn._effort.take_of_turn(WORK_A_TURN)
    out = talk.session.receive(Side.AGENT, CROSSED, talk.now)
    assert 0 < out.left < len(CROSSED)
    assert out.to_haproxy == CROSSED[: -out.left]
    out = talk.session.receive(Side.AGENT, CROSSED[-out.left :], talk.now)
    assert (out.left, out.to_haproxy) == (0, CROSSED[len(A) - 1 :])
    assert [event.anomaly for event in out.events] == [Anomaly.INTERLEAVED_FRAMES]


def test_what_is_torn_before_haproxys_hello_is_put_off_to_no_turn() -> None:
    """Only in observe mode can an agent say anything then. There is nothing it could answer."""
    session = ObservedSession(SessionConfig(observe=True), Tally(), 0.0)
    session.start(0.0)
    session.agent_connected(0.0)
    early = agent_hello() + never_in_order(9000)
    assert session.receive(Side.AGENT, early, 0.0).to_haproxy == early
    events = session.receive(Side.HAPROXY, haproxy_hello(), 0.0).events
    told = [event.anomaly for event in events if isinstance(event, AnomalySeen)]
    assert told[:2] == [Anomaly.INTERLEAVED_FRAMES, Anomaly.UNMATCHED_ACK]
    assert told[-1] is Anomaly.GARBLED_STREAM
    assert len(told) <= 2 + 2 * FRAMES_A_TURN
    assert not session._shadow.held
