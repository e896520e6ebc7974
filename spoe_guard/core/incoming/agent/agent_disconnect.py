"""What becomes of an agent's DISCONNECT, and of what comes behind the last word."""

from spoe_guard.core.conversation.ledger import Fate
from spoe_guard.core.incoming.agent.ack import UNWANTED, settle_ack
from spoe_guard.core.incoming.agent.agent_hello import note_goodbye
from spoe_guard.core.incoming.agent.agent_stream import AgentStream
from spoe_guard.core.incoming.agent.foreign_ack import send_home
from spoe_guard.core.payloads import disconnect as goodbye
from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.core.terms.events import LinkLoss
from spoe_guard.core.terms.states import SessionState
from spoe_guard.wire import frame as frames


def judge_goodbye(walker: AgentStream, frame: frames.Frame, now: float) -> bool:
    """AGENT-DISCONNECT: the end of its link, or of the session, once what is open was answered.

    False where its payload is no list: then the caller looks for frames inside it.
    """
    conv = walker.conv
    word = note_goodbye(walker, frame)
    if not word.readable:
        _waits_for_what_is_inside(walker, frame, word, now)
        return False
    if not word.fit:
        walker.judge(Anomaly.DISCONNECT_MALFORMED, frame)
    if frame.stream_id or frame.frame_id:
        walker.judge(Anomaly.DISCONNECT_BAD_IDS, frame)
        word.fit = False
    raw = walker.mend_flags(frame, now)
    if raw is None:
        walker.pass_on(frame, None)
        return True
    word.fit = word.fit and raw is frame.raw
    waits = walker.link.ledger and walker.judge(Anomaly.DISCONNECT_BEFORE_ACK, frame) is Action.REORDER
    if waits:
        conv.ending.link_leaving(walker.link, LinkLoss.DISCONNECT, now, pending=word)
    else:
        conv.ending.link_over(walker.link, LinkLoss.DISCONNECT, now, pending=word)
    return True


def behind_last_word(walker: AgentStream, frame: frames.Frame, now: float) -> None:
    """A frame behind the guard's last word to this agent: only an ACK that is still waited for passes.

    Of the others only the expected is no anomaly.
    """
    conv = walker.conv
    if frame.type == frames.ACK and conv.progress.state is SessionState.RUNNING and conv.notifies.fate(frame.ids) is Fate.OPEN:
        settle_ack(walker, frame, now)
        return
    if frame.type == frames.ACK and send_home(walker, frame):
        return
    walker.pass_on(frame, None)
    anomaly = Anomaly.FRAME_AFTER_DISCONNECT
    if frame.type == frames.AGENT_HELLO and not walker.link.got_hello:
        return
    if frame.type == frames.ACK:
        anomaly = UNWANTED[conv.notifies.fate(frame.ids)]
    elif frame.type == frames.AGENT_DISCONNECT:
        if not walker.link.got_disconnect:
            note_goodbye(walker, frame)
            return
        anomaly = Anomaly.DISCONNECT_REPEATED
    walker.judge(anomaly, frame, action=Action.DROP)


def _waits_for_what_is_inside(walker: AgentStream, frame: frames.Frame, word: goodbye.Goodbye, now: float) -> None:
    conv = walker.conv
    walker.judge(Anomaly.DISCONNECT_MALFORMED, frame, "its payload does not parse; it may hold other frames")
    status = goodbye.clamp(word.status or goodbye.STATUS_NORMAL)
    conv.ending.link_leaving(walker.link, LinkLoss.DISCONNECT, now, status)
