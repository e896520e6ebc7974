"""One agent link as the modules that handle its agent's frames see it."""

from spoe_guard.core.conversation.agent_link import AgentLink
from spoe_guard.core.conversation.conversation import Conversation
from spoe_guard.core.incoming.walker import Walker
from spoe_guard.core.payloads import disconnect as disconnects
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.events import AuthoredReason, DialFailure, EndedBy, EndReason, LinkLoss
from spoe_guard.core.terms.states import LinkState, SessionState
from spoe_guard.wire import frame as frames


class AgentStream(Walker):
    """The bytes of one agent ``link`` on their way to HAProxy."""

    def __init__(self, conversation: Conversation, link: AgentLink, *, fast: bool) -> None:
        super().__init__(conversation, Side.AGENT, conversation.to_haproxy.outlet, fast=fast)
        self.link = link

    def limit(self) -> int:
        """The negotiated size, or the offered one while nothing is negotiated yet."""
        return min(self.link.size, self.conv.config.held_bytes - frames.LENGTH_BYTES)  # in observe mode sizes are not clamped

    def author(self, data: bytes, reason: AuthoredReason) -> None:
        """Write a whole frame to HAProxy."""
        self.conv.to_haproxy.author(data, reason)

    def fail(self, now: float, status: int = disconnects.STATUS_INVALID) -> None:
        """End the link, or the session with it; before AGENT-HELLO refuse HAProxy, after a delay."""
        ending, state = self.conv.ending, self.link.state
        if state is not LinkState.AGENT_HELLO:
            ending.link_over(self.link, LinkLoss.ANOMALY, now, status)
        elif self.conv.progress.state is SessionState.RUNNING:
            ending.link_not_reached(self.link, DialFailure.OTHER, "its AGENT-HELLO cannot be used", now)
        else:
            ending.refuse(now, EndedBy.GUARD, EndReason.ANOMALY, status)
