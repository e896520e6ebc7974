"""How a session outlives its agent links: what is lost is replaced, and NOTIFYs wait meanwhile.

With ``give_up_s`` 0, in a health check and in observe mode it does not: there the session ends with its link.
"""

import math
from collections.abc import Collection
from typing import Final

from spoe_guard.core.agent_link import AgentLink
from spoe_guard.core.anomalies import Action, Anomaly, Side
from spoe_guard.core.backoff import Backoff
from spoe_guard.core.config import Redispatch, SessionConfig
from spoe_guard.core.conversation import ENDING, Conversation
from spoe_guard.core.events import (
    AgentUnreachable,
    AuthoredReason,
    DialFailure,
    LinkLoss,
    LinkLost,
    LinkReason,
    LinkUp,
    NotifiesRedispatched,
    UnansweredReason,
)
from spoe_guard.core.exchange import SUPERSEDED_S
from spoe_guard.core.hello import PARALLEL, PIPELINING
from spoe_guard.core.kept import Kept
from spoe_guard.core.ledger import LOSS_MATTERS_S, Fate
from spoe_guard.core.parking import Parked, Parking
from spoe_guard.core.place import Place
from spoe_guard.core.states import State
from spoe_guard.core.tally import Tally
from spoe_guard.wire import frame

LINGERING: Final = 16  # links, beside ``max_links``, that take no more NOTIFYs and are not gone yet
EXTRA_IDLE_S: Final = 10.0  # how long a link beside others may be idle where ``retire_s`` says nothing

_MAKING: Final = frozenset((State.DIALLING, State.AGENT_HELLO))


