"""The observer of the network ring: it counts and logs what sessions report."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.events import (
    AgentReady,
    AgentUnreachable,
    AnomalySeen,
    DialFailure,
    DisconnectHeld,
    DisconnectSeen,
    EndedBy,
    EndReason,
    Event,
    FrameAuthored,
    GaveWay,
    HaproxyKnown,
    LinkLoss,
    LinkLost,
    LinkUp,
    NotifiesRedispatched,
    NotifiesUnanswered,
    OneAtATime,
    SessionEnded,
    UnansweredReason,
)
from spoe_guard.core.terms.tally import Tally
from spoe_guard.observe.consequence import Consequence, consequence
from spoe_guard.observe.incidents import Incidents, Kind
from spoe_guard.observe.journal import Journal, SessionNotes
from spoe_guard.observe.limit import RateLimit
from spoe_guard.observe.logs import Log
from spoe_guard.observe.stats import Labels, RouteStats, status_label, type_name
from spoe_guard.options import DEFAULT_PAYLOAD, Payload

SAMPLES: Final = 10  # anomalies of one name and route that are reported within SAMPLES_S; beyond that they are only counted
SAMPLES_S: Final = 1.0


class _OfRoutes(dict[str, RouteStats]):
    """By route. Of one that is gone nothing is kept: what comes late is counted for nobody."""

    def __missing__(self, route: str) -> RouteStats:
        return RouteStats()


class GuardObserver:
    """An ``Observer`` (net/observer.py) for the given routes.

    ``routes``: their numbers, as metrics and page show them. ``all``: beside them those of routes that were taken away, until
    their last sessions have ended.

    ``lines`` per ``period_s`` bound the log lines of each route; ``payload``: how much the page shows of what the peers wrote.
    """

    def __init__(
        self,
        routes: Iterable[str],
        log: Log,
        lines: int,
        period_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        payload: Payload = DEFAULT_PAYLOAD,
    ) -> None:
        self.routes: dict[str, RouteStats] = {name: RouteStats() for name in routes}
        self._all = _OfRoutes(self.routes)
        self.all: Mapping[str, RouteStats] = self._all
        self.incidents = Incidents(clock, payload)
        self.journal = Journal(log, self.all, self.incidents, lines, period_s, clock)
        self._clock = clock
        self._sessions: dict[int, SessionNotes] = {}
        self._told: RateLimit[tuple[str, Anomaly]] = RateLimit(SAMPLES, SAMPLES_S, clock)  # for log and page
        self._last: tuple[RouteStats, Side, Anomaly, Action, bool] | None = None
        self._last_labels: Labels = ()
        self._last_consequence: Labels = ()
        self._last_kind: Kind = ()

    def set(self, rate: tuple[int, float], payload: Payload, unique_id: str | None = None) -> None:
        """Set the log rate (lines, seconds), how much the page shows, and the argument of NOTIFYs that the log names."""
        self.journal.limit(*rate)
        self.journal.unique_id = unique_id
        self.incidents.payload = payload

    def serve(self, routes: Sequence[str]) -> None:
        """Have these routes from now on, in that order, all of which were met. What goes is kept until it is forgotten."""
        self.routes.clear()
        self.routes.update((name, self._all[name]) for name in routes)

    def meet(self, route: str) -> None:
        """Have numbers for a route. One that comes back before it is forgotten goes on with its own."""
        if route not in self._all:
            self._all[route] = RouteStats()

    def forget(self, route: str) -> None:
        """A route that was taken away has no session any more: log the end of its incidents, and keep nothing of it."""
        self.journal.forget(route)
        self._all.pop(route, None)
        self._told.forget(lambda key: key[0] == route)

    def tally(self, route: str) -> Tally:
        """Return the counters the sessions of ``route`` add to."""
        return self._all[route].tally

    def session_opened(self, route: str, session: int, peer: str) -> None:
        """Count a new connection from HAProxy."""
        stats = self._all[route]
        stats.connections += 1
        stats.open += 1
        stats.peer, stats.peer_at = peer, self._clock()
        self._sessions[session] = SessionNotes(peer, self._clock())
        self.journal.opened(route, session, peer)

    def peer_named(self, route: str, session: int, peer: str) -> None:
        """Note and log who really connected, by the session's PROXY header."""
        notes = self._sessions[session]
        self.journal.named(route, session, peer, notes.peer)
        notes.peer = self._all[route].peer = peer

    def seen(self, route: str, session: int, events: Sequence[Event]) -> None:
        """Count and log the events of a step, in order."""
        stats = self._all[route]
        notes = self._sessions.get(session) or SessionNotes("", self._clock())  # none after its end: this must not raise
        unanswered: AnomalySeen | None = None
        for event in events:
            self._seen(stats, notes, event)
            if isinstance(event, AnomalySeen):
                self._told.allows((route, event.anomaly))
                if event.anomaly is Anomaly.NOTIFY_UNANSWERED:
                    unanswered = event  # the event behind it says how many, and why
                    self.journal.not_alone(route, session, event)
                else:
                    incident = self.incidents.happened(route, self._last_kind, families=stats.known_families)
                    incident.met(session, event)
                    self.journal.anomaly(incident, session, event)
            elif isinstance(event, NotifiesUnanswered):
                self.journal.unanswered(route, session, event, unanswered)
                unanswered = None
            else:
                self._tell(route, session, notes, event)

    def _tell(self, route: str, session: int, notes: SessionNotes, event: Event) -> None:
        """Log what is not as usual."""
        if isinstance(event, AgentUnreachable):
            if event.agent:  # otherwise ``agent_dialled`` was called for each address
                self.journal.unreachable(route, session, event)
        elif isinstance(event, AgentReady):
            self._answered(route, self._all[route], event)
        elif isinstance(event, OneAtATime):
            self.journal.one_at_a_time(route, session, notes.peer)
        elif isinstance(event, LinkLost):
            self.journal.link_lost(route, session, event)
        elif isinstance(event, LinkUp):
            self.journal.link_up(route, session, event)

    def notes(self, session: int) -> SessionNotes | None:
        """Return what is known of an open session; None if there is none of that number."""
        return self._sessions.get(session)

    def wants(self, route: str, anomaly: Anomaly) -> bool:
        """Return whether log and page have room for an anomaly."""
        return self._told.has((route, anomaly))

    def counted(self, route: str, side: Side, anomaly: Anomaly, action: Action, *, applied: bool) -> None:
        """Count an anomaly that is not reported."""
        stats = self._all[route]
        self._count(stats, side, anomaly, action, applied=applied)
        if anomaly is not Anomaly.NOTIFY_UNANSWERED:
            self.journal.counted(self.incidents.happened(route, self._last_kind, families=stats.known_families))

    def _answered(self, route: str, stats: RouteStats, ready: AgentReady) -> None:
        agent = stats.agent(ready.agent)
        if agent.up is False:
            self.journal.address_up(route, ready.agent)
        agent.answered(self._clock())

    def session_closed(self, route: str, session: int) -> None:
        """Count and log a session whose connections are all closed."""
        stats = self._all[route]
        notes = self._sessions.pop(session)
        stats.open -= 1
        if notes.ended is None:  # a session always reports its end, unless a bug of ours broke it
            stats.closed[EndedBy.GUARD.value, EndReason.INTERNAL_ERROR.value] += 1
        self.journal.closed(route, session, notes)

    def agent_dialled(self, route: str, agent: str, reason: DialFailure | None, detail: str) -> None:
        """Count a dial; whether the agent is up, only its HELLO will tell."""
        stats = self._all[route].agent(agent)
        stats.dials += 1
        if reason is None:
            return
        stats.failed(self._clock(), reason, detail)
        self.journal.not_dialled(route, agent, reason, detail)

    def agent_silent(self, route: str, agent: str, detail: str) -> None:
        """Note and log that one address of several is passed over, for its links are silent."""
        reason = LinkLoss.DEADLINE
        self._all[route].agent(agent).tried(self._clock(), up=False, detail=f"{reason.value}: {detail}")
        self.journal.not_dialled(route, agent, reason, detail)

    def agent_moved(self, route: str, before: str, after: str, why: str) -> None:
        """Log that new links go to another address."""
        self.journal.failover(route, before, after, why)

    def link_opened(self, route: str, agent: str) -> None:
        """Count an agent link that opened."""
        self._all[route].agent(agent).links += 1

    def link_closed(self, route: str, agent: str) -> None:
        """Count an agent link that closed."""
        self._all[route].agent(agent).links -= 1

    def accept_failed(self, route: str, why: str) -> None:
        """Count and log that connections wait because the guard is short of something."""
        self._all[route].accept_failures[DialFailure.OWN_LIMIT.value,] += 1
        self.journal.own_limit(route, "accept", why)

    def gave_way(self, route: str, session: int, reason: GaveWay, kept: int) -> None:
        """Count and log that a session gives way to others."""
        self._all[route].gave_way[reason.value,] += 1
        notes = self._sessions.get(session)
        self.journal.gave_way(route, session, notes.peer if notes is not None else "", reason, kept)

    def internal_error(self, route: str, session: int, error: BaseException) -> None:
        """Count and log a bug of ours."""
        self._all[route].internal_errors += 1
        self.journal.internal_error(route, session, error)

    def _count(self, stats: RouteStats, side: Side, anomaly: Anomaly, action: Action, *, applied: bool) -> None:
        """Count an anomaly. Its labels are cached: in a flood they rarely change."""
        last = stats, side, anomaly, action, applied
        if last != self._last:
            self._last = last
            self._last_labels = side.value, anomaly.value, action.value, "true" if applied else "false"
            came_of_it = consequence(side, anomaly, action, applied=applied, families=stats.known_families())
            self._last_consequence = (anomaly.value, came_of_it.value) if came_of_it is not Consequence.NONE else ()
            self._last_kind = ("anomaly", *self._last_labels)
        stats.anomalies[self._last_labels] += 1
        if self._last_consequence:
            stats.consequences[self._last_consequence] += 1
        if anomaly is Anomaly.LATE_ACK and stats.tally.late_after < math.inf:
            stats.tally.late_acks += 1

    def _seen(self, stats: RouteStats, notes: SessionNotes, event: Event) -> None:
        match event:
            case AnomalySeen():
                self._count(stats, event.side, event.anomaly, event.action, applied=event.applied)
            case FrameAuthored():
                stats.authored[event.direction.value, type_name(event.type), event.reason.value] += 1
            case DisconnectSeen():
                stats.disconnects[event.side.value, status_label(event.status_code)] += 1
                notes.disconnect = notes.disconnect or event
            case NotifiesUnanswered():
                _seen_unanswered(stats, event)
            case DisconnectHeld():
                stats.observe_hold(event.seconds)
            case AgentReady():
                notes.healthcheck = event.healthcheck
            case HaproxyKnown():
                stats.families[event.family.value,] += 1
                self._last = None  # what an anomaly costs depends on the family
            case LinkUp() | NotifiesRedispatched() | AgentUnreachable():
                _seen_of_links(stats, event, self._clock())
            case SessionEnded():
                stats.closed[event.by.value, event.reason.value] += 1
                notes.ended = event


def _seen_unanswered(stats: RouteStats, event: NotifiesUnanswered) -> None:
    stats.unanswered[event.reason.value,] += event.count
    stats.unchecked += event.unchecked
    if event.reason is not UnansweredReason.HAPROXY_GONE:
        for address, count in event.agents:
            stats.agent(address).failed_notifies += count


def _seen_of_links(stats: RouteStats, event: LinkUp | NotifiesRedispatched | AgentUnreachable, now: float) -> None:
    match event:
        case LinkUp():
            stats.links_opened[event.reason.value,] += 1
        case NotifiesRedispatched():
            stats.redispatched[event.kind.value,] += event.count
        case AgentUnreachable():
            if event.agent:  # otherwise ``agent_dialled`` was called for each address
                stats.agent(event.agent).failed(now, event.reason, event.detail)
