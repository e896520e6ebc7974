"""What both sides share: reporting, writing, and the end, without a byte of SPOP to bring it about."""

import pytest

from spoe_guard.core.conversation.conversation import Conversation, LastWord
from spoe_guard.core.conversation.exchange import no_effect_ack
from spoe_guard.core.conversation.place import Place
from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.events import AnomalySeen, AuthoredReason, EndedBy, EndReason, FrameAuthored
from spoe_guard.core.terms.output import Close
from spoe_guard.core.terms.states import SessionState
from spoe_guard.core.terms.tally import Tally
from spoe_guard.wire import frame
from tests.core import frames
from tests.core.frames import NOP, ack, agent_disconnect


def running() -> Conversation:
    conv = Conversation(SessionConfig(), Tally(), Place())
    conv.state = SessionState.RUNNING
    conv.link.done = False
    conv.link.hello_given = True
    return conv


@pytest.mark.parametrize("word", LastWord)
def test_nothing_is_written_to_either_side_behind_the_last_word(word: LastWord) -> None:
    conv = running()
    conv.finish(5.0, EndedBy.GUARD, EndReason.DRAIN, word=word)
    conv.to_haproxy.take()
    conv.link.way.take()
    conv.events.clear()
    assert not conv.tell_haproxy(ack(), AuthoredReason.ANSWERED)
    conv.tell_agent(conv.link, frames.notify(), AuthoredReason.REPAIRED)
    conv.to_haproxy.forward(ack())
    conv.link.way.forward(frames.notify())
    assert (conv.to_haproxy.take(), conv.link.way.take(), conv.events) == (b"", b"", [])


LAST_WORDS = [
    (LastWord.SAY, [frame.AGENT_DISCONNECT], Close.KEEP),
    (LastWord.ANSWER, [frame.AGENT_DISCONNECT], Close.FLUSH),
    (LastWord.NONE, [], Close.KEEP),
    (LastWord.CLOSE, [], Close.FLUSH),
]


@pytest.mark.parametrize(("word", "told", "close"), LAST_WORDS)
def test_how_haproxy_learns_of_the_end(word: LastWord, told: list[int], close: Close) -> None:
    conv = running()
    conv.finish(5.0, EndedBy.GUARD, EndReason.DRAIN, word=word)
    assert [said.type for said in frames.cut(conv.to_haproxy.take())] == told
    assert [said.type for said in frames.cut(conv.link.way.take())] == [frame.HAPROXY_DISCONNECT]
    assert conv.out.close_haproxy is close
    assert (conv.state, conv.close_by) == (SessionState.CLOSING, 6.0)


def test_the_end_comes_once() -> None:
    conv = running()
    conv.finish(5.0, EndedBy.GUARD, EndReason.DRAIN)
    conv.to_haproxy.take()
    conv.finish(6.0, EndedBy.AGENT, EndReason.RESET, word=LastWord.CLOSE)
    assert conv.close_by == 6.0
    assert conv.out.close_haproxy is Close.KEEP


def test_what_an_anomaly_says_of_a_frame() -> None:
    conv = running()
    conv.link.ledger.add(b"\1\1", 0.0)
    raw = ack("300.7") + b"behind it"
    action = conv.judge(Side.AGENT, Anomaly.UNMATCHED_ACK, raw, 4711, parsed=next(frames.cut(ack("300.7"))), detail="why")
    assert action is Action.DROP
    assert conv.events == [
        AnomalySeen(
            anomaly=Anomaly.UNMATCHED_ACK,
            side=Side.AGENT,
            action=Action.DROP,
            state="running",
            type=103,
            stream_id=300,
            frame_id=7,
            length=len(ack("300.7")) - 4,
            offset=4711,
            open_notifies=1,
            detail="why",
            sample=raw,
            applied=True,
        )
    ]


BYTES = [
    # name                     bytes                       type   length  sample
    ("none",                   b"",                        None,  0,      b""),
    ("half a length",          b"\0\0",                    None,  2,      b"\0\0"),
    ("a length",               b"\0\0\1\0",                None,  256,    b"\0\0\1\0"),
    ("a length and a type",    b"\0\0\1\0\x67",            103,   256,    b"\0\0\1\0\x67"),
    ("all that is shown",      b"\0\0\1\0" + b"\x67" * 252, 103,  256,    b"\0\0\1\0" + b"\x67" * 252),
    ("more than is shown",     b"\0\0\1\0" + b"\x67" * 253, 103,  256,    b"\0\0\1\0" + b"\x67" * 252),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "type_", "length", "sample"), [c[1:] for c in BYTES], ids=[c[0] for c in BYTES])
def test_what_an_anomaly_says_of_bytes_that_are_no_frame(raw: bytes, type_: int | None, length: int, sample: bytes) -> None:
    conv = running()
    conv.judge(Side.AGENT, Anomaly.GARBLED_STREAM, raw, 0)
    seen = conv.events[0]
    assert isinstance(seen, AnomalySeen)
    assert (seen.type, seen.length, seen.sample, seen.stream_id, seen.frame_id) == (type_, length, sample, None, None)


def test_what_is_authored_is_reported() -> None:
    conv = running()
    assert conv.tell_haproxy(ack(), AuthoredReason.ANSWERED)
    conv.tell_agent(conv.link, frames.haproxy_disconnect(), AuthoredReason.LAST_WORD)
    assert [(e.direction.value, e.type, e.reason.value) for e in conv.events if isinstance(e, FrameAuthored)] == [
        ("to_haproxy", 103, "answered"),
        ("to_agent", 2, "last_word"),
    ]


def test_an_ack_without_effect_has_the_very_ids_of_its_notify() -> None:
    for at in ("0.0", "1.1", f"{2**64 - 1}.{2**64 - 1}"):
        said = next(frames.cut(frames.notify(at)))
        assert no_effect_ack(said.ids) == ack(at, NOP)


def test_a_goodbye_is_the_last_frame_also_of_what_one_step_writes() -> None:
    conv = running()
    conv.to_haproxy.forward(ack())
    conv.finish(5.0, EndedBy.GUARD, EndReason.DRAIN)
    conv.to_haproxy.forward(ack("3.1"))
    assert conv.to_haproxy.take() == ack() + agent_disconnect(0)