class Continuity(Conversation):
    """State and means of one session, its end, and the coming and going of its agent links.

    ``away_since``: when a link was first wanted and none was there; infinity while one is, or none is wanted.
    """

    def __init__(self, config: SessionConfig, tally: Tally, place: Place) -> None:
        super().__init__(config, tally, place)
        self.parking = Parking(config.open_notifies, config.held_bytes)
        self.backoff = Backoff(place.spread)
        self.away_since = math.inf
        self.told_size = frame.DEFAULT_MAX_FRAME_SIZE  # what HAProxy was told in AGENT-HELLO
        self._numbers = 1
        self.last_failure = ""

    @property
    def lasts(self) -> bool:
        """Whether the session goes on when an agent link is lost."""
        over = self.state in ENDING or self.state is State.REFUSING
        return self.config.give_up_s > 0 and not over and self.offer is not None and not self.offer.healthcheck

    @property
    def _bridged(self) -> bool:
        """Whether HAProxy is told pipelining whatever the agent says, because the guard hands out NOTIFYs by number."""
        return self.config.in_flight > 0 and self.offer is not None and PIPELINING in self.offer.asked

    @property
    def wanting(self) -> bool:
        """Whether a link is wanted that is not there: HAProxy waits for AGENT-HELLO, or NOTIFYs for a link."""
        return self.lasts and (self.state in _MAKING or len(self.parking) > 0)

    # --- NOTIFYs -------------------------------------------------------------------------------------------------------

    def ready(self) -> AgentLink | None:
        """Return a link whose agent may be given a NOTIFY more, if there is one."""
        if self.link.ready:
            return self.link
        for link in self.links.values():
            if link.ready:
                self.link = link
                return link
        return None

    def room(self, link: AgentLink, most: int) -> int:
        """Return how many NOTIFYs may be open on ``link``, so that its session has no more than ``most``."""
        if len(self.links) > 1:
            most += len(link.ledger.open) - self.open_notifies
        return min(link.most, most)

    def send(self, link: AgentLink, waits: Parked) -> None:
        """Give the agent of ``link`` a NOTIFY."""
        link.ledger.open[waits.ids] = waits.since
        link.ledger.mixed = link.ledger.mixed or waits.again
        self.tally.open_notifies += 1
        if waits.ours:
            self.tell_agent(link, waits.raw, AuthoredReason.REPLAYED if waits.again else AuthoredReason.REPAIRED)
        else:
            link.way.forward(waits.raw)
        if link.kept is not None and not waits.again:  # once is enough: a NOTIFY that ends two links may end a third
            link.kept.add(waits.ids, waits.raw, link.ledger.open)

    def waited_for(self, ids: bytes) -> bool:
        """Whether HAProxy waits for the ACK of an earlier NOTIFY ``ids``, in an agent's hands or waiting for one."""
        return ids in self.parking or self.holder(ids) is not None

    def park(self, waits: Parked, now: float) -> None:
        """Let a NOTIFY wait for a link; it counts as unanswered when too many do."""
        total = self.open_notifies + len(self.parking)
        if total >= self.config.open_notifies or not self.parking.add(waits):
            self.agent_books.dropped += 0 if waits.ours else len(waits.raw)
            self._settle([waits.ids], now, UnansweredReason.LIMIT)
            return
        self.tally.parked_notifies += 1

    def _unpark(self, ids: bytes) -> Parked:
        self.tally.parked_notifies -= 1
        return self.parking.take(ids)

    def fate(self, ids: bytes) -> Fate:
        """Return what is known of the NOTIFY ``ids``; open is also one that waits for its second agent."""
        waits = self.parking.find(ids)
        return Fate.OPEN if waits is not None and waits.again else super().fate(ids)

    def answered(self, ids: bytes, now: float, via: AgentLink) -> None:
        """Settle the open NOTIFY ``ids``: its ACK passes, whichever link brings it."""
        if ids in self.parking:
            self.tally.observe_ack(now - self._unpark(ids).since)
            self.past.remember(ids, Fate.ANSWERED)
        else:
            super().answered(ids, now, via)

    def give_up(self, ids: bytes, now: float, reason: UnansweredReason) -> None:
        """Count one NOTIFY, open, waiting or just arrived, as unanswered."""
        if ids in self.parking:
            waits = self._unpark(ids)
            self.agent_books.dropped += 0 if waits.ours else len(waits.raw)
        super().give_up(ids, now, reason)

    def supersede(self, now: float) -> None:
        """HAProxy, which sends one NOTIFY at a time, sends another: it waits no more for what was open, or waited."""
        for waits in list(self.parking):
            if now >= waits.since + SUPERSEDED_S:
                self.give_up(waits.ids, now, UnansweredReason.SUPERSEDED)
        super().supersede(now)

    def abandon(self, now: float, reason: UnansweredReason) -> None:
        """Count every NOTIFY that is open or waits as unanswered."""
        for waits in list(self.parking):
            self.give_up(waits.ids, now, reason)
        super().abandon(now, reason)

    # --- links -----------------------------------------------------------------------------------------------------------

    def up(self, link: AgentLink, size: int, now: float, capabilities: Collection[str]) -> None:
        """The agent of ``link`` said HELLO: it takes NOTIFYs of ``size`` bytes, one at a time without pipelining."""
        config = self.config
        parallel = not PARALLEL.isdisjoint(capabilities)
        running = any(other.state is State.RUNNING for other in self.links.values())
        reason = LinkReason.PARALLEL if running else LinkReason.REPLACEMENT
        if self.offer is not None and self.offer.healthcheck:
            reason = LinkReason.CHECK
        elif self.state is not State.RUNNING:
            reason = LinkReason.FIRST
            self.told_size = size
            self.one_at_a_time = not parallel and not self._bridged
            self.most_unjudged = 1 if self.one_at_a_time else config.open_notifies
        serial = not self.one_at_a_time and not parallel
        link.size = min(size, self.told_size)
        link.limited = serial or config.in_flight > 0
        link.most = 1 if serial else min(config.in_flight or config.open_notifies, config.open_notifies)
        link.kept = Kept(config.held_bytes) if config.redispatch is Redispatch.UNANSWERED and self.lasts else None
        link.heard = now
        self.state = link.state = State.RUNNING
        self.events.append(LinkUp(reason, max(now - self.away_since, 0.0)))
        self.away_since = math.inf

    def part(self, link: AgentLink, now: float, loss: LinkLoss) -> None:
        """The agent takes no more NOTIFYs, and may still answer those it has."""
        link.state = State.LEAVING
        link.leaving_as = loss
        link.leave_by = now + self.config.disconnect_hold_s

    def lose(self, link: AgentLink, now: float, loss: LinkLoss) -> None:
        """End ``link``; what its agent did not answer goes to another one, or counts as unanswered."""
        had = list(link.ledger.open.items())
        link.ledger.open.clear()
        self.tally.open_notifies -= len(had)
        lost: list[bytes] = []
        for ids, since in had:
            copy = link.kept.get(ids) if link.kept is not None else None
            if copy is not None and self.parking.add(Parked(ids, copy, since, again=True, ours=True)):
                self.tally.parked_notifies += 1
            else:
                lost.append(ids)
        if lost:
            self._settle(lost, now, UnansweredReason.AGENT_GONE)
        self.events.append(LinkLost(loss, len(had), len(had) - len(lost)))
        if self.config.redispatch is Redispatch.OFF and self.ready() is None:
            for waits in list(self.parking):
                self.give_up(waits.ids, now, UnansweredReason.AGENT_GONE)
        if link.useful or (link.said_goodbye and not had) or loss is LinkLoss.RETIRED:
            self.backoff.worked()
        else:
            self.backoff.failed(now)
        self._end_link(link, now)

    def failed(self, link: AgentLink, now: float, reason: DialFailure, detail: str) -> None:
        """A try to have a link came to nothing."""
        self.events.append(AgentUnreachable(reason, detail))
        self.last_failure = detail
        self.backoff.failed(now)
        self._end_link(link, now)

    def _end_link(self, link: AgentLink, now: float) -> None:
        self._dismiss(link)
        link.leave_by = math.inf
        link.close_by = now + self.config.close_s

    def pump(self, now: float) -> None:
        """Send what waits where there is room, and have a link made for what still waits."""
        if not self.lasts:
            return
        for link in list(self.links.values()):
            if link.state is State.LEAVING and not link.ledger.open:
                self.lose(link, now, link.leaving_as)
        self._send_parked(now)
        if not self.wanting or any(link.state is State.RUNNING for link in self.links.values()):
            self.away_since = math.inf
        else:
            self.away_since = min(self.away_since, now)
        while self._may_open(now):
            self._open_link(now)

    def _send_parked(self, now: float) -> None:
        sent = {Redispatch.UNSENT: 0, Redispatch.UNANSWERED: 0}
        for waits in list(self.parking):
            link = self.ready()
            if link is None:
                break
            self._unpark(waits.ids)
            if len(waits.raw) - frame.LENGTH_BYTES > link.size:
                self._no_longer_fits(waits, link, now)
                continue
            self.send(link, waits)
            sent[Redispatch.UNANSWERED if waits.again else Redispatch.UNSENT] += 1
        self.events += [NotifiesRedispatched(kind, count) for kind, count in sent.items() if count]

    def _no_longer_fits(self, waits: Parked, link: AgentLink, now: float) -> None:
        """The agent of the new link takes less than the one before."""
        detail = f"length {len(waits.raw) - frame.LENGTH_BYTES}, the agent takes {link.size}"
        self.judge(Side.HAPROXY, Anomaly.NOTIFY_OVERSIZE, waits.raw, 0, detail=detail, action=Action.DROP)
        self.agent_books.dropped += 0 if waits.ours else len(waits.raw)
        self._settle([waits.ids], now, UnansweredReason.NOTIFY_DROPPED)

    def may_open_at(self) -> float:
        """Return when the next link may be opened: infinity where none is wanted or no more may be."""
        if not self.wanting:
            return math.inf
        making = sum(1 for link in self.links.values() if link.state in _MAKING)
        running = sum(1 for link in self.links.values() if link.state is State.RUNNING)
        limited = self.config.in_flight or 0
        wanted = -(-len(self.parking) // limited) if limited else 1
        if making >= max(wanted, 1) or making + running >= self.config.max_links:
            return math.inf
        return self.backoff.retry_at if len(self.links) < self.config.max_links + LINGERING else math.inf

    def _may_open(self, now: float) -> bool:
        return now >= self.may_open_at()

    def _open_link(self, now: float) -> None:
        link = AgentLink(self._numbers, self.past, self.agent_books)
        self._numbers += 1
        self.links[link.number] = link
        self.dial(link, now)

    # --- time ------------------------------------------------------------------------------------------------------------

    def patience_ends(self) -> float:
        """Return when what waits has waited long enough: for any link, or for room on one."""
        longest = min(self.config.give_up_s, self.config.answer_deadline_s or math.inf)
        return min(self.away_since + self.config.give_up_s, self.parking.since() + longest)

    def lose_patience(self, now: float) -> None:
        """Count NOTIFYs as unanswered that agents have in hand, or that wait for one, for too long."""
        deadline = self.config.answer_deadline_s or math.inf
        for link in self.links.values():
            while now >= link.ledger.since() + deadline:
                self.give_up(link.ledger.oldest(), now, UnansweredReason.DEADLINE)
        longest = min(self.config.give_up_s, deadline)
        for waits in list(self.parking):
            if now >= waits.since + longest:
                self.give_up(waits.ids, now, UnansweredReason.DEADLINE)

    def unblock(self, link: AgentLink, now: float) -> None:
        """End a link that a NOTIFY has blocked for too long: its answer, should it come, would meet the next one's."""
        if link.ledger.since() <= min(link.owing.values(), default=math.inf):
            self.give_up(link.ledger.oldest(), now, UnansweredReason.DEADLINE)
        self.lose(link, now, LinkLoss.DEADLINE)

    def idle_until(self, link: AgentLink) -> float:
        """Return when ``link`` has been idle long enough to be closed."""
        if link.state is not State.RUNNING or link.ledger.open or not self.lasts:
            return math.inf
        extra = sum(1 for other in self.links.values() if other.state is State.RUNNING) > 1
        retire_s = self.config.retire_s or (EXTRA_IDLE_S if extra else math.inf)
        return link.heard + retire_s

    def blocked_until(self, link: AgentLink) -> float:
        """Return when a link with a bound on its NOTIFYs has been blocked by one of them for too long."""
        if not link.limited or not self.lasts:
            return math.inf
        oldest = min((link.ledger.since(), *link.owing.values()), default=math.inf)
        return oldest + (self.config.answer_deadline_s or LOSS_MATTERS_S)
