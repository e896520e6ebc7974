"""An ACK that came on the link of another session of the same engine, which an agent with the capability async may send.

HAProxy up to 3.0 with async negotiated accepts it on any connection; but only the session whose NOTIFY it answers knows that it
is answered, and answered once. So the ACK goes out through the session in which its NOTIFY came in.
"""

from spoe_guard.core.conversation.ledger import Fate
from spoe_guard.core.incoming.agent.ack import UNWANTED, lose_ack, settle_ack
from spoe_guard.core.incoming.agent.agent_stream import AgentStream
from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.wire import frame as frames


def send_to_its_session(walker: AgentStream, frame: frames.Frame) -> bool:
    """Hand an ACK over to the session that waits for it; return False and do nothing if none does."""
    conv = walker.conv
    if not conv.notifies.engine or conv.notifies.fate(frame.ids) is not Fate.UNKNOWN:
        return False
    waiting = conv.notifies.waiting_elsewhere(frame.ids)
    if not waiting:
        return False
    detail = f"its NOTIFY is open in session {waiting[0]}"
    choice = None
    if len(waiting) > 1:  # stream-ids are unique in an engine, so one of the sessions is not of this engine
        detail, choice = f"its NOTIFY is open in {len(waiting)} sessions", Action.DROP
    if walker.judge(Anomaly.FOREIGN_ACK, frame, detail, choice) is Action.REORDER:
        conv.notifies.hand_over(waiting[0], frame.raw)
    walker.pass_on(frame, None)
    return True


def take_from_other(walker: AgentStream, frame: frames.Frame, now: float) -> None:
    """Handle ``frame``, an ACK that another session handed over, like one from this session's own agent."""
    fate = walker.conv.notifies.fate(frame.ids)
    if fate is not Fate.OPEN:  # the same ACK came twice in one read of the other link: only the first was awaited
        walker.judge(UNWANTED[fate], frame, action=Action.DROP)
        walker.pass_on(frame, None)
    elif len(frame.raw) - frames.LENGTH_BYTES > walker.limit():
        action = walker.judge(Anomaly.OVERSIZE_FRAME, frame, f"at most {walker.limit()} negotiated")
        walker.close_on(action, now)
        lose_ack(walker, frame, now)
    else:
        settle_ack(walker, frame, now)
