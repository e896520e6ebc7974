"""The parts of a session, without SPOP: reports, writes, and the end."""

import pytest

from spoe_guard.core.conversation.conversation import Conversation
from spoe_guard.core.conversation.ending import Tell
from spoe_guard.core.conversation.notifies import no_effect_ack
from spoe_guard.core.conversation.route_state import RouteState
from spoe_guard.core.conversation.to_haproxy import FIN_S
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
    conv = Conversation(SessionConfig(), Tally(), RouteState(), 0.0)
    link = conv.notifies.link
    link.dial(1.0)
    link.given_hello(1000, 1.0)
    for state in (SessionState.DIALLING, SessionState.AGENT_HELLO, SessionState.RUNNING):
        conv.progress.enter(state)
    return conv


def written(conv: Conversation) -> tuple[bytes, bytes]:
    return conv.to_haproxy.write(5.0), conv.notifies.link.outlet.take()


@pytest.mark.parametrize("tell", Tell)
def test_nothing_is_written_to_either_side_behind_the_end(tell: Tell) -> None:
    conv = running()
    conv.ending.finish(5.0, EndedBy.GUARD, EndReason.DRAIN, tell=tell)
    written(conv)
    conv.report.take()
    assert not conv.to_haproxy.author(ack(), AuthoredReason.ANSWERED)
    conv.notifies.link.author(frames.notify(), AuthoredReason.REPAIRED)
    conv.to_haproxy.outlet.forward(ack())
    conv.notifies.link.outlet.forward(frames.notify())
    assert (written(conv), conv.report.events) == ((b"", b""), [])


ENDS = [
    (Tell.DISCONNECT, [frame.AGENT_DISCONNECT], Close.KEEP),
    (Tell.ANSWER, [frame.AGENT_DISCONNECT], Close.FLUSH),
    (Tell.NOTHING, [], Close.KEEP),
    (Tell.CLOSE, [], Close.FLUSH),
]


@pytest.mark.parametrize(("tell", "told", "close"), ENDS)
def test_how_haproxy_learns_of_the_end(tell: Tell, told: list[int], close: Close) -> None:
    conv = running()
    conv.ending.finish(5.0, EndedBy.GUARD, EndReason.DRAIN, tell=tell)
    to_haproxy, to_agent = written(conv)
    assert [one.type for one in frames.cut(to_haproxy)] == told
    assert [one.type for one in frames.cut(to_agent)] == [frame.HAPROXY_DISCONNECT]
    assert (conv.to_haproxy.take_close(), conv.to_haproxy.take_close()) == (close, Close.KEEP)
    assert (conv.progress.state, conv.ending.close_by) == (SessionState.CLOSING, 6.0)


def test_the_end_comes_once() -> None:
    conv = running()
    conv.ending.finish(5.0, EndedBy.GUARD, EndReason.DRAIN)
    written(conv)
    conv.ending.finish(6.0, EndedBy.AGENT, EndReason.RESET, tell=Tell.CLOSE)
    assert conv.ending.close_by == 6.0
    assert conv.to_haproxy.take_close() is Close.KEEP
    assert conv.to_haproxy.fin_by == 5.0 + FIN_S


def test_what_an_anomaly_says_of_a_frame() -> None:
    conv = running()
    conv.notifies.link.ledger.add(b"\1\1", 0.0)
    raw = ack("300.7") + b"behind it"
    parsed = next(frames.cut(ack("300.7")))
    action = conv.report.judge(Side.AGENT, Anomaly.UNMATCHED_ACK, raw, 4711, parsed=parsed, detail="why")
    assert action is Action.DROP
    assert conv.report.take() == [
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


def test_judging_ends_nothing() -> None:
    conv = running()
    assert conv.report.judge(Side.AGENT, Anomaly.RUNT_FRAME, b"", 0, action=Action.CLOSE) is Action.CLOSE
    assert conv.progress.state is SessionState.RUNNING


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
    conv.report.judge(Side.AGENT, Anomaly.GARBLED_STREAM, raw, 0)
    [seen] = conv.report.take()
    assert isinstance(seen, AnomalySeen)
    assert (seen.type, seen.length, seen.sample, seen.stream_id, seen.frame_id) == (type_, length, sample, None, None)


def test_what_is_authored_is_reported() -> None:
    conv = running()
    assert conv.to_haproxy.author(ack(), AuthoredReason.ANSWERED)
    conv.notifies.link.author(frames.haproxy_disconnect(), AuthoredReason.DISCONNECT)
    assert [(e.direction.value, e.type, e.reason.value) for e in conv.report.events if isinstance(e, FrameAuthored)] == [
        ("to_haproxy", 103, "answered"),
        ("to_agent", 2, "disconnect"),
    ]


def test_an_ack_without_effect_has_the_very_ids_of_its_notify() -> None:
    for at in ("0.0", "1.1", f"{2**64 - 1}.{2**64 - 1}"):
        notify = next(frames.cut(frames.notify(at)))
        assert no_effect_ack(notify.ids) == ack(at, NOP)


def test_a_disconnect_is_the_last_frame_also_within_one_step() -> None:
    conv = running()
    conv.to_haproxy.outlet.forward(ack())
    conv.ending.finish(5.0, EndedBy.GUARD, EndReason.DRAIN)
    conv.to_haproxy.outlet.forward(ack("3.1"))
    assert conv.to_haproxy.write(5.0) == ack() + agent_disconnect(0)


@pytest.mark.parametrize(
    ("detail", "quoted", "quotes", "explained"),
    [
        ("status 8", "no such version", True, "status 8: no such version"),
        ("status 8", "no such version", False, "status 8"),
        ("status 8", "", True, "status 8"),
        ("", "", True, ""),
    ],
)
def test_a_peers_words_are_told_only_where_they_may_be(detail: str, quoted: str, quotes: bool, explained: str) -> None:
    seen = AnomalySeen(Anomaly.HELLO_REFUSED, Side.AGENT, Action.ANSWER, "hello", detail=detail, quoted=quoted)
    assert seen.explanation(quotes=quotes) == explained
