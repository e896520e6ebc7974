"""What becomes of an ACK: matched to its NOTIFY, mended where that is certain, passed once."""

from typing import Final

from spoe_guard.core.conversation.ledger import Fate
from spoe_guard.core.incoming.agent.agent_stream import AgentStream
from spoe_guard.core.payloads.ack_repair import UNWELCOME, diagnose
from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.core.terms.events import UnansweredReason
from spoe_guard.core.terms.states import LinkState
from spoe_guard.wire import frame, walk

# An ACK whose NOTIFY is not open: what is known of that NOTIFY says what is wrong with it.
UNWANTED: Final = {
    Fate.ANSWERED: Anomaly.DUPLICATE_ACK,
    Fate.GIVEN_UP: Anomaly.LATE_ACK,
    Fate.UNKNOWN: Anomaly.UNMATCHED_ACK,
}


def judge_ack(walker: AgentStream, said: frame.Frame, now: float, whole: bytes | None = None) -> None:
    """Pass an ACK that answers an open NOTIFY, behind the agent's own DISCONNECT as well; else do what the policy says.

    ``whole``: the frame to pass where ``said`` is only the first fragment of it.
    """
    conv = walker.conv
    fate = conv.notifies.fate(said.ids)
    if fate is not Fate.OPEN:
        walker.link.paid(said.ids)
        action = walker.judge(UNWANTED[fate], said)
        walker.close_on(action, now)
        walker.pass_on(said, (whole or said.raw) if action is Action.PASS else None)
    elif walker.link.state is LinkState.LEAVING and walker.judge(Anomaly.ACK_AFTER_DISCONNECT, said) is Action.DROP:
        lose_ack(walker, said, now)
    else:
        settle_ack(walker, said, now, whole)


def settle_ack(walker: AgentStream, said: frame.Frame, now: float, whole: bytes | None = None) -> None:
    """Pass the ACK of an open NOTIFY, mended where it needs it, and settle the NOTIFY."""
    conv = walker.conv
    if not said.fin and whole is None and conv.notifies.holder(said.ids) is not walker.link:
        walker.judge(Anomaly.MISSING_FIN, said, "the NOTIFY is in the hands of another agent", Action.DROP)
        walker.pass_on(said, None)  # it may be a part of the answer, and there will be another
        return
    raw = whole or walker.mend_flags(said, now)
    if raw is not None:
        raw = _mend_payload(walker, said, raw, now)
    if raw is None:
        lose_ack(walker, said, now)
        return
    conv.notifies.answered(said.ids, now, walker.link)
    walker.pass_on(said, raw)


def lose_ack(walker: AgentStream, said: frame.Frame, now: float) -> None:
    """Drop an ACK; its NOTIFY counts as unanswered where it was open on that very link: from another agent it may still come."""
    walker.pass_on(said, None)
    if walker.conv.notifies.holder(said.ids) is walker.link:
        walker.conv.notifies.give_up(said.ids, now, UnansweredReason.ACK_DROPPED)


def _mend_payload(walker: AgentStream, said: frame.Frame, raw: bytes, now: float) -> bytes | None:
    """Return ``raw`` with actions that HAProxy reads as the agent meant them, or None to drop it."""
    if walk.check_actions(raw, said.payload_at, len(raw)) == walk.OK:
        return raw
    found = diagnose(raw[said.payload_at :])
    repair: set[Anomaly] = set()
    for anomaly in found.anomalies:
        action = walker.judge(anomaly, said)
        walker.close_on(action, now)
        if action is Action.REPAIR or (action is Action.DROP and anomaly in UNWELCOME):
            repair.add(anomaly)
        elif action is not Action.PASS:
            return None
    if not repair:
        return raw
    mended = frame.Frame(raw, said.type, said.flags, said.stream_id, said.frame_id, said.payload_at)
    return frame.with_payload(mended, found.repaired(repair))
