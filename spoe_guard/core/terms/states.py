"""The states of a session and of its agent links: what may be sent in each, and which state may follow."""

import enum
from collections.abc import Mapping
from typing import Final, TypeVar

from spoe_guard.core.terms.anomalies import Anomaly
from spoe_guard.wire.frame import AGENT_TYPES, HAPROXY_TYPES, FrameType


@enum.unique
class SessionState(enum.Enum):
    """The state of a session; the ``state`` of a logged anomaly."""

    HAPROXY_HELLO = "haproxy_hello"  # nothing valid has come from HAProxy yet
    DIALLING = "dialling"  # HAPROXY-HELLO is kept until the first agent link is up
    AGENT_HELLO = "agent_hello"  # the agent has HAPROXY-HELLO and has not answered yet
    REFUSING = "refusing"  # no agent, no SPOP, or HAProxy would come again at once: it is answered in a moment
    RUNNING = "running"  # HAProxy has AGENT-HELLO: the agent's, or, while there is none, the guard's
    LEAVING = "leaving"  # the agent's DISCONNECT is held back, or its stream is broken: open NOTIFYs may still be answered
    CLOSING = "closing"  # DISCONNECT was sent; waiting for the sides to close
    CLOSED = "closed"


@enum.unique
class LinkState(enum.Enum):
    """The state of an agent link."""

    IDLE = "idle"  # not dialled yet
    DIALLING = "dialling"
    AGENT_HELLO = "agent_hello"  # the agent has HAPROXY-HELLO and has not answered yet
    RUNNING = "running"
    LEAVING = "leaving"  # the agent has sent DISCONNECT, or its stream is broken: its NOTIFYs may still be answered
    CLOSING = "closing"  # the agent got HAPROXY-DISCONNECT, or is gone


class IllegalMoveError(Exception):
    """A bug of ours: a state was to follow that may not."""

    def __init__(self, before: enum.Enum, after: enum.Enum) -> None:
        super().__init__(f"{type(before).__name__}: from {before.value} to {after.value}")


State = TypeVar("State", bound=enum.Enum)
_S = SessionState
_L = LinkState
_T = FrameType

# The states that may follow each state of a session: only ``Progress.enter`` assigns one. CLOSED may follow at any time: the
# shell may give a session up.
SESSION_MOVES: Final[Mapping[SessionState, frozenset[SessionState]]] = {
    _S.HAPROXY_HELLO: frozenset(
        (_S.DIALLING, _S.REFUSING, _S.RUNNING, _S.CLOSING, _S.CLOSED)
    ),  # REFUSING: it does not speak SPOP; RUNNING: taken over from the previous guard
    _S.DIALLING: frozenset(
        (_S.AGENT_HELLO, _S.REFUSING, _S.RUNNING, _S.CLOSING, _S.CLOSED)
    ),  # RUNNING: no agent is needed for it
    _S.AGENT_HELLO: frozenset((_S.RUNNING, _S.REFUSING, _S.CLOSING, _S.CLOSED)),
    _S.REFUSING: frozenset((_S.CLOSING, _S.CLOSED)),
    _S.RUNNING: frozenset((_S.LEAVING, _S.REFUSING, _S.CLOSING, _S.CLOSED)),
    _S.LEAVING: frozenset((_S.CLOSING, _S.CLOSED)),
    _S.CLOSING: frozenset((_S.CLOSED,)),
    _S.CLOSED: frozenset(),
}

# The same for a link, which assigns its own state.
LINK_MOVES: Final[Mapping[LinkState, frozenset[LinkState]]] = {
    _L.IDLE: frozenset((_L.DIALLING, _L.CLOSING)),  # CLOSING: the session was taken over, or ended before it dialled
    _L.DIALLING: frozenset((_L.AGENT_HELLO, _L.CLOSING)),
    _L.AGENT_HELLO: frozenset((_L.RUNNING, _L.CLOSING)),
    _L.RUNNING: frozenset((_L.LEAVING, _L.CLOSING)),
    _L.LEAVING: frozenset((_L.CLOSING,)),
    _L.CLOSING: frozenset(),
}

