"""What an anomaly meant for HAProxy and its requests: from this follow the state of a route and the level of a log line."""

import enum
from collections.abc import Set as AbstractSet
from typing import Final

from spoe_guard.core.terms.anomalies import CATALOGUE, Action, Anomaly, Side
from spoe_guard.core.terms.family import Family


@enum.unique
class Consequence(enum.Enum):
    """What came of it; label values of ``spoe_guard_consequences_total``."""

    NONE = "none"  # nothing, or what the NOTIFYs that got no answer are counted by
    MENDED = "mended"  # the guard dealt with it; no answer was at stake
    ANSWER_SAVED = "answer_saved"  # an answer reached HAProxy that would have been lost
    HAPROXY_SPARED = "haproxy_spared"  # HAProxy did not get what would have ended it, or one of its connections
    ANSWER_LOST = "answer_lost"  # HAProxy got the agent's answer in a form that it does not take
    HAPROXY_IN_DANGER = "haproxy_in_danger"  # HAProxy got what ends it, or one of its connections


# Where the guard mends one of these, one answer is saved.
_OF_ONE_ANSWER: Final = frozenset(
    (
        Anomaly.INTERLEAVED_FRAMES,
        Anomaly.MISSING_FIN,
        Anomaly.FRAGMENTED_ACK,
        Anomaly.FOREIGN_ACK,
        Anomaly.EMPTY_ACK,
        Anomaly.ACK_STRAY_NULL,
        Anomaly.ACK_NULL_VALUE,
        Anomaly.ACK_BAD_BOOL,
        Anomaly.ACK_AFTER_DISCONNECT,
    )
)
_BY_THE_NOTIFYS: Final = frozenset(  # the NOTIFYs they cost count as unanswered
    (Anomaly.NOTIFY_UNANSWERED, Anomaly.NOTIFY_OVERSIZE, Anomaly.NOTIFY_MALFORMED, Anomaly.AGENT_UNREACHABLE)
)


def consequence(side: Side, anomaly: Anomaly, action: Action, *, applied: bool, families: AbstractSet[Family]) -> Consequence:
    """Return what came of an anomaly. ``families``: those of HAProxy that connect, as far as they are known."""
    row = CATALOGUE[anomaly]
    mended = applied and action is not Action.PASS
    ends = side is Side.AGENT and bool(row.ends if not families else row.ends & families)
    if anomaly in _BY_THE_NOTIFYS:
        return Consequence.NONE
    if mended:
        if ends:
            return Consequence.HAPROXY_SPARED
        saved = anomaly in _OF_ONE_ANSWER and action in {Action.REPAIR, Action.REORDER}
        return Consequence.ANSWER_SAVED if saved else Consequence.MENDED
    if ends:
        return Consequence.HAPROXY_IN_DANGER
    return Consequence.ANSWER_LOST if side is Side.AGENT and anomaly in _OF_ONE_ANSWER and not applied else Consequence.NONE
