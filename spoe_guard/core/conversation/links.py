"""The agent links of a session: dialled, given HELLO, lost and replaced, while NOTIFYs wait.

Links are not replaced with ``give_up_s`` 0, in a health check and in observe mode: there the session ends with its link.
"""

import math
from collections.abc import Collection
from typing import Final, NamedTuple

from spoe_guard.core.conversation.agent_link import AgentLink
from spoe_guard.core.conversation.backoff import Backoff
from spoe_guard.core.conversation.ledger import LOSS_MATTERS_S, History
from spoe_guard.core.conversation.notifies import Notifies
from spoe_guard.core.conversation.outlet import ByteCounts
from spoe_guard.core.conversation.progress import Progress
from spoe_guard.core.conversation.report import Report
from spoe_guard.core.conversation.route_state import RouteState
from spoe_guard.core.payloads import disconnect as disconnects
from spoe_guard.core.payloads.hello import PARALLEL, PIPELINING, Offer
from spoe_guard.core.terms.config import Redispatch, SessionConfig
from spoe_guard.core.terms.events import (
    AgentUnreachable,
    AuthoredReason,
    DialFailure,
    DisconnectHeld,
    LinkLoss,
    LinkLost,
    LinkReason,
    LinkUp,
    UnansweredReason,
)
from spoe_guard.core.terms.output import Close, LinkOutput
from spoe_guard.core.terms.states import MEETING, LinkState, SessionState
from spoe_guard.wire import frame as frames

LINGERING: Final = 16  # most links, beyond ``max_links``, that take no more NOTIFYs and are not closed yet
EXTRA_IDLE_S: Final = 10.0  # how long an additional link may be idle if ``retire_s`` is not set

_MAKING: Final = frozenset((LinkState.DIALLING, LinkState.AGENT_HELLO))


class NoAgent(NamedTuple):
    """There is no agent, and the session does not wait for one. ``detail``: what was tried."""

    detail: str


