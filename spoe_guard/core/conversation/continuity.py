"""How a session outlives its agent links: what is lost is replaced, and NOTIFYs wait meanwhile.

With ``give_up_s`` 0, in a health check and in observe mode it does not: there the session ends with its link.
"""

import math
from collections.abc import Collection
from typing import Final

from spoe_guard.core.conversation.agent_link import AgentLink
from spoe_guard.core.conversation.backoff import Backoff
from spoe_guard.core.conversation.conversation import LastWord
from spoe_guard.core.conversation.dispatch import Dispatch
from spoe_guard.core.conversation.ledger import LOSS_MATTERS_S
from spoe_guard.core.conversation.parking import Parked
from spoe_guard.core.conversation.place import Place
from spoe_guard.core.payloads import disconnect as goodbye
from spoe_guard.core.payloads.hello import PARALLEL, PIPELINING
from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.config import Redispatch, SessionConfig
from spoe_guard.core.terms.events import (
    AgentUnreachable,
    DialFailure,
    EndedBy,
    EndReason,
    LinkLoss,
    LinkLost,
    LinkReason,
    LinkUp,
    UnansweredReason,
)
from spoe_guard.core.terms.states import MEETING, LinkState, SessionState
from spoe_guard.core.terms.tally import Tally
from spoe_guard.wire import frame

LINGERING: Final = 16  # links, beside ``max_links``, that take no more NOTIFYs and are not closed yet

_MAKING: Final = frozenset((LinkState.DIALLING, LinkState.AGENT_HELLO))


