"""One agent link as those see it who deal with a frame of its agent."""

from spoe_guard.core.conversation.agent_link import AgentLink
from spoe_guard.core.conversation.continuity import Continuity
from spoe_guard.core.incoming.walker import Walker
from spoe_guard.core.payloads import disconnect as goodbye
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.events import AuthoredReason, DialFailure, EndedBy, EndReason, LinkLoss
from spoe_guard.core.terms.states import LinkState, SessionState
from spoe_guard.wire import frame


class AgentStream(Walker):
    """The bytes of one agent ``link`` on their way to HAProxy."""

    def __init__(self, conversation: Continuity, link: AgentLink, *, fast: bool) -> None:
        super().__init__(conversation, Side.AGENT, conversation.to_haproxy, fast=fast)
        self.link = link

    def limit(self) -> int:
        """What was negotiated, or offered while nothing is negotiated yet."""
        return min(self.link.size, self.conv.config.held_bytes - frame.LENGTH_BYTES)  # observed, sizes are not clamped

    def author(self, data: bytes, reason: AuthoredReason) -> None:
        """Write a whole frame to HAProxy."""
        self.conv.tell_haproxy(data, reason)

    def fail(self, now: float, status: int = goodbye.STATUS_INVALID) -> None:
        """End the session; before AGENT-HELLO that is a refusal, of which HAProxy is told slowly."""
        conv, state = self.conv, self.link.state
        if conv.lasts and state is LinkState.CLOSING:
            self.link.shut()  # it was told goodbye already
        elif conv.lasts and state is not LinkState.AGENT_HELLO:  # it is this link that cannot go on
            conv.lose(self.link, now, LinkLoss.ANOMALY)
        elif conv.lasts and conv.state is SessionState.RUNNING:
            conv.not_reached(self.link, DialFailure.OTHER, "its AGENT-HELLO cannot be used", now)
        elif state is LinkState.AGENT_HELLO:
            conv.refuse(now, EndedBy.GUARD, EndReason.ANOMALY, status, "")
        else:
            super().fail(now, status)
