import pytest

from spoe_guard.core.terms.anomalies import Anomaly, Side
from spoe_guard.core.terms.states import BEFORE_HELLO, TRANSITIONS, State, step
from spoe_guard.wire.frame import FrameType

S = State
W = Anomaly  # what was wrong
T = FrameType
H = Side.HAPROXY
A = Side.AGENT

CASES = [
    # name                                   state            sender type                after            anomaly
    ("hello opens",                          S.HAPROXY_HELLO, H, T.HAPROXY_HELLO,      S.DIALLING,      None),
    ("haproxy gives up while dialling",      S.DIALLING,      H, T.HAPROXY_DISCONNECT, S.CLOSING,       None),
    ("agent answers",                        S.AGENT_HELLO,   A, T.AGENT_HELLO,        S.RUNNING,       None),
    ("agent refuses",                        S.AGENT_HELLO,   A, T.AGENT_DISCONNECT,   S.CLOSING,       None),
    ("haproxy gives up waiting",             S.AGENT_HELLO,   H, T.HAPROXY_DISCONNECT, S.CLOSING,       None),
    ("haproxy gives up on a refusal",        S.REFUSING,      H, T.HAPROXY_DISCONNECT, S.CLOSING,       None),
    ("a question",                           S.RUNNING,       H, T.NOTIFY,             S.RUNNING,       None),
    ("the rest of a question",               S.RUNNING,       H, T.UNSET,              S.RUNNING,       None),
    ("an answer",                            S.RUNNING,       A, T.ACK,                S.RUNNING,       None),
    ("agent's goodbye is held",              S.RUNNING,       A, T.AGENT_DISCONNECT,   S.LEAVING,       None),
    ("haproxy's goodbye ends it",            S.RUNNING,       H, T.HAPROXY_DISCONNECT, S.CLOSING,       None),
    ("answer behind the agent's goodbye",    S.LEAVING,       A, T.ACK,                S.LEAVING,       None),
    ("question behind the agent's goodbye",  S.LEAVING,       H, T.NOTIFY,             S.LEAVING,       None),
    ("haproxy answers the agent's goodbye",  S.LEAVING,       H, T.HAPROXY_DISCONNECT, S.CLOSING,       None),
    ("goodbyes cross",                       S.CLOSING,       A, T.AGENT_DISCONNECT,   S.CLOSING,       None),
    ("answer crosses the last word",         S.CLOSING,       A, T.ACK,                S.CLOSING,       None),
    ("question crosses the last word",       S.CLOSING,       H, T.NOTIFY,             S.CLOSING,       None),
    ("question before any hello",            S.HAPROXY_HELLO, H, T.NOTIFY,             S.HAPROXY_HELLO, W.FRAME_BEFORE_HELLO),
    ("goodbye before any hello",             S.HAPROXY_HELLO, H, T.HAPROXY_DISCONNECT, S.HAPROXY_HELLO, W.FRAME_BEFORE_HELLO),
    ("question while dialling",              S.DIALLING,      H, T.NOTIFY,             S.DIALLING,      W.FRAME_BEFORE_HELLO),
    ("question before the agent's hello",    S.AGENT_HELLO,   H, T.NOTIFY,             S.AGENT_HELLO,   W.FRAME_BEFORE_HELLO),
    ("question during a refusal",            S.REFUSING,      H, T.NOTIFY,             S.REFUSING,      W.FRAME_BEFORE_HELLO),
    ("answer before the agent's hello",      S.AGENT_HELLO,   A, T.ACK,                S.AGENT_HELLO,   W.FRAME_BEFORE_HELLO),
    ("haproxy's hello again while dialling", S.DIALLING,      H, T.HAPROXY_HELLO,      S.DIALLING,      W.HELLO_REPEATED),
    ("haproxy's hello again while waiting",  S.AGENT_HELLO,   H, T.HAPROXY_HELLO,      S.AGENT_HELLO,   W.HELLO_REPEATED),
    ("agent's hello during a refusal",       S.REFUSING,      A, T.AGENT_HELLO,        S.REFUSING,      W.FRAME_BEFORE_HELLO),
    ("haproxy's hello again",                S.RUNNING,       H, T.HAPROXY_HELLO,      S.RUNNING,       W.HELLO_REPEATED),
    ("agent's hello again",                  S.RUNNING,       A, T.AGENT_HELLO,        S.RUNNING,       W.HELLO_REPEATED),
    ("agent's goodbye again",                S.LEAVING,       A, T.AGENT_DISCONNECT,   S.LEAVING,       W.DISCONNECT_REPEATED),
    ("agent sends a question",               S.RUNNING,       A, T.NOTIFY,             S.RUNNING,       W.WRONG_SIDE_FRAME),
    ("agent sends haproxy's goodbye",        S.RUNNING,       A, T.HAPROXY_DISCONNECT, S.RUNNING,       W.WRONG_SIDE_FRAME),
    ("haproxy sends an answer",              S.RUNNING,       H, T.ACK,                S.RUNNING,       W.WRONG_SIDE_FRAME),
    ("a type from the future",               S.RUNNING,       A, 104,                  S.RUNNING,       W.UNKNOWN_FRAME_TYPE),
    ("a fragment from the agent",            S.RUNNING,       A, T.UNSET,              S.RUNNING,       W.UNKNOWN_FRAME_TYPE),
    ("anything behind the end",              S.CLOSED,        H, T.NOTIFY,             S.CLOSED,        W.FRAME_AFTER_DISCONNECT),
    ("goodbye behind the end",               S.CLOSED,        A, T.AGENT_DISCONNECT,   S.CLOSED,        W.DISCONNECT_REPEATED),
]  # fmt: skip


@pytest.mark.parametrize(("state", "side", "type_", "after", "anomaly"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_step(state: State, side: Side, type_: int, after: State, anomaly: Anomaly | None) -> None:
    assert step(state, side, type_) == (after, anomaly)


def test_the_table_is_whole_and_its_only_dead_end_is_closed() -> None:
    assert TRANSITIONS.keys() == set(State)
    assert {state for state, row in TRANSITIONS.items() if not row} == {S.CLOSED}
    assert {type_ for row in TRANSITIONS.values() for type_ in row} == set(FrameType)


def test_every_state_can_be_reached_by_frames_or_is_entered_by_the_guard_itself() -> None:
    by_frames = {after for row in TRANSITIONS.values() for after in row.values()}
    assert set(State) - by_frames == {S.HAPROXY_HELLO, S.AGENT_HELLO, S.REFUSING, S.CLOSED}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("type_", [*FrameType, 4, 104, 255])
def test_an_anomalous_frame_never_moves_the_machine(state: State, side: Side, type_: int) -> None:
    after, anomaly = step(state, side, type_)
    assert (after == state) if anomaly else (after == TRANSITIONS[state][type_])


def test_no_question_and_no_answer_is_legal_before_hello() -> None:
    for state in BEFORE_HELLO:
        assert not TRANSITIONS[state].keys() & {T.NOTIFY, T.ACK, T.UNSET}