# What each side may send in each state (SPOE.txt 3.2.3). LEAVING keeps ACK because agents answer after their own DISCONNECT;
# CLOSING keeps the agent's DISCONNECT because it may cross, or answer, HAProxy's (3.2.8, 3.2.9), and NOTIFY, which may cross the
# guard's.
FROM_HAPROXY: Final[Mapping[SessionState, frozenset[int]]] = {
    _S.HAPROXY_HELLO: frozenset((_T.HAPROXY_HELLO,)),
    _S.DIALLING: frozenset((_T.HAPROXY_DISCONNECT,)),
    _S.AGENT_HELLO: frozenset((_T.HAPROXY_DISCONNECT,)),
    _S.REFUSING: frozenset((_T.HAPROXY_DISCONNECT,)),
    _S.RUNNING: frozenset((_T.NOTIFY, _T.UNSET, _T.HAPROXY_DISCONNECT)),
    _S.LEAVING: frozenset((_T.NOTIFY, _T.UNSET, _T.HAPROXY_DISCONNECT)),
    _S.CLOSING: frozenset((_T.NOTIFY, _T.UNSET, _T.HAPROXY_DISCONNECT)),
    _S.CLOSED: frozenset(),
}
FROM_AGENT: Final[Mapping[LinkState, frozenset[int]]] = {
    _L.IDLE: frozenset(),
    _L.DIALLING: frozenset(),
    _L.AGENT_HELLO: frozenset((_T.AGENT_HELLO, _T.AGENT_DISCONNECT)),
    _L.RUNNING: frozenset((_T.ACK, _T.AGENT_DISCONNECT)),
    _L.LEAVING: frozenset((_T.ACK,)),
    _L.CLOSING: frozenset((_T.ACK, _T.AGENT_DISCONNECT)),
}

# HAProxy has no AGENT-HELLO yet, so it may not send a NOTIFY and may not get an ACK.
BEFORE_HELLO: Final = frozenset((_S.HAPROXY_HELLO, _S.DIALLING, _S.AGENT_HELLO, _S.REFUSING))
_LINK_BEFORE_HELLO: Final = frozenset((_L.IDLE, _L.DIALLING, _L.AGENT_HELLO))

BEFORE_DIAL: Final = frozenset((_L.IDLE, _L.DIALLING))  # the agent has no HELLO yet
ENDING: Final = frozenset((_S.CLOSING, _S.CLOSED))
MEETING: Final = frozenset((_S.DIALLING, _S.AGENT_HELLO))


def move(before: State, after: State, moves: Mapping[State, frozenset[State]]) -> State:
    """Return ``after``, the state to follow ``before``; the same state may always follow.

    Raises:
        IllegalMoveError: ``moves`` does not allow it.
    """
    if after is not before and after not in moves[before]:
        raise IllegalMoveError(before, after)
    return after


def fault_of_haproxy(state: SessionState, type_: int) -> Anomaly | None:
    """Return what is wrong with a frame of ``type_`` from HAProxy, None if it is legal.

    The policy, not the protocol, decides what happens to it.
    """
    if type_ not in HAPROXY_TYPES:
        return Anomaly.WRONG_SIDE_FRAME if type_ in AGENT_TYPES else Anomaly.UNKNOWN_FRAME_TYPE
    if type_ in FROM_HAPROXY[state]:
        return None
    if type_ == _T.HAPROXY_HELLO:
        return Anomaly.HELLO_REPEATED
    return Anomaly.FRAME_BEFORE_HELLO if state in BEFORE_HELLO else Anomaly.FRAME_AFTER_DISCONNECT


def fault_of_agent(state: LinkState, type_: int) -> Anomaly | None:
    """Return what is wrong with a frame of ``type_`` from an agent, None if it is legal."""
    if type_ not in AGENT_TYPES:
        return Anomaly.WRONG_SIDE_FRAME if type_ in HAPROXY_TYPES and type_ != _T.UNSET else Anomaly.UNKNOWN_FRAME_TYPE
    if type_ in FROM_AGENT[state]:
        return None
    if state in _LINK_BEFORE_HELLO:
        return Anomaly.FRAME_BEFORE_HELLO
    if type_ == _T.AGENT_HELLO:
        return Anomaly.HELLO_REPEATED
    return Anomaly.DISCONNECT_REPEATED if type_ == _T.AGENT_DISCONNECT else Anomaly.FRAME_AFTER_DISCONNECT
