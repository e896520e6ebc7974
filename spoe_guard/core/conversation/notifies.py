"""Every NOTIFY of a session from its arrival to its end: which agent link gets it, where it waits, what settles it."""

import math
from collections.abc import Mapping
from typing import Final

from spoe_guard.core.conversation.agent_link import AgentLink
from spoe_guard.core.conversation.ledger import Fate, History
from spoe_guard.core.conversation.outlet import ByteCounts
from spoe_guard.core.conversation.parking import Parked, Parking
from spoe_guard.core.conversation.report import Report
from spoe_guard.core.conversation.route_state import RouteState
from spoe_guard.core.conversation.to_haproxy import ToHAProxy
from spoe_guard.core.payloads.disconnect import STATUS_INVALID, STATUS_RESOURCES, STATUS_TOO_BIG
from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.config import Redispatch, SessionConfig, Unanswered
from spoe_guard.core.terms.events import AuthoredReason, NotifiesRedispatched, NotifiesUnanswered, UnansweredReason
from spoe_guard.core.terms.states import LinkState
from spoe_guard.core.terms.tally import Tally
from spoe_guard.wire import actions, typed_data, walk
from spoe_guard.wire import frame as frames

DOUBT_S: Final = 0.02  # time to read the end of every link of an agent that died

# NOTIFYs closer together than this mean that HAProxy did not give up the first: no `timeout processing` in use is so short. If it
# did anyway, because its client left, nothing is lost: HAProxy ignores the ACK of a stream that it has ended.
SUPERSEDED_S: Final = 0.01

# The code that HAProxy itself gives to the variable of `option set-on-error`, and logs as ``st=``: 1 for its own `timeout
# processing`, 256 and the status of a DISCONNECT for what happened to the connection. What only the guard notices gets the code
# that comes closest. HAProxy sets a boolean that holds the code, which no ACK can do; an integer compares, and prints, like it.
# Source: ``spoe_handle_processing_error`` in flt_spoe.c; SPOE.txt 2.2 (option set-on-error), 3.5 (status codes).
_OF_THE_CONNECTION: Final = 256
_IO_ERROR: Final = 1
ERROR_CODES: Final[Mapping[UnansweredReason, int]] = {
    UnansweredReason.DEADLINE: 1,
    UnansweredReason.AGENT_GONE: _OF_THE_CONNECTION + _IO_ERROR,
    UnansweredReason.AGENT_AWAY: _OF_THE_CONNECTION + _IO_ERROR,
    UnansweredReason.ACK_DROPPED: _OF_THE_CONNECTION + STATUS_INVALID,
    UnansweredReason.NOTIFY_DROPPED: _OF_THE_CONNECTION + STATUS_TOO_BIG,
    UnansweredReason.LIMIT: _OF_THE_CONNECTION + STATUS_RESOURCES,
}
_HAPROXY_WAITS: Final = frozenset(ERROR_CODES)  # the reasons for which HAProxy may still wait for an ACK
_BY_ACK: Final = frozenset((Unanswered.SET, Unanswered.EMPTY_ACK))

# For HAProxy the NOTIFY is settled, but an agent still works on it.
_STILL_IN_HAND: Final = frozenset((UnansweredReason.LIMIT, UnansweredReason.SUPERSEDED, UnansweredReason.HAPROXY_GONE))


