"""The agent links of a session: dialled, given HELLO, lost and replaced, while NOTIFYs wait.

Links are not replaced with ``give_up_s`` 0, in a health check and in observe mode: there the session ends with its link.
"""

import math
from collections.abc import Collection
from typing import Final, NamedTuple

from spoe_guard.core.conversation.agent_link import AgentLink
from spoe_guard.core.conversation.agent_state import LONGEST_HELLO_S
from spoe_guard.core.conversation.backoff import Backoff
from spoe_guard.core.conversation.ledger import LOSS_MATTERS_S, History
from spoe_guard.core.conversation.notifies import SETTLED_AT_ONCE, Notifies
from spoe_guard.core.conversation.outlet import ByteCounts
from spoe_guard.core.conversation.progress import Progress
from spoe_guard.core.conversation.report import Report
from spoe_guard.core.conversation.route_state import RouteState
from spoe_guard.core.payloads import disconnect as disconnects
from spoe_guard.core.payloads.hello import PARALLEL, PIPELINING, Offer, stand_in
from spoe_guard.core.terms.config import Redispatch, SessionConfig
from spoe_guard.core.terms.events import (
    AgentUnreachable,
    AuthoredReason,
    DialFailure,
    DisconnectHeld,
    LinkFailed,
    LinkLoss,
    LinkReason,
    LinkUp,
    UnansweredReason,
)
from spoe_guard.core.terms.family import Family
from spoe_guard.core.terms.output import Close, LinkOutput
from spoe_guard.core.terms.states import MEETING, LinkState, SessionState
from spoe_guard.wire import frame as frames

LINGERING: Final = 16  # most links, beyond ``max_links``, that take no more NOTIFYs and are not closed yet
EXTRA_IDLE_S: Final = 10.0  # how long an additional link may be idle if ``retire_s`` is not set
MUTE_ABOVE: Final = 65535  # bytes of max-frame-size
AWAY_WAIT_S: Final = 0.02  # while the agent is away: how long HAProxy waits for a dial that may find it back

_MAKING: Final = frozenset((LinkState.DIALLING, LinkState.AGENT_HELLO))

# The ends of a link after which its agent may be gone; the guard itself brings about the others.
_BY_AGENT: Final = frozenset((LinkLoss.DISCONNECT, LinkLoss.CLOSED, LinkLoss.RESET))