class Links:
    """The agent links of one session.

    ``by_number``: those that are not over; only this class adds or removes one. ``books``: counts the bytes to all of them.
    ``hello``: HAPROXY-HELLO as received, while the first link is dialled. ``away_since``: since when a link is wanted and none
    is running; infinity while one is running or none is wanted.
    """

    def __init__(  # noqa: PLR0913, PLR0917  the parts below it
        self,
        config: SessionConfig,
        route: RouteState,
        progress: Progress,
        report: Report,
        history: History,
        by_number: dict[int, AgentLink],
        books: ByteCounts,
        notifies: Notifies,
    ) -> None:
        self.by_number = by_number
        self.books = books
        self.hello = b""
        self.away_since = math.inf
        self._config = config
        self._route = route
        self._progress = progress
        self._report = report
        self._history = history
        self._notifies = notifies
        self._backoff = Backoff(route.spread)
        self._next = 1  # the number of the next link
        self._last_failure = ""

    @property
    def wanting(self) -> bool:
        """Whether a missing link is wanted: HAProxy waits for AGENT-HELLO, or NOTIFYs wait for a link."""
        progress = self._progress
        return progress.outlives_links and (progress.state in MEETING or len(self._notifies.parking) > 0)

    @property
    def running(self) -> int:
        """How many links are running: their agents take NOTIFYs."""
        return sum(1 for link in self.by_number.values() if link.state is LinkState.RUNNING)

    @property
    def all_done(self) -> bool:
        """Whether no connection is left."""
        return all(link.done for link in self.by_number.values())

    @property
    def in_flight(self) -> int:
        """Most NOTIFYs open on one link, 0: no bound. A session that ends with its link has no bound."""
        return self._config.in_flight if self._progress.outlives_links else 0

    # --- a link comes --------------------------------------------------------------------------------------------------

    def offered(self, offer: Offer, raw: bytes, now: float) -> None:
        """HAPROXY-HELLO came, as ``raw``: dial the first link."""
        self._progress.offered(offer, SessionState.DIALLING)
        self.hello = raw
        self.by_number[0].dial(now + self._config.connect_s)

    def resumed(self, offer: Offer, size: int, *, one_at_a_time: bool) -> None:
        """Continue a session of the previous guard, as if the first link had been lost: HAProxy already has its AGENT-HELLO."""
        self._notifies.negotiated(size, one_at_a_time=one_at_a_time)
        self._progress.offered(offer, SessionState.RUNNING)
        self.by_number[0].end()

    def connected(self, link: AgentLink, now: float) -> None:
        """``link`` is connected: send its agent HAPROXY-HELLO."""
        offer, running = self._progress.offer, self._progress.state is SessionState.RUNNING
        if offer is None:  # pragma: no cover - nothing is dialled before there is one
            return
        if self.hello and offer.raw is self.hello:
            link.outlet.forward(offer.raw)
        elif self.hello:
            link.outlet.drop(len(self.hello))
            link.author(offer.raw, AuthoredReason.HELLO_NORMALISED)
        else:
            link.author(offer.replayed(self._notifies.told_size) if running else offer.raw, AuthoredReason.REPLAYED)
        self.hello = b""
        link.given_hello(offer.max_frame_size, now + self._config.hello_s)
        if self._progress.state is SessionState.DIALLING:
            self._progress.enter(SessionState.AGENT_HELLO)

    def up(self, link: AgentLink, size: int, now: float, capabilities: Collection[str]) -> None:
        """The agent of ``link`` sent AGENT-HELLO: it takes NOTIFYs of ``size`` bytes, one at a time without pipelining."""
        config, bound, offer = self._config, self.in_flight, self._progress.offer
        first = self._progress.state is not SessionState.RUNNING
        parallel = not PARALLEL.isdisjoint(capabilities)
        reason = LinkReason.PARALLEL if self.running else LinkReason.REPLACEMENT
        if first:
            reason = LinkReason.CHECK if self._progress.is_check else LinkReason.FIRST
            bridged = bound > 0 and offer is not None and PIPELINING in offer.asked
            self._notifies.negotiated(size, one_at_a_time=not parallel and not bridged)
        serial = not self._notifies.one_at_a_time and not parallel
        keeps = config.redispatch is Redispatch.UNANSWERED and self._progress.outlives_links
        link.run(
            min(size, config.held_bytes - frames.LENGTH_BYTES),  # in observe mode sizes are not clamped
            1 if serial else min(bound or config.open_notifies, config.open_notifies),
            config.held_bytes if keeps else 0,
            now,
            limited=serial or bound > 0,
        )
        self._progress.enter(SessionState.RUNNING)
        self._report.add(LinkUp(reason, max(now - self.away_since, 0.0)))
        self.away_since = math.inf

    # --- a link goes ---------------------------------------------------------------------------------------------------

    def leaving(self, link: AgentLink, now: float, loss: LinkLoss) -> None:
        """The agent takes no more NOTIFYs, but may still answer those it has."""
        link.leave(loss, now, now + self._config.disconnect_hold_s)

    def lose(self, link: AgentLink, now: float, loss: LinkLoss) -> None:
        """End ``link``; the NOTIFYs its agent did not answer go to another agent, or count as unanswered."""
        longest_s = self._config.answer_deadline_s or LOSS_MATTERS_S
        had, kept = self._notifies.take_back(link, now, longest_s, self._next)
        self._report.add(LinkLost(loss, had, kept))
        worked = link.ledger.answered_once or (link.got_disconnect and not had) or loss is LinkLoss.RETIRED
        self._end(link, now)
        if worked:
            self._backoff.worked()
        elif had:
            self._backoff.failed(now)
        else:
            self._backoff.pause(now)
        if self._config.redispatch is Redispatch.OFF and not self.running:
            for notify in list(self._notifies.parking):
                self._notifies.give_up(notify.ids, now, UnansweredReason.AGENT_GONE)

    def unblock(self, link: AgentLink, now: float) -> None:
        """End a link that one NOTIFY has blocked for too long: its late answer could collide with the next one's."""
        if link.ledger.since() <= min(link.owing.values(), default=math.inf):
            self._notifies.give_up(link.ledger.oldest(), now, UnansweredReason.DEADLINE)
        self.lose(link, now, LinkLoss.DEADLINE)

    def not_reached(self, link: AgentLink, reason: DialFailure, detail: str, now: float) -> NoAgent | None:
        """A dial or its HELLO failed: schedule a retry (None), or return that there is no agent."""
        self._report.add(AgentUnreachable(reason, detail))
        progress = self._progress
        if not progress.outlives_links or (progress.state is not SessionState.RUNNING and self._route.refusals.away):
            return NoAgent(detail)
        self._last_failure = detail
        self._backoff.failed(now)
        self._end(link, now)
        return None

    def give_up_on_agent(self, now: float) -> NoAgent:
        """No agent was there for ``give_up_s``: dial no more."""
        self._route.refusals.gave_up()
        for link in self.by_number.values():
            if link.state is LinkState.DIALLING:  # it would be too late
                self._end(link, now)
        return NoAgent(f"no agent for {self._config.give_up_s:g} s; the last try: {self._last_failure or 'none'}")

    def wait_no_more(self) -> None:
        """Disarm the deadlines of links that are still being opened."""
        for link in self.by_number.values():
            link.wait_no_more()

    def end_all(self, now: float, status: int, message: str) -> None:
        """End every link: the session is over."""
        if self.hello:
            self.books.drop(len(self.hello))
            self.hello = b""
        for link in self.by_number.values():
            self._disconnect(link, now, status, message)

    def close_all(self) -> None:
        """Close every connection after its queued bytes are sent."""
        for link in self.by_number.values():
            link.close()

    def remove_gone(self) -> list[int]:
        """Remove links that are over and return their numbers. A session that ends with its link keeps it."""
        if not self._progress.outlives_links:
            return []
        over = [link for link in self.by_number.values() if link.done and link.state is LinkState.CLOSING and not link.has_orders]
        for link in over:
            del self.by_number[link.number]
        if self._notifies.link.number not in self.by_number and self.by_number:
            self._notifies.prefer(next(iter(self.by_number.values())))
        return [link.number for link in over]

    def _end(self, link: AgentLink, now: float) -> None:
        self._disconnect(link, now, disconnects.STATUS_NORMAL, "")
        link.close_until(now + self._config.close_s)

    def _disconnect(self, link: AgentLink, now: float, status: int, message: str) -> None:
        """Send an agent HAPROXY-DISCONNECT if it ever got HAPROXY-HELLO (promise A3); otherwise abort the dial."""
        if link.state is LinkState.LEAVING:
            self._report.add(DisconnectHeld(now - link.leaving_since))
        link.end()
        if link.done:
            return
        if not link.has_hello:
            link.close(Close.ABORT)
            return
        if status == disconnects.STATUS_RESOURCES:  # tells HAProxy of the agent's end; the agent itself knows
            status = disconnects.STATUS_NORMAL
        data = disconnects.encode(frames.HAPROXY_DISCONNECT, disconnects.clamp(status), message)
        link.author(data, AuthoredReason.DISCONNECT)
        link.outlet.seal()

    # --- what is to be done about it -------------------------------------------------------------------------------------

    def pump(self, now: float) -> None:
        """Send waiting NOTIFYs to links with room, and open a link for those that still wait."""
        if not self._progress.outlives_links:
            self.away_since = math.inf
            return
        for link in list(self.by_number.values()):
            if link.state is LinkState.LEAVING and not link.ledger:
                self.lose(link, now, link.leaving_as)
        self._notifies.send_parked(now)
        self.away_since = min(self.away_since, now) if self.wanting and not self.running else math.inf
        while now >= self.may_open_at():
            link = AgentLink(self._next, self._history, self.books, self._report)
            self._next += 1
            self.by_number[link.number] = link
            link.dial(now + self._config.connect_s)

    def may_open_at(self) -> float:
        """Return when the next link may be opened: infinity if none is wanted or no more are allowed."""
        if not self.wanting:
            return math.inf
        making = sum(1 for link in self.by_number.values() if link.state in _MAKING)
        alive = sum(1 for link in self.by_number.values() if not link.done)
        wanted = -(-len(self._notifies.parking) // self._config.in_flight) if self._config.in_flight else 1
        if making >= max(wanted, 1) or making + self.running >= self._config.max_links:
            return math.inf
        return self._backoff.retry_at if alive < self._config.max_links + LINGERING else math.inf

    def patience_ends(self) -> float:
        """Return when the next wait ends: for any link, or of one NOTIFY for room on one."""
        parking = self._notifies.parking
        by = min(self.away_since + self._config.give_up_s, parking.since() + self._longest_wait_s)
        return min(by, self._notifies.doubted_until())

    def expire_notifies(self, now: float) -> None:
        """Count NOTIFYs as unanswered that have been open, or have waited, for too long."""
        for link in self.by_number.values():
            self._notifies.give_up_older(link, now, self._config.answer_deadline_s or math.inf, UnansweredReason.DEADLINE)
        parking = self._notifies.parking
        while now >= parking.since() + self._longest_wait_s:
            self._notifies.give_up(parking.oldest().ids, now, UnansweredReason.DEADLINE)

    def idle_until(self, link: AgentLink) -> float:
        """Return when ``link`` will have been idle long enough to be closed."""
        if link.state is not LinkState.RUNNING or link.ledger or not self._progress.outlives_links:
            return math.inf
        return link.ledger.heard + (self._config.retire_s or (EXTRA_IDLE_S if self.running > 1 else math.inf))

    def blocked_until(self, link: AgentLink) -> float:
        """Return when one NOTIFY will have blocked a link with a limit for too long."""
        if not link.limited or not self._progress.outlives_links:
            return math.inf
        oldest = min((link.ledger.since(), *link.owing.values()), default=math.inf)
        return oldest + (self._config.answer_deadline_s or LOSS_MATTERS_S)

    def orders(self, out: LinkOutput, first: AgentLink) -> list[LinkOutput]:
        """Put the orders for the link ``first`` at the end of a step into ``out``, and return those of the other links."""
        first.give(out)
        return [link.give(LinkOutput()) for link in self.by_number.values() if link is not first]

    @property
    def _longest_wait_s(self) -> float:
        """For one NOTIFY. While no agent is there, ``give_up_s`` ends the session instead, and HAProxy is notified."""
        room_s = self._config.give_up_s if self.away_since == math.inf else math.inf
        return min(room_s, self._config.answer_deadline_s or math.inf)
