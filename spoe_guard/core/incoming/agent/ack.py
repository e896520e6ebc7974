"""What happens to an ACK: it is matched to its NOTIFY, repaired if that is certain, and passed once."""

from typing import Final

from spoe_guard.core.conversation.ledger import Fate
from spoe_guard.core.incoming.agent.agent_stream import AgentStream
from spoe_guard.core.payloads.ack_repair import UNWELCOME, diagnose
from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.core.terms.events import UnansweredReason
from spoe_guard.core.terms.states import LinkState
from spoe_guard.wire import actions
from spoe_guard.wire import frame as frames

# An ACK whose NOTIFY is not open: the fate of that NOTIFY decides which anomaly it is.
UNWANTED: Final = {
    Fate.ANSWERED: Anomaly.DUPLICATE_ACK,
    Fate.GIVEN_UP: Anomaly.LATE_ACK,
    Fate.UNKNOWN: Anomaly.UNMATCHED_ACK,
}


def judge_ack(walker: AgentStream, frame: frames.Frame, now: float, whole: bytes | None = None) -> None:
    """Pass an ACK that answers an open NOTIFY, even after the agent's own DISCONNECT; otherwise apply the policy.

    ``whole``: the frame to pass if ``frame`` is only its first fragment.
    """
    conv = walker.conv
    fate = conv.notifies.fate(frame.ids)
    if fate is not Fate.OPEN:
        walker.link.paid(frame.ids)
        walker.unasked(UNWANTED[fate], frame, now, whole)
    elif walker.link.state is LinkState.LEAVING and walker.judge(Anomaly.ACK_AFTER_DISCONNECT, frame) is Action.DROP:
        lose_ack(walker, frame, now)
    else:
        settle_ack(walker, frame, now, whole)


def settle_ack(walker: AgentStream, frame: frames.Frame, now: float, whole: bytes | None = None) -> None:
    """Pass the ACK of an open NOTIFY, repaired if needed, and settle the NOTIFY."""
    conv = walker.conv
    if not frame.fin and whole is None and conv.notifies.holder(frame.ids) is not walker.link:
        walker.judge(Anomaly.MISSING_FIN, frame, "the NOTIFY is in the hands of another agent", Action.DROP)
        walker.pass_on(frame, None)  # it may be part of the answer, and there will be another
        return
    raw = whole or walker.mend_flags(frame, now)
    if raw is not None:
        raw = _mend_payload(walker, frame, raw, now)
    if raw is None:
        lose_ack(walker, frame, now)
        return
    conv.notifies.answered(frame.ids, now, walker.link)
    walker.pass_on(frame, raw)


def lose_ack(walker: AgentStream, frame: frames.Frame, now: float) -> None:
    """Drop an ACK. Its NOTIFY counts as unanswered if this link has it; another agent may still answer."""
    walker.pass_on(frame, None)
    if walker.conv.notifies.holder(frame.ids) is walker.link:
        walker.conv.notifies.give_up(frame.ids, now, UnansweredReason.ACK_DROPPED)


def _mend_payload(walker: AgentStream, frame: frames.Frame, raw: bytes, now: float) -> bytes | None:
    """Return ``raw`` with actions that HAProxy reads as the agent meant them, or None to drop it."""
    if actions.in_order(raw, frame.payload_at, len(raw)):
        return raw
    found = diagnose(raw[frame.payload_at :])
    repair: set[Anomaly] = set()
    for anomaly in found.anomalies:
        action = walker.judge(anomaly, frame, found.detail(anomaly))
        walker.close_on(action, now)
        if action is Action.REPAIR or (action is Action.DROP and anomaly in UNWELCOME):
            repair.add(anomaly)
        elif action is not Action.PASS:
            return None
    if not repair:
        return raw
    mended = frames.Frame(raw, frame.type, frame.flags, frame.stream_id, frame.frame_id, frame.payload_at)
    return frames.with_payload(mended, found.repaired(repair))