class Notifies:
    """The NOTIFYs of one session: open with an agent, or waiting for one.

    ``links``: the session's, by number. ``link``: the one that got the last NOTIFY. ``told_size``: the max-frame-size HAProxy
    got in AGENT-HELLO, in bytes behind the length prefix; ``one_at_a_time``: HAProxy negotiated neither pipelining nor async.
    ``most_unjudged``: the number of open NOTIFYs up to which the fast path may open another. ``engine``: the engine-id, if async
    was negotiated. ``foreign``: ACKs for other sessions of the engine, each with the number of its session. ``untold``: why
    NOTIFYs got no answer of which HAProxy is to learn by the end of its connection (``Unanswered.TELL``).
    """

    def __init__(  # noqa: PLR0913, PLR0917  the parts below it
        self,
        config: SessionConfig,
        tally: Tally,
        route: RouteState,
        report: Report,
        to_haproxy: ToHAProxy,
        history: History,
        links: Mapping[int, AgentLink],
        books: ByteCounts,
    ) -> None:
        self.link = links[0]
        self.parking = Parking(config.open_notifies, config.held_bytes)
        self.told_size = frames.DEFAULT_MAX_FRAME_SIZE
        self.one_at_a_time = False
        self.most_unjudged = config.open_notifies
        self.engine = b""
        self.foreign: tuple[tuple[int, bytes], ...] = ()
        self.untold: set[UnansweredReason] = set()
        self._config = config
        self._tally = tally
        self._route = route
        self._report = report
        self._to_haproxy = to_haproxy
        self._history = history
        self._links = links
        self._books = books

    @property
    def open(self) -> int:
        """How many NOTIFYs agents have received and not yet answered."""
        return self._history.open

    @property
    def oldest_since(self) -> float:
        """When HAProxy sent the oldest NOTIFY that is open or parked; infinity if there is none."""
        if self.idle:
            return math.inf
        return min([self.parking.since(), *(link.ledger.since() for link in self._links.values())])

    @property
    def idle(self) -> bool:
        """Whether no NOTIFY is open or waiting."""
        return not self._history.open and not self.parking.bytes

    def lost(self, now: float) -> int:
        """Return how many NOTIFYs got no ACK at all and may still be awaited by HAProxy."""
        return self._history.lost(now)

    def negotiated(self, size: int, *, one_at_a_time: bool) -> None:
        """HAProxy got an AGENT-HELLO that allows NOTIFYs of ``size`` bytes, one at a time or several."""
        self.told_size = size
        self.one_at_a_time = one_at_a_time
        self.most_unjudged = 1 if one_at_a_time else self._config.open_notifies

    # --- where a NOTIFY goes -------------------------------------------------------------------------------------------

    def ready(self) -> AgentLink | None:
        """Return a link that may get another NOTIFY, if any: preferably the one that got the last."""
        return self.link if self.link.ready else next((link for link in self._links.values() if link.ready), None)

    def room(self, link: AgentLink, most: int) -> int:
        """Return how many NOTIFYs may be open on ``link`` so that the session has at most ``most``."""
        others = self._history.open - len(link.ledger)
        return min(link.most - len(link.owing), most - others)

    def prefer(self, link: AgentLink) -> None:
        """Note that ``link`` got the last NOTIFY: the next one goes there too, if possible."""
        self.link = link

    def make_room(self, now: float) -> None:
        """Give up the oldest NOTIFY if no more may be open."""
        if self._history.open >= self._config.open_notifies:
            oldest = min(self._links.values(), key=lambda link: link.ledger.since())
            self.give_up(oldest.ledger.oldest(), now, UnansweredReason.LIMIT)

    def send(self, link: AgentLink, notify: Parked) -> None:
        """Send a NOTIFY to the agent of ``link``."""
        # Keep a copy only for the first link: a NOTIFY that ended two links may end a third.
        link.ledger.add(notify.ids, notify.since, None if notify.again else notify.raw)
        if notify.ours:
            link.author(notify.raw, AuthoredReason.REPLAYED if notify.again else AuthoredReason.REPAIRED)
        else:
            link.outlet.forward(notify.raw)

    def open_fragmented(self, link: AgentLink, ids: bytes, now: float) -> None:
        """Open the NOTIFY ``ids``, whose first fragment goes to the agent of ``link``."""
        if self.one_at_a_time:
            self.supersede(now)
        self.make_room(now)
        self.prefer(link)
        link.ledger.add(ids, now)

    def waited_for(self, ids: bytes) -> bool:
        """Whether HAProxy waits for the ACK of an earlier NOTIFY ``ids``, open or parked."""
        return ids in self.parking or self.holder(ids) is not None

    def holder(self, ids: bytes) -> AgentLink | None:
        """Return the link whose agent has the NOTIFY ``ids``."""
        for link in self._links.values():
            if ids in link.ledger:
                return link
        return None

    # --- where it waits ------------------------------------------------------------------------------------------------

    def park(self, notify: Parked, now: float) -> None:
        """Park a NOTIFY until a link is ready; it counts as unanswered if there are too many."""
        total = self._history.open + len(self.parking)
        if total >= self._config.open_notifies or not self._wait(notify):
            self._books.drop(notify.held)
            self._settle([notify.ids], now, UnansweredReason.LIMIT)

    def _wait(self, notify: Parked) -> bool:
        """Park a NOTIFY until a link is ready; False if there is no room."""
        if not self.parking.add(notify):
            return False
        self._tally.parked_notifies += 1
        return True

    def _unpark(self, ids: bytes) -> Parked:
        self._tally.parked_notifies -= 1
        return self.parking.take(ids)

    def send_parked(self, now: float) -> None:
        """Send parked NOTIFYs as far as links have room."""
        sent = {Redispatch.UNSENT: 0, Redispatch.UNANSWERED: 0}
        while len(self.parking):
            notify = self.parking.first()
            link = self._ready_for(notify, now)
            if link is None:
                break
            self._unpark(notify.ids)
            if len(notify.raw) - frames.LENGTH_BYTES > link.size:
                self._no_longer_fits(notify, link, now)
                continue
            self.send(link, notify)
            sent[Redispatch.UNANSWERED if notify.again else Redispatch.UNSENT] += 1
        for kind, count in sent.items():
            if count:
                self._report.add(NotifiesRedispatched(kind, count))

    def _ready_for(self, notify: Parked, now: float) -> AgentLink | None:
        """Return a link for ``notify``.

        When an agent dies, all its links end, but the guard reads those ends one by one. So a NOTIFY of a lost link goes only to
        a link that was dialled later, or to any link a moment later. Bytes from another old link prove nothing: its agent may
        have written them before it died.
        """
        if now >= notify.lost_at + DOUBT_S:
            notify.lost_at, notify.next_link = -math.inf, 0
        return next((link for link in self._links.values() if link.ready and link.number >= notify.next_link), None)

    def doubted_until(self) -> float:
        """Return when a NOTIFY of a lost link may go to a link older than that loss; infinity if no such NOTIFY waits."""
        lost_at = self.parking.first().lost_at if len(self.parking) else -math.inf
        return lost_at + DOUBT_S if lost_at > -math.inf else math.inf

    def _no_longer_fits(self, notify: Parked, link: AgentLink, now: float) -> None:
        """The agent of the new link takes smaller frames than the previous one."""
        detail = f"length {len(notify.raw) - frames.LENGTH_BYTES}, the agent takes {link.size}"
        self._report.judge(Side.HAPROXY, Anomaly.NOTIFY_OVERSIZE, notify.raw, 0, detail=detail, action=Action.DROP)
        self._books.drop(notify.held)
        self._settle([notify.ids], now, UnansweredReason.NOTIFY_DROPPED)

    # --- what settles it -----------------------------------------------------------------------------------------------

    def fate(self, ids: bytes) -> Fate:
        """Return the fate of the NOTIFY ``ids``; one that waits for its second agent is open, too."""
        notify = self.parking.find(ids)
        if (notify is not None and notify.again) or self.holder(ids) is not None:
            return Fate.OPEN
        return self._history.fate(ids)

    def answered(self, ids: bytes, now: float, via: AgentLink) -> None:
        """Settle the open NOTIFY ``ids``: its ACK, which came ``via`` that link, passes."""
        link = self.holder(ids)
        if ids in self.parking:
            since = self._unpark(ids).since
        elif link is not None:
            since = link.ledger.pop(ids)
            if link is not via and via.state is LinkState.CLOSING:  # ``via`` had it before; an agent with async answers once
                link.owe(ids, since)
            via.ledger.answered_once = True
        else:  # pragma: no cover - it is open
            return
        self._tally.observe_ack(now - since)
        self._history.remember(ids, Fate.ANSWERED)

    def give_up(self, ids: bytes, now: float, reason: UnansweredReason) -> None:
        """Count one NOTIFY (open, waiting or just arrived) as unanswered, and answer it if the route is set to."""
        link = self.holder(ids)
        if ids in self.parking:
            self._books.drop(self._unpark(ids).held)
        if link is not None:
            since = link.ledger.pop(ids)
            if link.limited and reason in _STILL_IN_HAND:
                link.owe(ids, since)
        self._settle([ids], now, reason)

    def give_up_older(self, link: AgentLink, now: float, longest_s: float, reason: UnansweredReason) -> None:
        """Count NOTIFYs that the agent of ``link`` has had for ``longest_s`` as unanswered."""
        while now >= link.ledger.since() + longest_s:
            self.give_up(link.ledger.oldest(), now, reason)

    def give_up_overdue(self, link: AgentLink, now: float, deadline_s: float) -> None:
        """Count NOTIFYs that the agent of ``link`` did not answer within ``deadline_s`` as unanswered."""
        while now >= link.ledger.since() + deadline_s:
            link.missed(link.ledger.since())
            self.give_up(link.ledger.oldest(), now, UnansweredReason.DEADLINE)

    def give_up_parked(self, now: float, reason: UnansweredReason) -> None:
        """Count every NOTIFY that waits for a link as unanswered."""
        for notify in list(self.parking):
            self.give_up(notify.ids, now, reason)

    def supersede(self, now: float) -> None:
        """HAProxy, which sends one NOTIFY at a time, sent another: it no longer waits for those open or parked.

        HAProxy 3.2 does so after its `timeout processing`: the connection is free again once the stream has ended; up to 3.0 it
        does not reuse the connection. NOTIFYs that arrive together do not count: before fd7ebf117 HAProxy 3.1 puts several
        streams on a connection while it does not know yet that the agent takes one.
        """
        for notify in list(self.parking):
            if now >= notify.since + SUPERSEDED_S:
                self.give_up(notify.ids, now, UnansweredReason.SUPERSEDED)
        for link in self._links.values():
            self.give_up_older(link, now, SUPERSEDED_S, UnansweredReason.SUPERSEDED)

    def abandon(self, now: float, reason: UnansweredReason) -> None:
        """Count every open or waiting NOTIFY as unanswered."""
        self.give_up_parked(now, reason)
        waiting: list[bytes] = []
        for link in self._links.values():
            waiting += link.ledger
            link.ledger.clear()
        if waiting:
            self._settle(waiting, now, reason)

    def take_back(self, link: AgentLink, now: float, longest_s: float, next_link: int) -> tuple[int, int]:
        """Take back the NOTIFYs of ``link``, which is lost; those that another agent may get wait for one.

        These are the NOTIFYs with a copy that were open for less than ``longest_s``; they may go to links numbered ``next_link``
        or higher. The others count as unanswered. Return how many there were, and how many of them wait.
        """
        had = [(ids, since, link.ledger.copy(ids)) for ids, since in link.ledger.items()]
        link.ledger.clear()
        lost: list[bytes] = []
        for ids, since, copy in had:
            if (
                copy is None
                or now >= since + longest_s
                or not self._wait(Parked(ids, copy, since, again=True, ours=True, lost_at=now, next_link=next_link))
            ):
                lost.append(ids)
        if lost:
            self._settle(lost, now, UnansweredReason.AGENT_GONE)
        return len(had), len(had) - len(lost)

    def release(self) -> bytes:
        """Return the waiting NOTIFYs that no agent has seen, for a shell that continues without the session.

        Open and waiting NOTIFYs leave the route's gauges.
        """
        for link in self._links.values():
            link.ledger.clear()
        self._tally.parked_notifies -= len(self.parking)
        return b"".join(notify.raw for notify in self.parking if not notify.again)

    def _settle(self, waiting: list[bytes], now: float, reason: UnansweredReason) -> None:
        unanswered = self._config.unanswered if reason in _HAPROXY_WAITS else Unanswered.LEAVE
        action = Action.PASS if unanswered is Unanswered.LEAVE else Action.ANSWER
        if reason is not UnansweredReason.HAPROXY_GONE:  # if HAProxy leaves, the agent is not to blame (F5)
            detail = f"{len(waiting)} NOTIFY{'s' if len(waiting) > 1 else ''}: {reason.value}"
            self._report.judge(Side.AGENT, Anomaly.NOTIFY_UNANSWERED, b"", 0, action=action, detail=detail)
        told = 0
        for ids in waiting:
            answered = unanswered in _BY_ACK and self._to_haproxy.author(self._answer(ids, reason), AuthoredReason.ANSWERED)
            told += answered
            self._history.give_up(ids, now, answered=answered or reason is UnansweredReason.SUPERSEDED)
        self._report.add(NotifiesUnanswered(reason, len(waiting), told if unanswered is Unanswered.EMPTY_ACK else 0))
        if unanswered is Unanswered.TELL:
            self.untold.add(reason)

    def _answer(self, ids: bytes, reason: UnansweredReason) -> bytes:
        """Return the ACK for the NOTIFY ``ids``, which no agent will answer."""
        if self._config.unanswered is Unanswered.EMPTY_ACK:
            return no_effect_ack(ids)
        action = actions.set_var(walk.SCOPE_TXN, self._config.error_name, typed_data.INT32, ERROR_CODES[reason])
        return _ack(ids, action)

    # --- async: an agent may answer on any connection of the engine ------------------------------------------------------

    def join(self, engine: bytes) -> None:
        """Let agents answer this session's NOTIFYs on links of other sessions of ``engine``, and the other way round."""
        self.engine = engine
        self._route.engines.join(engine, self._route.number, self)

    def leave_engine(self) -> None:
        """Leave the engine: this session's NOTIFYs can no longer be answered elsewhere."""
        self._route.engines.leave(self.engine, self._route.number)

    def waiting_elsewhere(self, ids: bytes) -> list[int]:
        """Return the numbers of the sessions of the engine in which the NOTIFY ``ids`` is open."""
        return self._route.engines.waiting(self.engine, ids)

    def hand_over(self, session: int, raw: bytes) -> None:
        """Queue ``raw``, an ACK, for the session with that number."""
        self.foreign = (*self.foreign, (session, raw))

    def take_untold(self) -> set[UnansweredReason]:
        """Return the reasons in ``untold`` since the last call."""
        reasons, self.untold = self.untold, set()
        return reasons

    def take_foreign(self) -> tuple[tuple[int, bytes], ...]:
        """Return the ACKs for other sessions since the last call."""
        foreign, self.foreign = self.foreign, ()
        return foreign


def no_effect_ack(ids: bytes) -> bytes:
    """Return an ACK without effect for the NOTIFY with the raw ``ids``."""
    return _ack(ids, actions.NO_EFFECT)


def _ack(ids: bytes, payload: bytes) -> bytes:
    body = frames.ACK_HEAD + ids + payload
    return len(body).to_bytes(frames.LENGTH_BYTES, "big") + body
