"""Where a session stands, and every legal step of it."""

import enum
from collections.abc import Mapping
from typing import Final

from spoe_guard.core.terms.anomalies import Anomaly, Side
from spoe_guard.wire.frame import AGENT_TYPES, HAPROXY_TYPES, FrameType


@enum.unique
class State(enum.Enum):
    """Where a session stands; the ``state`` of a logged anomaly."""

    HAPROXY_HELLO = "haproxy_hello"  # nothing valid has come from HAProxy yet
    DIALLING = "dialling"  # HAPROXY-HELLO is held until the agent link is up
    AGENT_HELLO = "agent_hello"  # the agent has HAPROXY-HELLO and owes its own
    REFUSING = "refusing"  # there is no agent to talk to; HAProxy is told so in a moment
    RUNNING = "running"
    LEAVING = "leaving"  # the agent's last word is held, or its stream is broken: open NOTIFYs may still be answered
    CLOSING = "closing"  # the last word was said; waiting for the sides to close
    CLOSED = "closed"


_S = State
_T = FrameType

# Every legal step, and nothing else (SPOE.txt 3.2.3). LEAVING keeps ACK because agents answer behind their own
# DISCONNECT; CLOSING keeps the agent's DISCONNECT because it may cross, or answer, HAProxy's (3.2.8, 3.2.9).
TRANSITIONS: Final[Mapping[State, Mapping[int, State]]] = {
    _S.HAPROXY_HELLO: {_T.HAPROXY_HELLO: _S.DIALLING},
    _S.DIALLING: {_T.HAPROXY_DISCONNECT: _S.CLOSING},
    _S.AGENT_HELLO: {
        _T.AGENT_HELLO: _S.RUNNING,
        _T.AGENT_DISCONNECT: _S.CLOSING,
        _T.HAPROXY_DISCONNECT: _S.CLOSING,
    },
    _S.REFUSING: {_T.HAPROXY_DISCONNECT: _S.CLOSING},
    _S.RUNNING: {
        _T.NOTIFY: _S.RUNNING,
        _T.UNSET: _S.RUNNING,
        _T.ACK: _S.RUNNING,
        _T.AGENT_DISCONNECT: _S.LEAVING,
        _T.HAPROXY_DISCONNECT: _S.CLOSING,
    },
    _S.LEAVING: {
        _T.NOTIFY: _S.LEAVING,
        _T.UNSET: _S.LEAVING,
        _T.ACK: _S.LEAVING,
        _T.HAPROXY_DISCONNECT: _S.CLOSING,
    },
    _S.CLOSING: {
        _T.NOTIFY: _S.CLOSING,
        _T.UNSET: _S.CLOSING,
        _T.ACK: _S.CLOSING,
        _T.AGENT_DISCONNECT: _S.CLOSING,
        _T.HAPROXY_DISCONNECT: _S.CLOSING,
    },
    _S.CLOSED: {},
}

# HAProxy has no AGENT-HELLO yet, so it may not send a NOTIFY, and may not be sent an ACK.
BEFORE_HELLO: Final = frozenset((_S.HAPROXY_HELLO, _S.DIALLING, _S.AGENT_HELLO, _S.REFUSING))

BEFORE_DIAL: Final = frozenset((_S.HAPROXY_HELLO, _S.DIALLING))  # of an agent link: it was given no HELLO yet


def step(state: State, side: Side, type_: int) -> tuple[State, Anomaly | None]:
    """Return the state after a frame of ``type_`` from ``side``, and what was wrong with it, if anything.

    An anomalous frame never moves the machine: whether it goes on, is dropped or ends the session is the
    policy's decision, not the protocol's.
    """
    mine, other = (HAPROXY_TYPES, AGENT_TYPES) if side is Side.HAPROXY else (AGENT_TYPES, HAPROXY_TYPES)
    if type_ not in mine:
        wrong_side = type_ in other and type_ != _T.UNSET
        return state, Anomaly.WRONG_SIDE_FRAME if wrong_side else Anomaly.UNKNOWN_FRAME_TYPE
    after = TRANSITIONS[state].get(type_)
    if after is not None:
        return after, None
    if type_ == _T.HAPROXY_HELLO or (type_ == _T.AGENT_HELLO and state not in BEFORE_HELLO):
        return state, Anomaly.HELLO_REPEATED
    if state in BEFORE_HELLO:
        return state, Anomaly.FRAME_BEFORE_HELLO
    return state, Anomaly.DISCONNECT_REPEATED if type_ == _T.AGENT_DISCONNECT else Anomaly.FRAME_AFTER_DISCONNECT
