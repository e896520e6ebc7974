"""What happens to an agent's DISCONNECT, and to frames after the guard's own."""

from spoe_guard.core.conversation.ledger import Fate
from spoe_guard.core.incoming.agent.ack import UNWANTED, settle_ack
from spoe_guard.core.incoming.agent.agent_hello import note_disconnect
from spoe_guard.core.incoming.agent.agent_stream import AgentStream
from spoe_guard.core.incoming.agent.foreign_ack import send_to_its_session
from spoe_guard.core.payloads import disconnect as disconnects
from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.core.terms.events import LinkLoss
from spoe_guard.core.terms.states import SessionState
from spoe_guard.wire import frame as frames


def judge_disconnect(walker: AgentStream, frame: frames.Frame, now: float) -> bool:
    """Handle AGENT-DISCONNECT: it ends its link, or the session, once open NOTIFYs are answered.

    Return False if its payload is not a list: then the caller looks for frames inside it.
    """
    conv = walker.conv
    disconnect = note_disconnect(walker, frame)
    if not disconnect.readable:
        _waits_for_what_is_inside(walker, frame, disconnect, now)
        return False
    if not disconnect.fit:
        walker.judge(Anomaly.DISCONNECT_MALFORMED, frame, disconnect.oddity if disconnect.longer else "")
    if frame.stream_id or frame.frame_id:
        walker.judge(Anomaly.DISCONNECT_BAD_IDS, frame)
        disconnect.fit = False
    raw = walker.mend_flags(frame, now)
    if raw is None:
        walker.pass_on(frame, None)
        return True
    disconnect.fit = disconnect.fit and raw is frame.raw
    waits = walker.link.ledger and walker.judge(Anomaly.DISCONNECT_BEFORE_ACK, frame) is Action.REORDER
    if waits:
        conv.ending.link_leaving(walker.link, LinkLoss.DISCONNECT, now, pending=disconnect)
    else:
        conv.ending.link_over(walker.link, LinkLoss.DISCONNECT, now, pending=disconnect)
    return True


def behind_disconnect(walker: AgentStream, frame: frames.Frame, now: float) -> None:
    """Handle a frame after the HAPROXY-DISCONNECT to this agent: only an ACK that is still awaited passes.

    The other frames are anomalies unless they were to be expected.
    """
    conv = walker.conv
    if frame.type == frames.ACK and conv.progress.state is SessionState.RUNNING and conv.notifies.fate(frame.ids) is Fate.OPEN:
        settle_ack(walker, frame, now)
        return
    if frame.type == frames.ACK and send_to_its_session(walker, frame):
        return
    walker.pass_on(frame, None)
    anomaly = Anomaly.FRAME_AFTER_DISCONNECT
    if frame.type == frames.AGENT_HELLO and not walker.link.got_hello:
        return
    if frame.type == frames.ACK:
        anomaly = UNWANTED[conv.notifies.fate(frame.ids)]
    elif frame.type == frames.AGENT_DISCONNECT:
        if not walker.link.got_disconnect:
            note_disconnect(walker, frame)
            return
        anomaly = Anomaly.DISCONNECT_REPEATED
    walker.judge(anomaly, frame, action=Action.DROP)


def _waits_for_what_is_inside(walker: AgentStream, frame: frames.Frame, disconnect: disconnects.Disconnect, now: float) -> None:
    conv = walker.conv
    walker.judge(Anomaly.DISCONNECT_MALFORMED, frame, "its payload does not parse; it may hold other frames")
    status = disconnects.clamp(disconnect.status or disconnects.STATUS_NORMAL)
    conv.ending.link_leaving(walker.link, LinkLoss.DISCONNECT, now, status)
