"""Which frames each state allows, and which states may follow."""

import ast

import pytest

from spoe_guard.core.conversation.progress import Progress
from spoe_guard.core.terms.anomalies import Anomaly
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.states import (
    BEFORE_HELLO,
    FROM_AGENT,
    FROM_HAPROXY,
    LINK_MOVES,
    SESSION_MOVES,
    IllegalMoveError,
    LinkState,
    SessionState,
    fault_of_agent,
    fault_of_haproxy,
    move,
)
from spoe_guard.wire.frame import FrameType
from tests.peers import ROOT

S = SessionState
L = LinkState
W = Anomaly  # what was wrong
T = FrameType

HAPROXYS = [
    # name                                   state            type                  anomaly
    ("hello opens",                          S.HAPROXY_HELLO, T.HAPROXY_HELLO,      None),
    ("haproxy gives up while dialling",      S.DIALLING,      T.HAPROXY_DISCONNECT, None),
    ("haproxy gives up waiting",             S.AGENT_HELLO,   T.HAPROXY_DISCONNECT, None),
    ("haproxy gives up on a refusal",        S.REFUSING,      T.HAPROXY_DISCONNECT, None),
    ("a question",                           S.RUNNING,       T.NOTIFY,             None),
    ("the rest of a question",               S.RUNNING,       T.UNSET,              None),
    ("haproxy's DISCONNECT ends it",            S.RUNNING,       T.HAPROXY_DISCONNECT, None),
    ("question behind the agent's goodbye",  S.LEAVING,       T.NOTIFY,             None),
    ("haproxy answers the agent's goodbye",  S.LEAVING,       T.HAPROXY_DISCONNECT, None),
    ("question crosses DISCONNECT",       S.CLOSING,       T.NOTIFY,             None),
    ("question before any hello",            S.HAPROXY_HELLO, T.NOTIFY,             W.FRAME_BEFORE_HELLO),
    ("goodbye before any hello",             S.HAPROXY_HELLO, T.HAPROXY_DISCONNECT, W.FRAME_BEFORE_HELLO),
    ("question while dialling",              S.DIALLING,      T.NOTIFY,             W.FRAME_BEFORE_HELLO),
    ("question before the agent's hello",    S.AGENT_HELLO,   T.NOTIFY,             W.FRAME_BEFORE_HELLO),
    ("question during a refusal",            S.REFUSING,      T.NOTIFY,             W.FRAME_BEFORE_HELLO),
    ("hello again while dialling",           S.DIALLING,      T.HAPROXY_HELLO,      W.HELLO_REPEATED),
    ("hello again while waiting",            S.AGENT_HELLO,   T.HAPROXY_HELLO,      W.HELLO_REPEATED),
    ("hello again",                          S.RUNNING,       T.HAPROXY_HELLO,      W.HELLO_REPEATED),
    ("an answer",                            S.RUNNING,       T.ACK,                W.WRONG_SIDE_FRAME),
    ("a type from the future",               S.RUNNING,       4,                    W.UNKNOWN_FRAME_TYPE),
    ("anything behind the end",              S.CLOSED,        T.NOTIFY,             W.FRAME_AFTER_DISCONNECT),
]  # fmt: skip

AGENTS = [
    ("agent answers",                        L.AGENT_HELLO,   T.AGENT_HELLO,        None),
    ("agent refuses",                        L.AGENT_HELLO,   T.AGENT_DISCONNECT,   None),
    ("an answer",                            L.RUNNING,       T.ACK,                None),
    ("agent's goodbye",                      L.RUNNING,       T.AGENT_DISCONNECT,   None),
    ("answer behind the agent's goodbye",    L.LEAVING,       T.ACK,                None),
    ("DISCONNECTs cross",                       L.CLOSING,       T.AGENT_DISCONNECT,   None),
    ("answer crosses DISCONNECT",         L.CLOSING,       T.ACK,                None),
    ("answer before hello",                  L.AGENT_HELLO,   T.ACK,                W.FRAME_BEFORE_HELLO),
    ("hello before it is asked",             L.DIALLING,      T.AGENT_HELLO,        W.FRAME_BEFORE_HELLO),
    ("hello again",                          L.RUNNING,       T.AGENT_HELLO,        W.HELLO_REPEATED),
    ("goodbye again",                        L.LEAVING,       T.AGENT_DISCONNECT,   W.DISCONNECT_REPEATED),
    ("hello behind the goodbye",             L.LEAVING,       T.AGENT_HELLO,        W.HELLO_REPEATED),
    ("a question",                           L.RUNNING,       T.NOTIFY,             W.WRONG_SIDE_FRAME),
    ("haproxy's goodbye",                    L.RUNNING,       T.HAPROXY_DISCONNECT, W.WRONG_SIDE_FRAME),
    ("a type from the future",               L.RUNNING,       104,                  W.UNKNOWN_FRAME_TYPE),
    ("a fragment",                           L.RUNNING,       T.UNSET,              W.UNKNOWN_FRAME_TYPE),
]  # fmt: skip


