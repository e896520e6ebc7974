"""What takes too long in a session, and when the next thing will have."""

import math
from collections.abc import Mapping
from typing import Final

from spoe_guard.core.conversation.agent_link import AgentLink
from spoe_guard.core.conversation.continuity import Continuity
from spoe_guard.core.conversation.ledger import LOSS_MATTERS_S
from spoe_guard.core.incoming.agent.from_agent import FromAgent
from spoe_guard.core.incoming.haproxy.from_haproxy import FromHAProxy
from spoe_guard.core.lane import Lane
from spoe_guard.core.payloads.disconnect import STATUS_TIMEOUT
from spoe_guard.core.terms.events import DialFailure, EndedBy, EndReason, LinkLoss
from spoe_guard.core.terms.output import Close
from spoe_guard.core.terms.states import LinkState, SessionState

EXTRA_IDLE_S: Final = 10.0  # how long a link beside others may be idle where ``retire_s`` says nothing


class Deadlines:
    """The times of one session."""

    def __init__(self, conv: Continuity, from_haproxy: FromHAProxy, agents: Mapping[int, FromAgent], lane: Lane) -> None:
        config = conv.config
        self._conv = conv
        self._from_haproxy = from_haproxy
        self._agents = agents
        self._lane = lane
        # The shortest of the times that begin with an ordinary frame: an ordinary step asks for nothing sooner.
        replaceable = EXTRA_IDLE_S if config.give_up_s > 0 else math.inf
        self.soonest_s = min(config.answer_deadline_s or math.inf, config.retire_s or math.inf, replaceable)

    def next(self) -> float:
        """Return when there may be something to do."""
        conv, config = self._conv, self._conv.config
        if conv.state is SessionState.CLOSED:
            return math.inf
        if conv.state is SessionState.CLOSING:
            return min(conv.close_by, conv.pace_by)
        by = min(conv.hello_by, conv.hold_by, conv.pace_by, conv.patience_ends(), conv.may_open_at())
        if conv.draining and not conv.open_notifies and not conv.parking and conv.state is SessionState.RUNNING:
            by = min(by, conv.quiet_at)
        by = min(by, self._from_haproxy.inlet.since + config.frame_s, self._lane.active + config.idle_s)
        return min(by, *(self._next_on(agent) for agent in self._agents.values())) if self._agents else by

    def _next_on(self, agent: FromAgent) -> float:
        config, link = self._conv.config, agent.link
        by = min(link.connect_by, link.hello_by, link.leave_by, link.close_by)
        if link.state is LinkState.CLOSING:
            return by
        by = min(by, agent.inlet.since + config.frame_s, agent.fragments.by, self._idle_until(link), self._blocked_until(link))
        return min(by, link.ledger.since() + (config.answer_deadline_s or math.inf))

    def overdue(self, now: float) -> None:
        """Deal with a dial or HELLO that takes too long, frames that stand still, NOTIFYs past their deadline, no word at all."""
        conv, config = self._conv, self._conv.config
        for agent in self._agents.values():
            if self._overdue_on(agent, now):
                return
        if now >= self._from_haproxy.inlet.since + config.frame_s:
            self._from_haproxy.truncated(_stuck(config.frame_s))
            conv.finish(now, EndedBy.HAPROXY, EndReason.FRAME_TIMEOUT, status=STATUS_TIMEOUT)
        elif now >= self._lane.active + config.idle_s:
            conv.finish(now, EndedBy.GUARD, EndReason.IDLE_TIMEOUT, status=STATUS_TIMEOUT)
        elif now >= conv.away_since + config.give_up_s:
            conv.despair(now)
        else:
            conv.lose_patience(now)

    def _overdue_on(self, agent: FromAgent, now: float) -> bool:
        """Deal with what takes too long on one link; False when nothing does."""
        conv, config, link = self._conv, self._conv.config, agent.link
        if now >= link.connect_by:
            link.shut(Close.ABORT)
            conv.not_reached(link, DialFailure.TIMEOUT, f"no connection within {config.connect_s:g} s", now)
        elif now >= link.hello_by:
            conv.not_reached(link, DialFailure.HELLO_TIMEOUT, f"no AGENT-HELLO within {config.hello_s:g} s", now)
        elif now >= link.leave_by:
            conv.lose(link, now, link.leaving_as)
        elif now >= link.close_by:
            link.shut()
        elif link.state is LinkState.CLOSING:
            return False
        elif now >= agent.inlet.since + config.frame_s:
            self._stands_still(agent, now)
        elif now >= agent.fragments.by:
            agent.fragments.over(now, _stuck(config.frame_s))
        elif now >= self._idle_until(link):
            conv.lose(link, now, LinkLoss.RETIRED)
        elif now >= self._blocked_until(link):
            conv.unblock(link, now)
        else:
            return False
        return True

    def _stands_still(self, agent: FromAgent, now: float) -> None:
        """An agent does not go on with a frame it began."""
        agent.truncated(_stuck(self._conv.config.frame_s))
        if self._conv.lasts:
            self._conv.lose(agent.link, now, LinkLoss.FRAME_TIMEOUT)
        else:
            self._conv.finish(now, EndedBy.AGENT, EndReason.FRAME_TIMEOUT, status=STATUS_TIMEOUT)

    def _idle_until(self, link: AgentLink) -> float:
        """Return when ``link`` has been idle long enough to be closed."""
        conv = self._conv
        if link.state is not LinkState.RUNNING or link.ledger or not conv.lasts:
            return math.inf
        return link.ledger.heard + (conv.config.retire_s or (EXTRA_IDLE_S if conv.running > 1 else math.inf))

    def _blocked_until(self, link: AgentLink) -> float:
        """Return when a link with a bound on its NOTIFYs has been blocked by one of them for too long."""
        if not link.limited or not self._conv.lasts:
            return math.inf
        oldest = min((link.ledger.since(), *link.owing.values()), default=math.inf)
        return oldest + (self._conv.config.answer_deadline_s or LOSS_MATTERS_S)


def _stuck(frame_s: float) -> str:
    return f"no more of it within {frame_s:g} s"
