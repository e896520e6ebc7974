"""What both sides of a session share while it lasts: its state, its ways out, its agent links."""

import math
from typing import Final

from spoe_guard.core.conversation.agent_link import AgentLink
from spoe_guard.core.conversation.ledger import Fate, History
from spoe_guard.core.conversation.outlet import Books, Outlet
from spoe_guard.core.conversation.pacing import Pace
from spoe_guard.core.payloads.disconnect import Goodbye
from spoe_guard.core.payloads.family import Family
from spoe_guard.core.payloads.hello import Offer
from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.events import (
    SAMPLE_BYTES,
    AnomalySeen,
    AuthoredReason,
    Direction,
    Event,
    FrameAuthored,
    NotifiesUnanswered,
    UnansweredReason,
)
from spoe_guard.core.terms.output import Close, Output
from spoe_guard.core.terms.states import SESSION_MOVES, IllegalMoveError, LinkState, SessionState
from spoe_guard.core.terms.tally import Tally
from spoe_guard.wire import actions, frame, walk

# NOTIFYs closer together were sent without one having been given up; no `timeout processing` in use is so short. Where one
# was all the same, because its client left, nothing is lost: HAProxy ignores the ACK of a stream that it has ended.
SUPERSEDED_S: Final = 0.01


class Exchange:
    """State and means of one session. ``FromHAProxy`` and ``FromAgent`` decide; this, and ``Conversation`` at the end, carry out.

    ``haproxy_done``: its connection is closed, or was asked to close. ``links`` by number, those that are not over.
    ``pace``: how fast HAProxy is written to, None where that does not matter. ``close_waits``: HAProxy's connection is to be
    closed behind what ``pace`` has queued. ``stirred``: something waits or is kept back, so this step is no ordinary one.
    The ``*_by`` times are deadlines, infinity when not armed.
    """

    def __init__(self, config: SessionConfig, tally: Tally) -> None:
        self.config = config
        self.policy = config.policy
        self.tally = tally
        self.history = History(tally)
        self.state = SessionState.HAPROXY_HELLO
        self.agent_books = Books()
        self.to_haproxy = Outlet()
        self.family = Family.UNKNOWN
        self.pace = None if config.observe else Pace()
        self.close_waits = False
        self.out = Output()
        self.events: list[Event] = []
        self.stirred = False
        self.offer: Offer | None = None
        self.one_at_a_time = False  # HAProxy has neither pipelining nor async
        self.most_unjudged = config.open_notifies  # NOTIFYs open, up to which the fast path may open another
        self.haproxy_done = False
        self.draining = False
        self.quiet_at = math.inf  # when a session that drains may say goodbye if nothing is open
        self.hello_raw = b""  # HAPROXY-HELLO as it came, while the agent is dialled
        self.link = AgentLink(0, self.history, self.agent_books)  # where NOTIFYs go
        self.links = {0: self.link}
        self.held: Goodbye | None = None  # the agent's last word, where it is the session's
        self.hello_by = math.inf
        self.hold_by = math.inf
        self.close_by = math.inf
        self.pace_by = math.inf

    def enter(self, state: SessionState) -> None:
        """Move the session to ``state``.

        Raises:
            IllegalMoveError: SESSION_MOVES does not have that.
        """
        if state is not self.state and state not in SESSION_MOVES[self.state]:
            raise IllegalMoveError(self.state, state)
        self.state = state

    # --- reporting -----------------------------------------------------------------------------------------------

    def judge(  # noqa: PLR0913 - what is reported has this many sides
        self,
        side: Side,
        anomaly: Anomaly,
        raw: bytes,
        offset: int,
        *,
        parsed: frame.Frame | None = None,
        detail: str = "",
        action: Action | None = None,
    ) -> Action:
        """Report ``anomaly`` and return what is done about it: ``action`` where it is given, else what the policy says."""
        action = action or self.policy.action(side, anomaly)
        known = len(raw) >= frame.LENGTH_BYTES
        self.events.append(
            AnomalySeen(
                anomaly=anomaly,
                side=side,
                action=action,
                state=self.state.value,
                type=parsed.type if parsed else raw[4] if len(raw) > frame.LENGTH_BYTES else None,
                stream_id=parsed.stream_id if parsed else None,
                frame_id=parsed.frame_id if parsed else None,
                length=walk.length_at(raw, 0) if known else len(raw),
                offset=offset,
                open_notifies=self.open_notifies,
                detail=detail,
                sample=bytes(raw[:SAMPLE_BYTES]),
                applied=not self.config.observe,
            )
        )
        return action

    # --- open NOTIFYs ----------------------------------------------------------------------------------------------

    @property
    def open_notifies(self) -> int:
        """How many NOTIFYs agents have and have not answered."""
        return self.history.open

    def holder(self, ids: bytes) -> AgentLink | None:
        """Return the link whose agent has the NOTIFY ``ids`` in hand."""
        for link in self.links.values():
            if ids in link.ledger:
                return link
        return None

    def fate(self, ids: bytes) -> Fate:
        """Return what is known of the NOTIFY ``ids``."""
        return Fate.OPEN if self.holder(ids) else self.history.fate(ids)

    def answered(self, ids: bytes, now: float, via: AgentLink) -> None:
        """Settle the open NOTIFY ``ids``: its ACK, which came ``via`` that link, passes."""
        link = self.holder(ids)
        if link is not None:  # pragma: no branch - it is open
            since = link.ledger.pop(ids)
            if link is not via and via.state is LinkState.CLOSING:  # which had it before; an agent with async answers once
                link.owing[ids] = since
            via.ledger.useful = True
            self.tally.observe_ack(now - since)
            self.history.remember(ids, Fate.ANSWERED)

    # --- writing -------------------------------------------------------------------------------------------------

    def tell_haproxy(self, data: bytes, reason: AuthoredReason) -> bool:
        """Author a whole frame for HAProxy; False when it is too late."""
        if self.haproxy_done or not self.to_haproxy.author(data):
            return False
        self.events.append(FrameAuthored(Direction.TO_HAPROXY, data[4], reason))
        return True

    def recognise(self, family: Family) -> None:
        """Note which HAProxy this is. An applet can be written to at any speed."""
        self.family = family
        if family is Family.APPLET and self.pace is not None:
            self.to_haproxy.put_back(self.take_queue())
            self.pace = None

    def tell_agent(self, link: AgentLink, data: bytes, reason: AuthoredReason) -> None:
        """Author a whole frame for the agent, unless it is too late."""
        if link.way.author(data):
            self.events.append(FrameAuthored(Direction.TO_AGENT, data[4], reason))

    # --- NOTIFYs that will have no ACK of the agent -----------------------------------------------------------------

    def give_up(self, ids: bytes, now: float, reason: UnansweredReason) -> None:
        """Count one NOTIFY, open or just arrived, as unanswered, and answer it if the route says so."""
        link = self.holder(ids)
        if link is not None:
            link.ledger.pop(ids)
        self._settle([ids], now, reason)

    def supersede(self, now: float) -> None:
        """HAProxy, which sends one NOTIFY at a time, sends another: it waits no more for what was open.

        Seen of 3.2 behind its `timeout processing`, whose connection is free again once the stream has gone; up to 3.0 it
        uses the connection no more. NOTIFYs that come together are no such case: before fd7ebf117 HAProxy 3.1 puts several
        streams on a connection while it does not know yet that the agent takes one.
        """
        for link in self.links.values():
            while now >= link.ledger.since() + SUPERSEDED_S:
                self.give_up(link.ledger.oldest(), now, UnansweredReason.SUPERSEDED)

    def abandon(self, now: float, reason: UnansweredReason) -> None:
        """Count every open NOTIFY as unanswered."""
        waiting: list[bytes] = []
        for link in self.links.values():
            waiting += link.ledger
            link.ledger.clear()
        if waiting:
            self._settle(waiting, now, reason)

    def _settle(self, waiting: list[bytes], now: float, reason: UnansweredReason) -> None:
        awaited = reason not in (UnansweredReason.HAPROXY_GONE, UnansweredReason.SUPERSEDED)
        answer = self.config.answer_unanswered and awaited
        action = Action.ANSWER if answer else Action.PASS
        if reason is not UnansweredReason.HAPROXY_GONE:  # that HAProxy leaves is not the agent's doing (F5)
            detail = f"{len(waiting)} NOTIFY{'s' if len(waiting) > 1 else ''}: {reason.value}"
            self.judge(Side.AGENT, Anomaly.NOTIFY_UNANSWERED, b"", 0, action=action, detail=detail)
        self.events.append(NotifiesUnanswered(reason, len(waiting)))
        for ids in waiting:
            answered = answer and self.tell_haproxy(no_effect_ack(ids), AuthoredReason.ANSWERED)
            self.history.give_up(ids, now, answered=answered or reason is UnansweredReason.SUPERSEDED)

    # --- closing ---------------------------------------------------------------------------------------------------

    def close_haproxy(self) -> None:
        """Close HAProxy's connection behind what is queued for it."""
        if not self.haproxy_done:
            self.out.close_haproxy = Close.FLUSH
            self.haproxy_done = True
            self.to_haproxy.seal()

    @property
    def queued(self) -> int:
        """Bytes that HAProxy cannot take yet."""
        return len(self.pace.queue) if self.pace is not None else 0

    def take_queue(self) -> bytes:
        """Return them, and queue nothing."""
        self.pace_by = math.inf
        return self.pace.release() if self.pace is not None else b""

    def drop_queue(self) -> None:
        """Give up what ``pace`` has queued for HAProxy: nobody will read it."""
        self.to_haproxy.books.undelivered += len(self.take_queue())
        if self.close_waits:
            self.close_waits = False
            self.out.close_haproxy = Close.FLUSH


def no_effect_ack(ids: bytes) -> bytes:
    """Return an ACK without effect for the NOTIFY with the raw ``ids``."""
    body = frame.ACK_HEAD + ids + actions.NO_EFFECT
    return len(body).to_bytes(frame.LENGTH_BYTES, "big") + body