class NoAgent(NamedTuple):
    """There is no agent, and the session does not wait for one any longer. ``detail``: what was tried."""

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
        self._offered_at = 0.0  # when HAPROXY-HELLO came
        self._asks = False  # whether the agent is dialled only to learn if it is there: it left NOTIFYs without an answer

    @property
    def wanting(self) -> bool:
        """Whether a missing link is wanted: HAProxy waits for AGENT-HELLO, or NOTIFYs wait for a link."""
        progress = self._progress
        return progress.outlives_links and (progress.state in MEETING or len(self._notifies.parking) > 0)

    def is_away(self, now: float) -> bool:
        """Whether the agent is away, and this session has no other link: nobody should wait for it."""
        return self._route.agent.is_away(now, self._config.give_up_s) and not self.running

    @property
    def making(self) -> int:
        """How many links are being dialled, or wait for AGENT-HELLO."""
        return sum(1 for link in self.by_number.values() if link.state in _MAKING)

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
        """HAPROXY-HELLO came, as ``raw``: dial the first link, unless another session has just found out that this would fail."""
        self._progress.offered(offer, SessionState.DIALLING)
        self.hello = raw
        self._offered_at = now
        if now < self._route.agent.retry_at and not offer.healthcheck and not self._config.observe:
            self.by_number[0].end()
        else:
            self._dial(self.by_number[0], now)

    def resumed(self, offer: Offer, size: int, *, one_at_a_time: bool) -> None:
        """Continue a session of the previous guard, as if the first link had been lost: HAProxy already has its AGENT-HELLO."""
        self._notifies.negotiated(size, one_at_a_time=one_at_a_time)
        self._progress.offered(offer, SessionState.RUNNING)
        self.by_number[0].end()
        self._route.agent.was_there()

    def stand_in(self, now: float) -> tuple[bytes, int, bool]:
        """HAProxy gets AGENT-HELLO from the guard: return the frame, its size in bytes, and whether NOTIFYs come one at a time.

        It has what the agent agreed to before; if that is not known, what any agent accepts. ``async`` is left out: with it the
        next agent could not do less. Links that are not up yet go on, unless the session ends with its link: then they are too
        late.
        """
        offer, agreed, config = self._progress.offer, self._route.agent.agreed, self._config
        assert offer is not None  # noqa: S101  for mypy: HAProxy waits for the answer to it
        self.away_since = math.inf  # until a NOTIFY wants a link, too
        if self.hello:
            self.books.drop(len(self.hello))
            self.hello = b""
        if not self._progress.outlives_links:
            self.end_all(now, disconnects.STATUS_NORMAL, "")
        pipelines = config.in_flight > 0 or (agreed is not None and PIPELINING in agreed.capabilities)
        pipelines = pipelines and PIPELINING in offer.asked and (config.in_flight > 0 or PIPELINING in offer.capabilities)
        capabilities = [PIPELINING] if pipelines else []
        size = min(agreed.max_frame_size if agreed is not None else offer.max_frame_size, offer.max_frame_size)
        return stand_in(offer, size, capabilities), size, not capabilities

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
        link.given_hello(offer.max_frame_size, now + self._hello_wait_s())
        if self._progress.state is SessionState.DIALLING:
            self._progress.enter(SessionState.AGENT_HELLO)

    def _hello_wait_s(self) -> float:
        """Return how long to wait for AGENT-HELLO: as long as HAProxy does.

        HAProxy 3.1 and later keeps a connection without AGENT-HELLO for good, and gives it the next requests. Behind AGENT-HELLO
        it does not notice: then a slow agent has twice as long each time.
        """
        if self._config.agent_hello_s is not None:
            return self._config.agent_hello_s
        offer = self._progress.offer
        if self._progress.state not in MEETING:
            return self._route.agent.hello_wait_s(self._config.hello_s)
        ends_it_itself = offer is not None and (offer.healthcheck or offer.family is Family.APPLET)
        return LONGEST_HELLO_S if ends_it_itself else self._config.hello_s

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
        else:
            size = min(size, self._notifies.told_size)
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
        had, kept = self._notifies.take_back(link, loss, now, longest_s, self._next)
        if had or loss is LinkLoss.DEADLINE:
            self._report.add(LinkFailed(loss, link.number))
        worked = link.ledger.answered_once or (link.got_disconnect and not had) or loss is LinkLoss.RETIRED
        self._end(link, now)
        if loss in _BY_AGENT and not self.running:
            self._route.agent.link_lost(now)
        self._asks = loss is LinkLoss.DEADLINE and self._progress.outlives_links and not self.running
        if worked and loss is not LinkLoss.DEADLINE:
            self._backoff.worked()
        elif kept:  # the next agent gets the same NOTIFYs
            self._backoff.failed(now)
        else:
            self._backoff.pause(now)
        if self._config.redispatch is Redispatch.OFF and not self.running:
            self._notifies.give_up_parked(now, UnansweredReason.AGENT_GONE)

    def unblock(self, link: AgentLink, now: float) -> None:
        """End a link that one NOTIFY has blocked for too long: its late answer could collide with the next one's."""
        if link.ledger.since() <= link.owing.since():
            self._route.agent.left_unanswered(link.missed(link.ledger.since()))
            self._notifies.give_up(link.ledger.oldest(), now, UnansweredReason.DEADLINE)
        self.lose(link, now, LinkLoss.DEADLINE)

    def not_reached(self, link: AgentLink, reason: DialFailure, detail: str, now: float) -> NoAgent | None:
        """A dial or its HELLO failed: wait for the next one (None), or return that there is no agent."""
        self._failed(link, reason, detail, now)
        if not self._progress.outlives_links:
            return NoAgent(detail)
        self._end(link, now)
        return self.no_agent() if self.is_away(now) else None

    def _failed(self, link: AgentLink, reason: DialFailure, detail: str, now: float) -> None:
        self._last_failure = detail
        self._report.add(AgentUnreachable(reason, detail, link.number))
        since = math.inf if self.running else min(self.away_since, now)
        self._route.agent.failed(now, self._route.spread, since)

    def haproxy_gave_up(self, now: float) -> None:
        """HAProxy is gone before AGENT-HELLO came, though it was on its way."""
        for link in self.by_number.values():
            if link.state in _MAKING:
                waited_s = now - self._offered_at
                detail = f"HAProxy waited {waited_s:.3g} s for AGENT-HELLO{self._likely_cause()}"
                self._route.agent.haproxy_gave_up(waited_s)
                self._failed(link, DialFailure.HAPROXY_GAVE_UP, detail, now)

    def give_up_dials(self, now: float) -> None:
        """The session ends, for no agent was there in time: dials that are under way have failed."""
        for link in self.by_number.values():
            if link.state in _MAKING:
                reason = DialFailure.HELLO_TIMEOUT if link.has_hello else DialFailure.TIMEOUT
                self._failed(link, reason, f"no AGENT-HELLO in time for a NOTIFY that waited{self._likely_cause()}", now)

    def hello_missed(self) -> str:
        """Return how long AGENT-HELLO was waited for, and what may be the cause."""
        return f"no AGENT-HELLO within {self._hello_wait_s():g} s{self._likely_cause()}"

    def _likely_cause(self) -> str:
        """Return the known cause of an agent that does not answer HAPROXY-HELLO, if it may be that one."""
        offer = self._progress.offer
        if offer is None or offer.max_frame_size <= MUTE_ABOVE:
            return ""
        return (
            f"; agents built on dropmorepackets/haproxy-go up to 0.0.8 never answer an offer of more than {MUTE_ABOVE} bytes "
            f"(this one got {offer.max_frame_size}): try hello.profile dropmore"
        )

    def no_agent(self) -> NoAgent:
        """Return that the agent is away, or does not come in time."""
        return NoAgent(f"no agent; the last try: {self._last_failure or 'of another session'}")

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
            self._notifies.gone(link)
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

    def pump(self, now: float) -> NoAgent | None:
        """Send waiting NOTIFYs to links with room, and open a link for those that still wait.

        Return that there is no agent if NOTIFYs wait and it is certain that they wait in vain.
        """
        if not self._progress.outlives_links:
            self.away_since = math.inf
            waits = self._progress.state is SessionState.RUNNING and len(self._notifies.parking) > 0
            return NoAgent(self._last_failure) if waits else None
        for link in list(self.by_number.values()):
            if link.state is LinkState.LEAVING and not link.ledger:
                self.lose(link, now, link.leaving_as)
        self._notifies.send_parked(now)
        self.away_since = min(self.away_since, now) if self.wanting and not self.running else math.inf
        while now >= self.may_open_at():
            link = AgentLink(self._next, self._history, self.books, self._report)
            self._next += 1
            self.by_number[link.number] = link
            self._dial(link, now)
        waits_in_vain = len(self._notifies.parking) > 0 and not self.making and self.is_away(now)
        if not waits_in_vain:
            return None
        self.away_since = math.inf  # of the NOTIFYs that wait none will any longer
        return self.no_agent()

    def _dial(self, link: AgentLink, now: float) -> None:
        self._asks = False
        link.dial(now + self._config.connect_s)
        self._route.agent.dialled(now, self._route.spread)

    def may_open_at(self) -> float:
        """Return when the next link may be opened: infinity if none is wanted or no more are allowed."""
        if not self.wanting and not (self._asks and self._progress.outlives_links):
            return math.inf
        making = self.making
        alive = sum(1 for link in self.by_number.values() if not link.done)
        wanted = -(-len(self._notifies.parking) // self._config.in_flight) if self._config.in_flight else 1
        if making >= max(wanted, 1) or making + self.running >= self._config.max_links:
            return math.inf
        if alive >= self._config.max_links + LINGERING:
            return math.inf
        return max(self._backoff.retry_at, self._route.agent.retry_at)

    def patience_ends(self) -> float:
        """Return when the next wait ends: for any link, or of one NOTIFY for room on one."""
        parking = self._notifies.parking
        waited_by = min(parking.since() + self._longest_wait_s, parking.parked_since() + self._room_wait_s)
        return min(self.no_agent_at(), self.stands_in_at(), waited_by, self._notifies.doubted_until())

    def no_agent_at(self) -> float:
        """Return when NOTIFYs that wait will have waited in vain; infinity if none waits, or a link is running."""
        if not self.wanting or self.running or self._progress.state in MEETING:
            return math.inf
        away_at = self._route.agent.away_at(self._config.give_up_s)
        away_at = max(away_at, self._notifies.parking.since() + AWAY_WAIT_S) if self.making else away_at
        return min(away_at, self.away_since + self._config.give_up_s)

    def stands_in_at(self) -> float:
        """Return when the guard answers HAPROXY-HELLO itself; infinity if HAProxy waits for no answer, or for that of a link.

        Once a dial has failed, that is at once if it is known what the agent accepts. A session that ends with its link has one
        dial, or none at all.
        """
        if self._progress.state not in MEETING:
            return math.inf
        if not self._progress.outlives_links:
            return math.inf if self.making else -math.inf
        agent, config = self._route.agent, self._config
        if not self.making and agent.agreed is not None:
            return -math.inf
        patience_s = config.agent_hello_s if config.agent_hello_s is not None else math.inf
        away_at = agent.away_at(config.give_up_s)
        away_at = max(away_at, self._offered_at + AWAY_WAIT_S) if self.making else away_at
        return min(self._offered_at + patience_s, away_at, self._offered_at + config.give_up_s)

    def expire_notifies(self, now: float) -> None:
        """Count NOTIFYs as unanswered that have been open, or have waited, for too long."""
        most = SETTLED_AT_ONCE  # for the others the deadline stands
        for link in self.by_number.values():
            most = self._notifies.give_up_overdue(link, now, self._config.answer_deadline_s or math.inf, most)
        most = self._notifies.give_up_waiting(now, self._longest_wait_s, UnansweredReason.DEADLINE, most)
        self._notifies.give_up_without_room(now, self._room_wait_s, most)

    def mute(self) -> AgentLink | None:
        """Return a link whose agent let several NOTIFYs in a row pass their deadline, and has sent nothing since they came."""
        return next((link for link in self.by_number.values() if link.mute), None)

    def longest_idle_s(self) -> float:
        """Return after how long an idle link is closed."""
        if not self._progress.outlives_links:
            return math.inf
        return self._config.retire_s or (EXTRA_IDLE_S if self.running > 1 else math.inf)

    def blocked_until(self, link: AgentLink) -> float:
        """Return when one NOTIFY will have blocked a link with a limit for too long."""
        if not link.limited or not self._progress.outlives_links:
            return math.inf
        oldest = min(link.ledger.since(), link.owing.since())
        return oldest + (self._config.answer_deadline_s or LOSS_MATTERS_S)

    def orders(self, out: LinkOutput, first: AgentLink) -> list[LinkOutput]:
        """Put the orders for the link ``first`` at the end of a step into ``out``, and return those of the other links."""
        first.give(out)
        return [link.give(LinkOutput()) for link in self.by_number.values() if link is not first]

    @property
    def _longest_wait_s(self) -> float:
        """For one NOTIFY, from when HAProxy sent it, while an agent may be there."""
        return min(self._config.answer_deadline_s or math.inf, self._config.park_s or math.inf)

    @property
    def _room_wait_s(self) -> float:
        """For room on a link, while one is running: an agent that was lost had its time before that."""
        return self._config.give_up_s if self.away_since == math.inf else math.inf
