"""Every NOTIFY of a session from its arrival to its end: which agent link gets it, where it waits, what settles it."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from spoe_guard.core.conversation.agent_link import AgentLink
from spoe_guard.core.conversation.ledger import REMEMBERED, Fate, History
from spoe_guard.core.conversation.outlet import ByteCounts
from spoe_guard.core.conversation.parking import Parked, Parking
from spoe_guard.core.conversation.report import Report
from spoe_guard.core.conversation.route_state import RouteState
from spoe_guard.core.conversation.to_haproxy import ToHAProxy
from spoe_guard.core.payloads.disconnect import STATUS_INVALID, STATUS_RESOURCES, STATUS_TOO_BIG
from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.config import Redispatch, SessionConfig, Unanswered
from spoe_guard.core.terms.events import (
    AuthoredReason,
    LinkLoss,
    LinkLost,
    NotifiesRedispatched,
    NotifiesUnanswered,
    UnansweredReason,
)
from spoe_guard.core.terms.states import LinkState
from spoe_guard.core.terms.tally import Tally
from spoe_guard.counted import counted
from spoe_guard.wire import actions, typed_data, walk
from spoe_guard.wire import frame as frames

# How long a NOTIFY of a lost link waits for a link that was dialled since. On a starved machine a process that died closed the
# last of several hundred links 450 ms after the first.
DOUBT_S: Final = 1.0

# NOTIFYs that one step settles, or sends to another agent: a few ms, compiled. The next step, at once, goes on; where a session
# ends there is none, so the others are not answered one by one, and HAProxy learns of them by AGENT-DISCONNECT.
SETTLED_AT_ONCE: Final = 256

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

# HAProxy takes no ACK for a NOTIFY of which fragments are still to come, so the guard's waits for the last one. Behind a deadline
# it does not: HAProxy gives such a NOTIFY up itself by then. Source: ``spoe_handle_agentack_frame`` in flt_spoe.c.
_AT_THE_LAST_FRAGMENT: Final = _HAPROXY_WAITS - {UnansweredReason.DEADLINE}

# For HAProxy the NOTIFY is settled, but an agent still works on it.
_STILL_IN_HAND: Final = frozenset((UnansweredReason.LIMIT, UnansweredReason.SUPERSEDED, UnansweredReason.HAPROXY_GONE))


@dataclass(slots=True)
class Arriving:
    """A NOTIFY of which fragments are still to come.

    ``since``: when the first one came, monotonic seconds. ``link``: the one whose agent gets them; None where they are kept, or
    dropped. ``lost``: why no agent will answer it, which HAProxy learns at the last fragment. ``settled``: it already has.
    """

    ids: bytes
    since: float
    link: AgentLink | None = None
    lost: UnansweredReason | None = None
    settled: bool = False


@dataclass(slots=True)
class _Lost:
    """A lost link, until none of its NOTIFYs is open any more; arguments as for ``Notifies.take_back``.

    ``had``, ``kept``: how many there were, and how many of them wait for another agent so far.
    """

    link: AgentLink
    loss: LinkLoss
    at: float
    longest_s: float
    next_link: int
    had: int
    kept: int = 0

    def keep(self) -> None:
        """One more waits."""
        self.kept += 1


class Notifies:
    """The NOTIFYs of one session: open with an agent, or waiting for one.

    ``arriving``: the one of which fragments are still to come; HAProxy sends one at a time on a connection, and nothing between
    its fragments. ``links``: the session's, by number. ``link``: the one that got the last NOTIFY. ``told_size``: the
    max-frame-size HAProxy got in AGENT-HELLO, in bytes behind the length prefix; ``one_at_a_time``: HAProxy negotiated neither
    pipelining nor async. ``most_unjudged``: the number of open NOTIFYs up to which the fast path may open another. ``engine``:
    the engine-id, if async was negotiated. ``untold``: why NOTIFYs got no answer of which HAProxy is to learn by the end of its
    connection (``Unanswered.TELL``).
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
        self.arriving: Arriving | None = None
        self.link = links[0]
        self.parking = Parking(config.open_notifies, config.held_bytes)
        self.told_size = frames.DEFAULT_MAX_FRAME_SIZE
        self.one_at_a_time = False
        self.most_unjudged = config.open_notifies
        self.engine = b""
        self.untold: set[UnansweredReason] = set()
        self._foreign: list[tuple[int, bytes]] = []
        self._taken_back: list[_Lost] = []  # the first of them is under way
        self._doomed = 0  # of those that wait: so many are to be given up
        self._doomed_as = UnansweredReason.AGENT_GONE
        self._more_to_send = False
        self._given = 0  # on links that are gone
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
    def given(self) -> int:
        """How many NOTIFYs agents were ever given, one that two agents got twice."""
        return self._given + sum(link.ledger.opened for link in self._links.values())

    def gone(self, link: AgentLink) -> None:
        """``link`` is over, and no longer one of the session's."""
        self._given += link.ledger.opened

    @property
    def waiting(self) -> int:
        """How many NOTIFYs are open, or wait for a link."""
        return self._history.open + len(self.parking)

    @property
    def copies(self) -> int:
        """Bytes of memory that NOTIFYs take which wait, and copies of those that are open, beside HAProxy's own bytes."""
        return self.parking.in_memory - self.parking.held + sum(link.ledger.kept for link in self._links.values())

    @property
    def oldest_since(self) -> float:
        """When HAProxy sent the oldest NOTIFY that is arriving, open or parked; infinity if there is none."""
        if self.idle:
            return math.inf
        first = self.arriving.since if self.arriving is not None and not self._is_settled(self.arriving) else math.inf
        return min([first, self.parking.since(), *(link.ledger.since() for link in self._holders())])

    @property
    def idle(self) -> bool:
        """Whether no NOTIFY is arriving, open or waiting."""
        return not self._history.open and not self.parking.bytes and (self.arriving is None or self._is_settled(self.arriving))

    @property
    def unfinished(self) -> bool:
        """Whether there were more NOTIFYs to settle, or to send, than one step does."""
        return self._more_to_send or self._doomed > 0 or bool(self._taken_back)

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
            oldest = min(self._holders(), key=lambda link: link.ledger.since())
            self.give_up(oldest.ledger.oldest(), now, UnansweredReason.LIMIT)

    def send(self, link: AgentLink, notify: Parked) -> None:
        """Send a NOTIFY to the agent of ``link``."""
        # Keep a copy only for the first link: a NOTIFY that ended two links may end a third.
        link.ledger.add(notify.ids, notify.since, None if notify.again else notify.raw)
        if notify.ours:
            link.author(notify.raw, AuthoredReason.REPLAYED if notify.again else AuthoredReason.REPAIRED)
        else:
            link.outlet.forward(notify.raw)

    @property
    def longest(self) -> int:
        """The longest NOTIFY there may be now: bytes behind the length prefix."""
        link = self.ready()
        return link.size if link is not None else self.told_size

    def waited_for(self, ids: bytes) -> bool:
        """Whether HAProxy waits for the ACK of an earlier NOTIFY ``ids``, open or parked."""
        return ids in self.parking or self.holder(ids) is not None

    def holder(self, ids: bytes) -> AgentLink | None:
        """Return the link whose agent has the NOTIFY ``ids``."""
        for link in self._links.values():
            if ids in link.ledger:
                return link
        for lost in self._taken_back:
            if ids in lost.link.ledger:
                return lost.link
        return None

    def _holders(self) -> Iterator[AgentLink]:
        """Return the links whose agents have NOTIFYs, or had them until a moment ago."""
        yield from self._links.values()
        for lost in self._taken_back:
            yield lost.link

    # --- what comes in fragments ---------------------------------------------------------------------------------------

    def arrives(self, ids: bytes, now: float) -> Arriving:
        """The first fragment of the NOTIFY ``ids`` came."""
        self.arriving = arriving = Arriving(ids, now)
        self._tally.arriving_notifies += 1
        return arriving

    def stream(self, arriving: Arriving, length: int, now: float) -> AgentLink | None:
        """Open the NOTIFY on a link that takes fragments, the first one of ``length`` bytes, and return that link.

        None if there is no such link, or if a NOTIFY with its ids is open.
        """
        links = (link for link in (self.link, *self._links.values()) if link.ready and link.fragments and length <= link.size)
        arriving.link = None if self.waited_for(arriving.ids) else next(links, None)
        if arriving.link is not None:
            if self.one_at_a_time:
                self.supersede(now)
            self.make_room(now)
            self.prefer(arriving.link)
            arriving.link.ledger.add(arriving.ids, now)
        return arriving.link

    def lose_arriving(self, arriving: Arriving, now: float, reason: UnansweredReason) -> None:
        """No agent gets the rest of the NOTIFY, or any of it; HAProxy learns that at its last fragment."""
        arriving.settled = self._is_settled(arriving)  # which is asked of its link
        link, arriving.link = arriving.link, None
        if link is not None and arriving.ids in link.ledger:
            self.give_up(arriving.ids, now, reason)
        elif link is None and not self.waited_for(arriving.ids):
            arriving.lost = arriving.lost or reason

    def arrived(self, arriving: Arriving, now: float) -> None:
        """The last fragment came: from now on HAProxy takes an ACK."""
        self._no_more_arrives()
        if arriving.lost is not None and not arriving.settled:
            self._settle([arriving.ids], now, arriving.lost)

    def end_arriving(self, arriving: Arriving, now: float, reason: UnansweredReason) -> None:
        """Count the NOTIFY as unanswered before its last fragment: none will come, or, behind a deadline, too late."""
        if reason is not UnansweredReason.DEADLINE:
            self._no_more_arrives()
        if arriving.link is not None and arriving.ids in arriving.link.ledger:
            arriving.link.ledger.pop(arriving.ids)
            self._settle([arriving.ids], now, reason, links=((arriving.link.number, 1),))
        elif arriving.link is None and not arriving.settled and not self.waited_for(arriving.ids):
            self._settle([arriving.ids], now, reason)
        arriving.settled = True

    def _no_more_arrives(self) -> None:
        self._tally.arriving_notifies -= self.arriving is not None
        self.arriving = None

    @staticmethod
    def _is_settled(arriving: Arriving) -> bool:
        """Whether HAProxy has learnt what becomes of it; the agent that gets the fragments may have answered before the last."""
        link = arriving.link
        return arriving.settled or (link is not None and arriving.lost is None and arriving.ids not in link.ledger)

    # --- where it waits ------------------------------------------------------------------------------------------------

    def park(self, notify: Parked, now: float) -> None:
        """Park a NOTIFY until a link is ready; it counts as unanswered if there are too many."""
        if self.waiting >= self._config.open_notifies or not self._wait(notify):
            self._books.drop(notify.held)
            self._settle([notify.ids], now, UnansweredReason.LIMIT, raw=notify.raw)

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
        self._more_to_send = False
        while len(self.parking) and not self._doomed:
            notify = self.parking.first()
            link = self._ready_for(notify, now)
            if link is None:
                break
            if sum(sent.values()) >= SETTLED_AT_ONCE:
                self._more_to_send = True
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

        When an agent dies, all its links end, but the guard reads those ends one by one, and an agent that is short of CPU dies
        slowly. So a NOTIFY of a lost link goes only to a link that was dialled later: its AGENT-HELLO proves that there is an
        agent. If none comes within ``DOUBT_S``, it goes to any link: the agent may just take no more connections. Bytes from
        another old link prove nothing: its agent may have written them before it died.
        """
        if now >= notify.lost_at + DOUBT_S:
            notify.next_link = 0
        return next((link for link in self._links.values() if link.ready and link.number >= notify.next_link), None)

    def doubted_until(self) -> float:
        """Return when a NOTIFY of a lost link may go to a link older than that loss; infinity if no such NOTIFY waits."""
        if not len(self.parking) or not self.parking.first().next_link:
            return math.inf
        return self.parking.first().lost_at + DOUBT_S

    def _no_longer_fits(self, notify: Parked, link: AgentLink, now: float) -> None:
        """The agent of the new link takes smaller frames than the previous one."""
        detail = f"length {len(notify.raw) - frames.LENGTH_BYTES}, the agent takes {link.size}"
        self._report.judge(Side.HAPROXY, Anomaly.NOTIFY_OVERSIZE, notify.raw, 0, detail=detail, action=Action.DROP)
        self._books.drop(notify.held)
        self._settle([notify.ids], now, UnansweredReason.NOTIFY_DROPPED, raw=notify.raw)

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
        raw: bytes | None = None
        links: tuple[tuple[int, int], ...] = ()
        if ids in self.parking:
            notify = self._unpark(ids)
            raw = notify.raw
            self._books.drop(notify.held)
        if link is not None:
            links = ((link.number, 1),)
            raw = link.ledger.copy(ids) or raw
            since = link.ledger.pop(ids)
            if link.limited and reason in _STILL_IN_HAND:
                link.owe(ids, since)
        self._settle([ids], now, reason, raw=raw, links=links)

    def give_up_overdue(self, link: AgentLink, now: float, deadline_s: float, most: int) -> int:
        """Count NOTIFYs that the agent of ``link`` did not answer within ``deadline_s`` as unanswered.

        At most ``most`` of them; return how many less that leaves.
        """
        while most > 0 and now >= link.ledger.since() + deadline_s:
            most -= 1
            self._route.agent.left_unanswered(link.missed(link.ledger.since()))
            self.give_up(link.ledger.oldest(), now, UnansweredReason.DEADLINE)
        return most

    def give_up_waiting(self, now: float, longest_s: float, reason: UnansweredReason, most: int) -> int:
        """Do the same to NOTIFYs that wait for a link, and that HAProxy sent ``longest_s`` ago."""
        while most > 0 and now >= self.parking.since() + longest_s:
            most -= 1
            self.give_up(self.parking.oldest().ids, now, reason)
        return most

    def give_up_without_room(self, now: float, longest_s: float, most: int) -> None:
        """Do the same to NOTIFYs that have waited for a link for ``longest_s``, though the agent is there."""
        while most > 0 and now >= self.parking.parked_since() + longest_s:
            most -= 1
            self.give_up(self.parking.longest_parked().ids, now, UnansweredReason.DEADLINE)

    def give_up_parked(self, now: float, reason: UnansweredReason) -> None:
        """Count every NOTIFY that waits for a link as unanswered; those beyond ``SETTLED_AT_ONCE`` in the next steps."""
        self._doomed, self._doomed_as = len(self.parking), reason
        self._give_up_doomed(now, SETTLED_AT_ONCE)

    def _give_up_doomed(self, now: float, most: int) -> None:
        self._doomed = min(self._doomed, len(self.parking))
        while self._doomed > 0 and most > 0:
            most -= 1
            self._doomed -= 1
            self.give_up(self.parking.first().ids, now, self._doomed_as)

    def supersede(self, now: float) -> None:
        """HAProxy, which sends one NOTIFY at a time, sent another: it no longer waits for those open or parked.

        HAProxy 3.2 does so after its `timeout processing`: the connection is free again once the stream has ended; up to 3.0 it
        does not reuse the connection. NOTIFYs that arrive together do not count: before fd7ebf117 HAProxy 3.1 puts several
        streams on a connection while it does not know yet that the agent takes one.
        """
        most = self.give_up_waiting(now, SUPERSEDED_S, UnansweredReason.SUPERSEDED, SETTLED_AT_ONCE)
        for link in self._links.values():
            while most > 0 and now >= link.ledger.since() + SUPERSEDED_S:
                most -= 1
                self.give_up(link.ledger.oldest(), now, UnansweredReason.SUPERSEDED)

    def settle_more(self, now: float) -> None:
        """Go on with what was too much for one step."""
        most = SETTLED_AT_ONCE
        while most > 0 and self._taken_back:
            most = self._take_back(self._taken_back[0], now, most)
        self._give_up_doomed(now, most)

    def abandon(self, now: float, reason: UnansweredReason) -> None:
        """Count every NOTIFY as unanswered that is arriving, waiting or open: the session is about to end."""
        if self.arriving is not None:
            self.end_arriving(self.arriving, now, reason)
        self.abandon_parked(now, reason)
        waiting: list[bytes] = []
        last: list[bytes] = []
        raw: bytes | None = None
        more = 0
        links: list[tuple[int, int]] = []
        for link in self._holders():
            ledger = link.ledger
            links.append((link.number, len(ledger)))
            if not waiting and ledger:
                raw = ledger.copy(ledger.oldest())
            while ledger and len(waiting) < SETTLED_AT_ONCE:
                waiting.append(ledger.oldest())
                ledger.pop(waiting[-1])
            more += len(ledger)
            last += ledger.last(REMEMBERED)
            ledger.clear()
        self._settle(waiting, now, reason, last[-REMEMBERED:], more, raw, links=tuple(links))
        for lost in self._taken_back:
            self._report.add(LinkLost(lost.loss, lost.had, lost.kept))
        self._taken_back.clear()

    def abandon_parked(self, now: float, reason: UnansweredReason) -> None:
        """Count every NOTIFY that waits for a link as unanswered: the session is about to end."""
        self.give_up_parked(now, reason)
        self._doomed = 0
        count, held, last = self.parking.drop_all(REMEMBERED)
        self._tally.parked_notifies -= count
        self._books.drop(held)
        self._settle([], now, reason, last, count)

    def take_back(self, link: AgentLink, loss: LinkLoss, now: float, longest_s: float, next_link: int) -> tuple[int, int]:
        """Take back the NOTIFYs of ``link``, which is lost; those that another agent may get wait for one.

        These are the NOTIFYs with a copy that were open for less than ``longest_s``; they may go to links numbered ``next_link``
        or higher. The others count as unanswered. Those beyond ``SETTLED_AT_ONCE`` are taken back in the next steps, and open
        until then. Return how many there were, and how many of them wait so far.
        """
        lost = _Lost(link, loss, now, longest_s, next_link, len(link.ledger))
        self._taken_back.append(lost)
        if len(self._taken_back) == 1:
            self._take_back(lost, now, SETTLED_AT_ONCE)
        return lost.had, lost.kept

    def _take_back(self, lost: _Lost, now: float, most: int) -> int:
        """Take back at most ``most`` NOTIFYs; return how many less that leaves."""
        ledger = lost.link.ledger
        gone: list[bytes] = []
        while most > 0 and ledger:
            most -= 1
            ids = ledger.oldest()
            copy = ledger.copy(ids)
            since = ledger.pop(ids)
            if (
                copy is None
                or lost.at >= since + lost.longest_s
                or not self._wait(Parked(ids, copy, since, again=True, ours=True, lost_at=lost.at, next_link=lost.next_link))
            ):
                gone.append(ids)
            else:
                lost.keep()
        self._settle(gone, now, UnansweredReason.AGENT_GONE, links=((lost.link.number, len(gone)),))
        if not ledger:
            self._taken_back.remove(lost)
            self._report.add(LinkLost(lost.loss, lost.had, lost.kept))
        return most

    def release(self) -> bytes:
        """Return the waiting NOTIFYs that no agent has seen, for a shell that continues without the session.

        Open and waiting NOTIFYs leave the route's gauges.
        """
        for link in self._holders():
            link.ledger.clear()
        self._tally.parked_notifies -= len(self.parking)
        return b"".join(notify.raw for notify in self.parking if not notify.again)

    def _settle(  # noqa: PLR0913  what is known of them
        self,
        waiting: list[bytes],
        now: float,
        reason: UnansweredReason,
        last: list[bytes] | None = None,
        more: int = 0,
        raw: bytes | None = None,
        *,
        links: tuple[tuple[int, int], ...] = (),
    ) -> None:
        """Count NOTIFYs as unanswered: ``waiting``, and ``more`` that get no ACK, of which ``last`` are the last.

        ``raw``: the first one's bytes, where the guard has them. ``links``: how many the agent of which link had in hand.
        """
        if self.arriving is not None and self.arriving.ids in waiting:
            waiting = self._without(self.arriving, waiting, reason)
        count = len(waiting) + more
        if not count:
            return
        unanswered = self._config.unanswered if reason in _HAPROXY_WAITS else Unanswered.LEAVE
        action = Action.PASS if unanswered is Unanswered.LEAVE else Action.ANSWER
        if reason is not UnansweredReason.HAPROXY_GONE:  # if HAProxy leaves, the agent is not to blame (F5)
            detail = f"{counted(count, 'NOTIFY')}: {reason.value}"
            first = _notify((waiting or last or [b""])[0])
            self._report.judge(Side.AGENT, Anomaly.NOTIFY_UNANSWERED, raw or b"", 0, parsed=first, action=action, detail=detail)
        told = 0
        for ids in waiting:
            answered = unanswered in _BY_ACK and self._to_haproxy.author(self._answer(ids, reason), AuthoredReason.ANSWERED)
            told += answered
            self._history.give_up(ids, now, answered=answered or reason is UnansweredReason.SUPERSEDED)
        for ids in last or ():
            self._history.remember(ids, Fate.GIVEN_UP)
        self._history.lose(more, now)
        self._report.add(NotifiesUnanswered(reason, count, told if unanswered is Unanswered.EMPTY_ACK else 0, links))
        if unanswered is Unanswered.TELL:
            self.untold.add(reason)

    def _without(self, arriving: Arriving, waiting: list[bytes], reason: UnansweredReason) -> list[bytes]:
        """Return ``waiting`` without the NOTIFY that is arriving, if HAProxy is to learn of it at its last fragment."""
        if reason not in _AT_THE_LAST_FRAGMENT:
            arriving.settled = True
            return waiting
        arriving.lost = arriving.lost or reason
        return [ids for ids in waiting if ids != arriving.ids]

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
        self._foreign.append((session, raw))

    def take_untold(self) -> set[UnansweredReason]:
        """Return the reasons in ``untold`` since the last call."""
        reasons, self.untold = self.untold, set()
        return reasons

    def take_foreign(self) -> tuple[tuple[int, bytes], ...]:
        """Return the ACKs for other sessions since the last call."""
        foreign, self._foreign = self._foreign, []
        return tuple(foreign)


def no_effect_ack(ids: bytes) -> bytes:
    """Return an ACK without effect for the NOTIFY with the raw ``ids``."""
    return _ack(ids, actions.NO_EFFECT)


def _ack(ids: bytes, payload: bytes) -> bytes:
    body = frames.ACK_HEAD + ids + payload
    return len(body).to_bytes(frames.LENGTH_BYTES, "big") + body


def _notify(ids: bytes) -> frames.Frame | None:
    """Return a NOTIFY with ``ids`` and nothing else, for a report of one whose bytes are gone; None without ids."""
    return frames.parse(bytes(frames.LENGTH_BYTES) + bytes((frames.NOTIFY,)) + frames.FIN_ALONE + ids)
