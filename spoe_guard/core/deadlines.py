"""Which waits of a session have expired, and when the next one will."""

import math
from collections.abc import Mapping

from spoe_guard.core.conversation.agent_link import AgentLink
from spoe_guard.core.conversation.conversation import Conversation
from spoe_guard.core.conversation.links import EXTRA_IDLE_S
from spoe_guard.core.incoming.agent.from_agent import FromAgent
from spoe_guard.core.incoming.haproxy.from_haproxy import FromHAProxy
from spoe_guard.core.lane import Lane
from spoe_guard.core.payloads.disconnect import STATUS_TIMEOUT
from spoe_guard.core.terms.events import DialFailure, EndedBy, EndReason, LinkLoss
from spoe_guard.core.terms.output import Close
from spoe_guard.core.terms.states import LinkState, SessionState


class Deadlines:
    """The deadlines of one session."""

    def __init__(self, conv: Conversation, from_haproxy: FromHAProxy, agents: Mapping[int, FromAgent], lane: Lane) -> None:
        config = conv.config
        self._conv = conv
        self._from_haproxy = from_haproxy
        self._agents = agents
        self._lane = lane
        # The shortest of the deadlines that an ordinary frame starts: an ordinary step needs no earlier one.
        replaceable = EXTRA_IDLE_S if config.give_up_s > 0 else math.inf
        self.soonest_s = min(config.answer_deadline_s or math.inf, config.retire_s or math.inf, replaceable)

    def next(self) -> float:
        """Return the time of the next deadline."""
        conv, config = self._conv, self._conv.config
        state, ending, links = conv.progress.state, conv.ending, conv.links
        if state is SessionState.CLOSED:
            return math.inf
        if state is SessionState.CLOSING:
            return min(ending.close_by, conv.to_haproxy.due, conv.to_haproxy.fin_by)
        if conv.notifies.unfinished:
            return -math.inf
        by = min(conv.progress.hello_by, ending.wait_by, conv.to_haproxy.due, links.patience_ends(), links.may_open_at())
        if ending.draining and conv.notifies.idle and state is SessionState.RUNNING:
            by = min(by, ending.quiet_at)
        by = min(by, self._from_haproxy.inlet.since + config.frame_s, self._lane.active + config.idle_s)
        by = min(by, self._from_haproxy.fragments.by)
        idle_s = links.longest_idle_s()
        return min(by, *(self._next_on(agent, idle_s) for agent in self._agents.values())) if self._agents else by

    def _next_on(self, agent: FromAgent, idle_s: float) -> float:
        config, link = self._conv.config, agent.link
        by = min(link.connect_by, link.hello_by, link.leave_by, link.close_by)
        if link.state is LinkState.CLOSING:
            return by
        blocked_until = self._conv.links.blocked_until(link)
        by = min(by, agent.inlet.since + config.frame_s, agent.fragments.by, _idle_until(link, idle_s), blocked_until)
        return min(by, link.ledger.since() + (config.answer_deadline_s or math.inf))

    def overdue(self, now: float) -> None:
        """Handle an expired dial or HELLO, an incomplete frame, NOTIFYs past their deadline, and an idle session."""
        conv, config = self._conv, self._conv.config
        conv.notifies.settle_more(now)
        idle_s = conv.links.longest_idle_s()
        for agent in self._agents.values():
            if self._overdue_on(agent, idle_s, now):
                return
        if now >= self._from_haproxy.inlet.since + config.frame_s:
            self._from_haproxy.truncated(_stuck(config.frame_s))
            conv.ending.finish(now, EndedBy.HAPROXY, EndReason.FRAME_TIMEOUT, status=STATUS_TIMEOUT)
        elif now >= self._lane.active + config.idle_s:
            conv.ending.finish(now, EndedBy.GUARD, EndReason.IDLE_TIMEOUT, status=STATUS_TIMEOUT)
        elif now >= self._from_haproxy.fragments.by:
            self._from_haproxy.fragments.overdue(self._from_haproxy, now)
        elif now >= conv.links.no_agent_at():
            conv.ending.no_agent(conv.links.no_agent(), now)
        else:
            conv.links.expire_notifies(now)
            mute = conv.links.mute()
            if mute is not None and not config.observe:
                conv.ending.link_over(mute, LinkLoss.DEADLINE, now)

    def _overdue_on(self, agent: FromAgent, idle_s: float, now: float) -> bool:
        """Handle one expired deadline of a link; False if there is none."""
        conv, config, link = self._conv, self._conv.config, agent.link
        if now >= link.connect_by:
            link.close(Close.ABORT)
            conv.ending.link_not_reached(link, DialFailure.TIMEOUT, f"no connection within {config.connect_s:g} s", now)
        elif now >= link.hello_by:
            conv.ending.link_not_reached(link, DialFailure.HELLO_TIMEOUT, conv.links.hello_missed(), now)
            conv.route.agent.hello_missed()
        elif now >= link.leave_by:
            conv.links.lose(link, now, link.leaving_as)
        elif now >= link.close_by:
            link.close()
        elif link.state is LinkState.CLOSING:
            return False
        elif now >= agent.inlet.since + config.frame_s:
            agent.truncated(_stuck(config.frame_s))
            conv.ending.link_over(link, LinkLoss.FRAME_TIMEOUT, now)
        elif now >= agent.fragments.by:
            agent.fragments.over(agent, now, _stuck(config.frame_s))
        elif now >= _idle_until(link, idle_s):
            conv.links.lose(link, now, LinkLoss.RETIRED)
        elif now >= conv.links.blocked_until(link):
            conv.links.unblock(link, now)
        else:
            return False
        return True


def _idle_until(link: AgentLink, idle_s: float) -> float:
    """Return when ``link`` will have been idle for so long."""
    return math.inf if link.state is not LinkState.RUNNING or link.ledger else link.ledger.heard + idle_s


def _stuck(frame_s: float) -> str:
    return f"no more of it within {frame_s:g} s"
