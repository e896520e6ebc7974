"""What becomes of an agent's DISCONNECT, and of what comes behind the last word."""

from spoe_guard.core.conversation.ledger import Fate
from spoe_guard.core.incoming.agent.ack import UNWANTED, settle_ack
from spoe_guard.core.incoming.agent.agent_hello import note_goodbye
from spoe_guard.core.incoming.agent.agent_stream import AgentStream
from spoe_guard.core.incoming.agent.foreign_ack import send_home
from spoe_guard.core.payloads import disconnect as goodbye
from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.core.terms.events import EndedBy, EndReason, LinkLoss
from spoe_guard.core.terms.states import SessionState
from spoe_guard.wire import frame


def judge_goodbye(walker: AgentStream, said: frame.Frame, now: float) -> bool:
    """AGENT-DISCONNECT: the end of its link, or of the session, once what is open was answered.

    False where its payload is no list: then the caller looks for frames inside it.
    """
    conv = walker.conv
    word = note_goodbye(walker, said)
    if not word.readable:
        _waits_for_what_is_inside(walker, said, word, now)
        return False
    if not word.fit:
        walker.judge(Anomaly.DISCONNECT_MALFORMED, said, now)
    if said.stream_id or said.frame_id:
        walker.judge(Anomaly.DISCONNECT_BAD_IDS, said, now)
        word.fit = False
    raw = walker.mend_flags(said, now)
    if raw is None:
        walker.pass_on(said, None)
        return True
    word.fit = word.fit and raw is said.raw
    waits = walker.link.ledger and walker.judge(Anomaly.DISCONNECT_BEFORE_ACK, said, now) is Action.REORDER
    if conv.lasts:  # HAProxy hears nothing of it
        walker.pass_on(said, None)
        if waits:
            conv.part(walker.link, now, LinkLoss.DISCONNECT)
        else:
            conv.lose(walker.link, now, LinkLoss.DISCONNECT)
    elif waits:
        conv.hold(walker.link, word, now, EndedBy.AGENT, EndReason.DISCONNECT, goodbye.STATUS_NORMAL)
    else:
        conv.held = word
        conv.finish(now, EndedBy.AGENT, EndReason.DISCONNECT)
    return True


def behind_last_word(walker: AgentStream, said: frame.Frame, now: float) -> None:
    """A frame behind the guard's last word to this agent: only an ACK that is still waited for passes.

    Of the others only the expected is no anomaly.
    """
    if said.type == frame.ACK and walker.conv.state is SessionState.RUNNING and walker.conv.fate(said.ids) is Fate.OPEN:
        settle_ack(walker, said, now)
        return
    if said.type == frame.ACK and send_home(walker, said, now):
        return
    walker.pass_on(said, None)
    anomaly = Anomaly.FRAME_AFTER_DISCONNECT
    if said.type == frame.AGENT_HELLO and not walker.link.said_hello:
        return
    if said.type == frame.ACK:
        anomaly = UNWANTED[walker.conv.fate(said.ids)]
    elif said.type == frame.AGENT_DISCONNECT:
        if not walker.link.said_goodbye:
            note_goodbye(walker, said)
            return
        anomaly = Anomaly.DISCONNECT_REPEATED
    walker.judge(anomaly, said, now, action=Action.DROP)


def _waits_for_what_is_inside(walker: AgentStream, said: frame.Frame, word: goodbye.Goodbye, now: float) -> None:
    conv = walker.conv
    walker.judge(Anomaly.DISCONNECT_MALFORMED, said, now, "its payload does not parse; it may hold other frames")
    if conv.lasts:
        conv.part(walker.link, now, LinkLoss.DISCONNECT)
    else:
        conv.hold(
            walker.link, None, now, EndedBy.AGENT, EndReason.DISCONNECT, goodbye.clamp(word.status or goodbye.STATUS_NORMAL)
        )