@pytest.mark.parametrize(("state", "type_", "anomaly"), [c[1:] for c in HAPROXYS], ids=[c[0] for c in HAPROXYS])
def test_what_haproxy_may_say(state: SessionState, type_: int, anomaly: Anomaly | None) -> None:
    assert fault_of_haproxy(state, type_) == anomaly


@pytest.mark.parametrize(("state", "type_", "anomaly"), [c[1:] for c in AGENTS], ids=[c[0] for c in AGENTS])
def test_what_an_agent_may_say(state: LinkState, type_: int, anomaly: Anomaly | None) -> None:
    assert fault_of_agent(state, type_) == anomaly


def test_the_tables_are_whole() -> None:
    assert FROM_HAPROXY.keys() == SESSION_MOVES.keys() == set(SessionState)
    assert FROM_AGENT.keys() == LINK_MOVES.keys() == set(LinkState)
    assert {type_ for row in (*FROM_HAPROXY.values(), *FROM_AGENT.values()) for type_ in row} == set(FrameType)


def test_the_only_dead_ends_are_the_ends() -> None:
    assert {state for state, after in SESSION_MOVES.items() if not after} == {S.CLOSED}
    assert {state for state, after in LINK_MOVES.items() if not after} == {L.CLOSING}
    assert {after for row in SESSION_MOVES.values() for after in row} == set(SessionState) - {S.HAPROXY_HELLO}
    assert {after for row in LINK_MOVES.values() for after in row} == set(LinkState) - {L.IDLE}


def test_no_question_and_no_answer_is_legal_before_hello() -> None:
    assert not any(FROM_HAPROXY[state] & {T.NOTIFY, T.UNSET} for state in BEFORE_HELLO)
    assert not any(T.ACK in FROM_AGENT[state] for state in (L.IDLE, L.DIALLING, L.AGENT_HELLO))


@pytest.mark.parametrize("before", SessionState)
@pytest.mark.parametrize("after", SessionState)
def test_a_session_enters_what_may_follow_and_nothing_else(before: SessionState, after: SessionState) -> None:
    progress = Progress(SessionConfig(), 0.0)
    progress.state = before
    if after in SESSION_MOVES[before] or after is before:
        progress.enter(after)
        assert progress.state is after
    else:
        with pytest.raises(IllegalMoveError, match=f"from {before.value} to {after.value}"):
            progress.enter(after)
        assert progress.state is before


@pytest.mark.parametrize("before", LinkState)
@pytest.mark.parametrize("after", LinkState)
def test_a_link_moves_to_what_may_follow_and_nothing_else(before: LinkState, after: LinkState) -> None:
    if after in LINK_MOVES[before] or after is before:
        assert move(before, after, LINK_MOVES) is after
    else:
        with pytest.raises(IllegalMoveError, match=f"from {before.value} to {after.value}"):
            move(before, after, LINK_MOVES)


def assigned() -> list[tuple[str, str]]:
    """Return (file, target) of each assignment to an attribute in core."""
    found = []
    for path in sorted((ROOT / "spoe_guard/core").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            for target in targets:
                each = target.elts if isinstance(target, ast.Tuple) else [target]
                found += [(path.name, ast.unparse(one)) for one in each if isinstance(one, ast.Attribute)]
    return found


def test_a_state_is_assigned_where_it_begins_and_where_it_is_entered() -> None:
    states = [at for at in assigned() if at[1].endswith(".state")]
    assert states == [("agent_link.py", "self.state")] * 2 + [("progress.py", "self.state")] * 2


# Plain values: what the hot lane and the route's counters are made of, what a step returns, what was read from a frame.
VALUES = {"tally", "_tally", "lane", "ledger", "out", "order", "offer", "disconnect", "notify", "arriving"}


def test_nobody_assigns_what_another_part_owns() -> None:
    owners = [(file, target, target.split(".")[-2]) for file, target in assigned()]
    assert [at for at in owners if at[1].split(".")[:-1] != ["self"] and at[2] not in VALUES] == []
