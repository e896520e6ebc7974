"""Which agent link a NOTIFY goes to, where it waits while there is none, and what settles it."""

import math
from typing import Final

from spoe_guard.core.conversation.agent_link import AgentLink
from spoe_guard.core.conversation.conversation import Conversation
from spoe_guard.core.conversation.exchange import SUPERSEDED_S
from spoe_guard.core.conversation.ledger import Fate
from spoe_guard.core.conversation.parking import Parked, Parking
from spoe_guard.core.conversation.place import Place
from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.config import Redispatch, SessionConfig
from spoe_guard.core.terms.events import AuthoredReason, NotifiesRedispatched, UnansweredReason
from spoe_guard.core.terms.states import ENDING, SessionState
from spoe_guard.core.terms.tally import Tally
from spoe_guard.wire import frame

DOUBT_S: Final = 0.02  # for the ends of all links of an agent that died to be read

# The NOTIFY is settled for HAProxy, while an agent still works on it.
_STILL_IN_HAND: Final = frozenset((UnansweredReason.LIMIT, UnansweredReason.SUPERSEDED, UnansweredReason.HAPROXY_GONE))


class Dispatch(Conversation):
    """State and means of one session, its end, and the NOTIFYs on their way to one agent link or another.

    ``told_size``: what HAProxy was told in AGENT-HELLO, most bytes behind the length prefix.
    """

    def __init__(self, config: SessionConfig, tally: Tally, place: Place) -> None:
        super().__init__(config, tally, place)
        self.parking = Parking(config.open_notifies, config.held_bytes)
        self.told_size = frame.DEFAULT_MAX_FRAME_SIZE

    @property
    def lasts(self) -> bool:
        """Whether the session goes on when an agent link is lost."""
        over = self.state in ENDING or self.state is SessionState.REFUSING
        return self.config.give_up_s > 0 and not over and self.offer is not None and not self.offer.healthcheck

    @property
    def in_flight(self) -> int:
        """Most NOTIFYs in an agent's hands on one link, 0: any number; a session that ends with its link bounds nothing."""
        return self.config.in_flight if self.lasts else 0

    # --- where a NOTIFY goes -------------------------------------------------------------------------------------------

    def ready(self) -> AgentLink | None:
        """Return a link whose agent may be given a NOTIFY more, if there is one: the one that got the last, where it may."""
        return self.link if self.link.ready else next((link for link in self.links.values() if link.ready), None)

    def room(self, link: AgentLink, most: int) -> int:
        """Return how many NOTIFYs may be open on ``link``, so that its session has no more than ``most``."""
        others = self.open_notifies - len(link.ledger)
        return min(link.most - len(link.owing), most - others)

    def make_room(self, now: float) -> None:
        """Let the oldest NOTIFY give way where no more may be open."""
        if self.open_notifies >= self.config.open_notifies:
            oldest = min(self.links.values(), key=lambda link: link.ledger.since())
            self.give_up(oldest.ledger.oldest(), now, UnansweredReason.LIMIT)

    def send(self, link: AgentLink, waits: Parked) -> None:
        """Give the agent of ``link`` a NOTIFY."""
        # Once is enough: a NOTIFY that ends two links may end a third.
        link.ledger.add(waits.ids, waits.since, None if waits.again else waits.raw)
        if waits.ours:
            self.tell_agent(link, waits.raw, AuthoredReason.REPLAYED if waits.again else AuthoredReason.REPAIRED)
        else:
            link.way.forward(waits.raw)

    def waited_for(self, ids: bytes) -> bool:
        """Whether HAProxy waits for the ACK of an earlier NOTIFY ``ids``, in an agent's hands or waiting for one."""
        return ids in self.parking or self.holder(ids) is not None

    # --- where it waits ------------------------------------------------------------------------------------------------

    def park(self, waits: Parked, now: float) -> None:
        """Let a NOTIFY wait for a link; it counts as unanswered when too many do."""
        total = self.open_notifies + len(self.parking)
        if total >= self.config.open_notifies or not self.wait(waits):
            self.agent_books.dropped += waits.held
            self._settle([waits.ids], now, UnansweredReason.LIMIT)

    def wait(self, waits: Parked) -> bool:
        """Let a NOTIFY wait for a link; False when there is no room."""
        if not self.parking.add(waits):
            return False
        self.tally.parked_notifies += 1
        self.stirred = True
        return True

    def _unpark(self, ids: bytes) -> Parked:
        self.tally.parked_notifies -= 1
        return self.parking.take(ids)

    def send_parked(self, now: float) -> None:
        """Send what waits, as far as there is room for it."""
        sent = {Redispatch.UNSENT: 0, Redispatch.UNANSWERED: 0}
        while len(self.parking):
            waits = self.parking.first()
            link = self._ready_for(waits, now)
            if link is None:
                break
            self._unpark(waits.ids)
            if len(waits.raw) - frame.LENGTH_BYTES > link.size:
                self._no_longer_fits(waits, link, now)
                continue
            self.send(link, waits)
            sent[Redispatch.UNANSWERED if waits.again else Redispatch.UNSENT] += 1
        self.events += [NotifiesRedispatched(kind, count) for kind, count in sent.items() if count]

    def _ready_for(self, waits: Parked, now: float) -> AgentLink | None:
        """Return a link for ``waits``.

        An agent that dies takes all its links with it, and their ends are read one by one: what one of them had goes to a link
        that was dialled since, or to any a moment later. That another one is heard says nothing: it may be what its agent
        wrote before.
        """
        if now >= waits.lost_at + DOUBT_S:
            waits.lost_at, waits.next_link = -math.inf, 0
        return next((link for link in self.links.values() if link.ready and link.number >= waits.next_link), None)

    def doubted_until(self) -> float:
        """Return when a link that is older than the loss of another one may be given its NOTIFYs; infinity where none waits."""
        lost_at = self.parking.first().lost_at if len(self.parking) else -math.inf
        return lost_at + DOUBT_S if lost_at > -math.inf else math.inf

    def _no_longer_fits(self, waits: Parked, link: AgentLink, now: float) -> None:
        """The agent of the new link takes less than the one before."""
        detail = f"length {len(waits.raw) - frame.LENGTH_BYTES}, the agent takes {link.size}"
        self.judge(Side.HAPROXY, Anomaly.NOTIFY_OVERSIZE, waits.raw, 0, detail=detail, action=Action.DROP)
        self.agent_books.dropped += waits.held
        self._settle([waits.ids], now, UnansweredReason.NOTIFY_DROPPED)

    # --- what settles it -----------------------------------------------------------------------------------------------

    def fate(self, ids: bytes) -> Fate:
        """Return what is known of the NOTIFY ``ids``; open is also one that waits for its second agent."""
        waits = self.parking.find(ids)
        return Fate.OPEN if waits is not None and waits.again else super().fate(ids)

    def answered(self, ids: bytes, now: float, via: AgentLink) -> None:
        """Settle the open NOTIFY ``ids``: its ACK passes, whichever link brings it."""
        if ids in self.parking:
            self.tally.observe_ack(now - self._unpark(ids).since)
            self.history.remember(ids, Fate.ANSWERED)
        else:
            super().answered(ids, now, via)

    def give_up(self, ids: bytes, now: float, reason: UnansweredReason) -> None:
        """Count one NOTIFY, open, waiting or just arrived, as unanswered."""
        link = self.holder(ids)
        if ids in self.parking:
            self.agent_books.dropped += self._unpark(ids).held
        elif link is not None and link.limited and reason in _STILL_IN_HAND:
            link.owing[ids] = link.ledger[ids]
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