class Continuity(Dispatch):
    """State and means of one session, its end, its NOTIFYs, and the coming and going of its agent links.

    ``away_since``: when a link was first wanted and none was there; infinity while one is, or none is wanted.
    """

    def __init__(self, config: SessionConfig, tally: Tally, place: Place) -> None:
        super().__init__(config, tally, place)
        self.backoff = Backoff(place.spread)
        self.away_since = math.inf
        self._numbers = 1
        self._last_failure = ""

    @property
    def wanting(self) -> bool:
        """Whether a link is wanted that is not there: HAProxy waits for AGENT-HELLO, or NOTIFYs for a link."""
        return self.lasts and (self.state in MEETING or len(self.parking) > 0)

    @property
    def running(self) -> int:
        """How many links have an agent that takes NOTIFYs."""
        return sum(1 for link in self.links.values() if link.state is LinkState.RUNNING)

    # --- a link comes --------------------------------------------------------------------------------------------------

    def up(self, link: AgentLink, size: int, now: float, capabilities: Collection[str]) -> None:
        """The agent of ``link`` said HELLO: it takes NOTIFYs of ``size`` bytes, one at a time without pipelining."""
        config, bound = self.config, self.in_flight
        parallel = not PARALLEL.isdisjoint(capabilities)
        reason = LinkReason.PARALLEL if self.running else LinkReason.REPLACEMENT
        if self.offer is not None and self.offer.healthcheck:
            reason = LinkReason.CHECK
        elif self.state is not SessionState.RUNNING:
            reason = LinkReason.FIRST
        if self.state is not SessionState.RUNNING:
            bridged = bound > 0 and self.offer is not None and PIPELINING in self.offer.asked
            self.told_size = size
            self.one_at_a_time = not parallel and not bridged
            self.most_unjudged = 1 if self.one_at_a_time else config.open_notifies
        serial = not self.one_at_a_time and not parallel
        link.ledger.size = min(size, config.held_bytes - frame.LENGTH_BYTES)  # observed, sizes are not clamped
        link.limited = serial or bound > 0
        link.most = 1 if serial else min(bound or config.open_notifies, config.open_notifies)
        link.ledger.most_kept = config.held_bytes if config.redispatch is Redispatch.UNANSWERED and self.lasts else 0
        link.ledger.heard = now
        self.enter(SessionState.RUNNING)
        link.enter(LinkState.RUNNING)
        self.events.append(LinkUp(reason, max(now - self.away_since, 0.0)))
        self.away_since = math.inf

    # --- a link goes ---------------------------------------------------------------------------------------------------

    def part(self, link: AgentLink, now: float, loss: LinkLoss) -> None:
        """The agent takes no more NOTIFYs, and may still answer those it has."""
        link.enter(LinkState.LEAVING)
        link.leaving_as = loss
        link.held_since = now
        link.leave_by = now + self.config.disconnect_hold_s

    def lose(self, link: AgentLink, now: float, loss: LinkLoss) -> None:
        """End ``link``; what its agent did not answer goes to another one, or counts as unanswered."""
        had = [(ids, since, link.ledger.copy(ids)) for ids, since in link.ledger.items()]
        link.ledger.clear()
        longest = self.config.answer_deadline_s or LOSS_MATTERS_S
        lost: list[bytes] = []
        for ids, since, copy in had:
            if (
                copy is None
                or now >= since + longest
                or not self.wait(Parked(ids, copy, since, again=True, ours=True, lost_at=now, next_link=self._numbers))
            ):
                lost.append(ids)
        if lost:
            self._settle(lost, now, UnansweredReason.AGENT_GONE)
        self.events.append(LinkLost(loss, len(had), len(had) - len(lost)))
        useful = link.ledger.useful or (link.said_goodbye and not had) or loss is LinkLoss.RETIRED
        self._end_link(link, now)
        if useful:
            self.backoff.worked()
        elif had:
            self.backoff.failed(now)
        else:
            self.backoff.pause(now)
        if self.config.redispatch is Redispatch.OFF and not self.running:
            for waits in list(self.parking):
                self.give_up(waits.ids, now, UnansweredReason.AGENT_GONE)

    def unblock(self, link: AgentLink, now: float) -> None:
        """End a link that a NOTIFY has blocked for too long: its answer, should it come, would meet the next one's."""
        if link.ledger.since() <= min(link.owing.values(), default=math.inf):
            self.give_up(link.ledger.oldest(), now, UnansweredReason.DEADLINE)
        self.lose(link, now, LinkLoss.DEADLINE)

    def not_reached(self, link: AgentLink, reason: DialFailure, detail: str, now: float) -> None:
        """A dial failed: schedule a retry, or give up."""
        self.events.append(AgentUnreachable(reason, detail))
        if not self.lasts or (self.state is not SessionState.RUNNING and self.place.refusals.away):
            self._unreachable(detail, now)
            return
        self._last_failure = detail
        self.backoff.failed(now)
        self._end_link(link, now)

    def despair(self, now: float) -> None:
        """No agent was there for ``give_up_s``."""
        self.place.refusals.away = True
        for link in self.links.values():
            if link.state is LinkState.DIALLING:  # it would come too late
                self._end_link(link, now)
        self._unreachable(f"no agent for {self.config.give_up_s:g} s; the last try: {self._last_failure or 'none'}", now)

    def _unreachable(self, detail: str, now: float) -> None:
        """There is no agent: HAProxy is told, slowly where it has no AGENT-HELLO yet."""
        action = self.judge(Side.AGENT, Anomaly.AGENT_UNREACHABLE, b"", 0, detail=detail)
        if action is not Action.ANSWER:
            self.finish(now, EndedBy.AGENT, EndReason.UNREACHABLE, word=LastWord.CLOSE)
        elif self.state is SessionState.RUNNING:
            self.finish(now, EndedBy.AGENT, EndReason.UNREACHABLE, status=goodbye.STATUS_RESOURCES)
        else:
            self.refuse(now, EndedBy.AGENT, EndReason.UNREACHABLE, goodbye.STATUS_RESOURCES, "the agent is unreachable")

    def _end_link(self, link: AgentLink, now: float) -> None:
        self._dismiss(link, now)
        link.leave_by = math.inf
        if not link.done:
            link.close_by = now + self.config.close_s

    # --- what is to be done about it -------------------------------------------------------------------------------------

    def pump(self, now: float) -> None:
        """Send what waits where there is room, and have a link made for what still waits."""
        if not self.lasts:
            self.away_since = math.inf
            return
        for link in list(self.links.values()):
            if link.state is LinkState.LEAVING and not link.ledger:
                self.lose(link, now, link.leaving_as)
        self.send_parked(now)
        self.away_since = min(self.away_since, now) if self.wanting and not self.running else math.inf
        while now >= self.may_open_at():
            self._open_link(now)

    def wind_up(self, now: float) -> None:
        """End what waits for open NOTIFYs only, once none is."""
        if self.open_notifies or self.parking.bytes:
            return
        if self.state is SessionState.LEAVING:
            self.leave(now)
        elif self.draining and self.state is SessionState.RUNNING and now >= self.quiet_at:
            self.finish(now, EndedBy.GUARD, EndReason.DRAIN)

    def may_open_at(self) -> float:
        """Return when the next link may be opened: infinity where none is wanted or no more may be."""
        if not self.wanting:
            return math.inf
        making = sum(1 for link in self.links.values() if link.state in _MAKING)
        alive = sum(1 for link in self.links.values() if not link.done)
        wanted = -(-len(self.parking) // self.config.in_flight) if self.config.in_flight else 1
        if making >= max(wanted, 1) or making + self.running >= self.config.max_links:
            return math.inf
        return self.backoff.retry_at if alive < self.config.max_links + LINGERING else math.inf

    def _open_link(self, now: float) -> None:
        link = AgentLink(self._numbers, self.history, self.agent_books)
        self._numbers += 1
        self.links[link.number] = link
        self.dial(link, now)

    def patience_ends(self) -> float:
        """Return when what waits has waited long enough: for any link, or for room on one."""
        return min(self.away_since + self.config.give_up_s, self.parking.since() + self._longest_wait_s, self.doubted_until())

    def lose_patience(self, now: float) -> None:
        """Count NOTIFYs as unanswered that agents have in hand, or that wait for one, for too long."""
        deadline = self.config.answer_deadline_s or math.inf
        for link in self.links.values():
            while now >= link.ledger.since() + deadline:
                self.give_up(link.ledger.oldest(), now, UnansweredReason.DEADLINE)
        while now >= self.parking.since() + self._longest_wait_s:
            self.give_up(self.parking.oldest().ids, now, UnansweredReason.DEADLINE)

    @property
    def _longest_wait_s(self) -> float:
        """For one NOTIFY alone: what waits while no agent is there is given up with the session, of which HAProxy is told."""
        room_s = self.config.give_up_s if self.away_since == math.inf else math.inf
        return min(room_s, self.config.answer_deadline_s or math.inf)
