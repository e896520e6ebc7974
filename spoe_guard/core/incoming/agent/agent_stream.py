"""One agent link as the modules that handle its agent's frames see it."""

from typing import Final

from spoe_guard.core.conversation.agent_link import AgentLink
from spoe_guard.core.conversation.conversation import Conversation
from spoe_guard.core.incoming.walker import Walker
from spoe_guard.core.payloads import disconnect as disconnects
from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.events import AuthoredReason, DialFailure, EndedBy, EndReason, LinkLoss
from spoe_guard.core.terms.family import Family
from spoe_guard.core.terms.states import LinkState, SessionState
from spoe_guard.wire import frame as frames

_SIGN: Final = frames.MAX_STREAM_ID + 1  # HAProxy cuts an id to 32 bits: with this one it is none that HAProxy can have
# HAProxy had chosen the id itself, or is not there yet.
_NAMED: Final = frozenset((Anomaly.LATE_ACK, Anomaly.DUPLICATE_ACK, Anomaly.FRAME_BEFORE_HELLO))
_WITHOUT_STREAM: Final = frozenset((frames.AGENT_HELLO, frames.AGENT_DISCONNECT))


class AgentStream(Walker):
    """The bytes of one agent ``link`` on their way to HAProxy."""

    def __init__(self, conversation: Conversation, link: AgentLink, *, fast: bool) -> None:
        super().__init__(conversation, Side.AGENT, conversation.to_haproxy.outlet, fast=fast)
        self.link = link

    def leave_if_answered(self, now: float) -> None:
        """End a leaving link after its last open answer: the rest of the same write comes after the end."""
        if self.link.state is LinkState.LEAVING and not self.link.ledger:
            self.conv.ending.link_answered(self.link, now)

    def limit(self) -> int:
        """The negotiated size, or the offered one while nothing is negotiated yet."""
        return min(self.link.size, self.conv.config.held_bytes - frames.LENGTH_BYTES)  # in observe mode sizes are not clamped

    def author(self, data: bytes, reason: AuthoredReason) -> None:
        """Write a whole frame to HAProxy."""
        self.conv.to_haproxy.author(data, reason)

    def action(self, anomaly: Anomaly) -> Action | None:
        """Some defaults differ towards a HAProxy that is known to be 3.0 or older."""
        return self.conv.report.policy.action(self.side, anomaly, applet=self.conv.to_haproxy.family is Family.APPLET)

    def unasked(self, anomaly: Anomaly, frame: frames.Frame, now: float, whole: bytes | None = None) -> None:
        """Do the same as any walker; one that may end HAProxy has a name of its own, which no policy passes."""
        deadly = frame.stream_id & _SIGN and self.conv.to_haproxy.family is not Family.APPLET
        super().unasked(Anomaly.IMPOSSIBLE_STREAM_ID if deadly and anomaly not in _NAMED else anomaly, frame, now, whole)

    def can_take(self, frame: frames.Frame) -> bool:
        """Whether HAProxy survives ``frame`` unasked; one with a stream-id that HAProxy cannot have never goes out.

        HAProxy 3.1.8 to 3.5-dev5 may not survive one, and for a 0 it ends the connection, but in HELLO and DISCONNECT
        (``spop_process_demux``). This is the only way out for a frame that HAProxy does not wait for, whatever the policy: HELLO
        and DISCONNECT are written anew with ids 0 where they have others, and an ACK that is repaired, put together or found in
        pieces passes only if its NOTIFY is open here. Such an ACK may have any id, since HAProxy itself chose it: up to 3.0 it
        numbers its streams from 0 to 2^32 - 1.
        """
        if frame.stream_id == 0:
            return frame.type in _WITHOUT_STREAM and super().can_take(frame)
        return frame.stream_id <= frames.MAX_STREAM_ID and super().can_take(frame)

    def end_flood(self, now: float) -> None:
        """End the session; before AGENT-HELLO refuse HAProxy, after a delay, because up to 3.0 it connects again at once."""
        if self.link.state is LinkState.AGENT_HELLO:
            self.fail(now)
        else:
            super().end_flood(now)

    def fail(self, now: float, status: int = disconnects.STATUS_INVALID) -> None:
        """End the link, or the session with it; before AGENT-HELLO refuse HAProxy, after a delay."""
        ending, state = self.conv.ending, self.link.state
        if state is not LinkState.AGENT_HELLO:
            ending.link_over(self.link, LinkLoss.ANOMALY, now, status)
        elif self.conv.progress.state is SessionState.RUNNING:
            ending.link_not_reached(self.link, DialFailure.OTHER, "its AGENT-HELLO cannot be used", now)
        else:
            ending.refuse(now, EndedBy.GUARD, EndReason.ANOMALY, status)
