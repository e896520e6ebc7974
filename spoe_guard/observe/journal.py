"""The log lines for the events of a route: which line, at which level, and how often (docs/logs.md)."""

from collections.abc import Callable, Mapping
from typing import Final

from spoe_guard.core.terms.anomalies import CATALOGUE, Anomaly
from spoe_guard.core.terms.events import (
    AgentUnreachable,
    AnomalySeen,
    DialFailure,
    DisconnectSeen,
    EndedBy,
    EndReason,
    GaveWay,
    LinkLoss,
    LinkLost,
    LinkReason,
    LinkUp,
    NotifiesUnanswered,
    SessionEnded,
)
from spoe_guard.observe.anomaly_text import placed
from spoe_guard.observe.incidents import Incident, Incidents, Kind
from spoe_guard.observe.limit import RateLimit
from spoe_guard.observe.logs import Log, utc
from spoe_guard.observe.stats import RouteStats
from spoe_guard.wire import frame, kv, typed_data

HEX_BYTES: Final = 64  # of an anomaly's sample, in its line
MOST_OF_AN_ARGUMENT: Final = 128  # characters of ``unique_id``
_SHORTEST: Final = frame.LENGTH_BYTES + 7  # bytes of a whole frame

GOES_ON_S: Final = 60.0  # how often the log says how an incident goes on
AGAIN_S: Final = 60.0  # within which a change that may come and go many times is said once, but for debug lines

_ONE_AT_A_TIME: Final = (
    "the kernel does not tell how much this HAProxy has not read: it is on another machine or in another network namespace, or "
    "netlink is not allowed here; unless it is 3.0 or older and offers async, it is to send one NOTIFY at a time on a connection"
)

_GAVE_WAY: Final = {
    GaveWay.TOTAL_BYTES: "all sessions together keep more than limits.total_bytes, and this one keeps most: the agent is away or "
    "slow, or HAProxy does not read; raise the bound, and the limit of memory with it",
    GaveWay.NO_HELLO: "it has sent no HAPROXY-HELLO, and there are too many connections: not HAProxy alone connects here; "
    "restrict who may, or raise limits.connections, or the number of open files where own_limit is logged",
}

# Ordinary ends of a session. HAProxy 3.1 and later close idle connections with a reset and no DISCONNECT.
_ORDINARY: Final = frozenset(
    (
        (EndedBy.HAPROXY, EndReason.DISCONNECT),
        (EndedBy.HAPROXY, EndReason.CLOSED),
        (EndedBy.HAPROXY, EndReason.RESET),
        (EndedBy.GUARD, EndReason.IDLE_TIMEOUT),
        (EndedBy.GUARD, EndReason.DRAIN),
        (EndedBy.GUARD, EndReason.HANDED_OVER),
    )
)


Fields = dict[str, object]
_TOLD: Final[Fields] = {"": None}  # what else was to be said of the first was said, and is not kept


class SessionNotes:
    """Facts about an open session for the log line at its end."""

    __slots__ = ("disconnect", "ended", "healthcheck", "opened_at", "peer")

    def __init__(self, peer: str, opened_at: float) -> None:
        self.peer = peer
        self.opened_at = opened_at
        self.healthcheck = False
        self.disconnect: DisconnectSeen | None = None  # the first: later ones are not the reason
        self.ended: SessionEnded | None = None


class Journal:
    """Logs what happens. Beside debug lines and the last ones, there are at most ``lines`` per ``period_s`` for each route.

    What goes wrong is an incident: one line when it begins, one a minute, and one when it is over. The first waits for its turn
    where the limit does not allow it at once. ``unique_id``: the argument of NOTIFYs whose value is in lines about them.
    """

    def __init__(
        self,
        log: Log,
        stats: Mapping[str, RouteStats],
        incidents: Incidents,
        lines: int,
        period_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._log = log
        self._stats = stats
        self._incidents = incidents
        self._clock = clock
        self._limit: RateLimit[str] = RateLimit(lines, period_s, clock)
        self._one_at_a_time: set[str] = set()  # routes of which it was said
        self._again: RateLimit[tuple[str, str, str]] = RateLimit(1, AGAIN_S, clock)
        self.unique_id: str | None = None

    def limit(self, lines: int, period_s: float) -> None:
        """Set a new limit for the lines of each route."""
        self._limit.set(lines, period_s)

    def opened(self, route: str, session: int, peer: str) -> None:
        """Log that a client connected."""
        self._say("debug", "session_opened", route, session=session, peer=peer)

    def named(self, route: str, session: int, peer: str, via: str) -> None:
        """Log who connected by way of ``via``."""
        self._say("debug", "session_named", route, session=session, peer=peer, via=via)

    def closed(self, route: str, session: int, notes: SessionNotes) -> None:
        """Log how a session ended: as an incident only if the end was unusual."""
        ended = notes.ended or SessionEnded(EndedBy.GUARD, EndReason.INTERNAL_ERROR)  # it always reports its end, unless it broke
        fields: Fields = {
            "session": session,
            "peer": notes.peer,
            "by": ended.by.value,
            "reason": ended.reason.value,
            "seconds": round(self._clock() - notes.opened_at, 3),
        }
        if notes.disconnect is not None:
            seen = notes.disconnect
            fields |= {"disconnect_side": seen.side.value, "status_code": seen.status_code}
            if self._log.payload == "full":
                fields["message"] = seen.message
            if seen.open_notifies:
                fields["open_notifies"] = seen.open_notifies
        if _is_ordinary(ended, notes):
            self._say("debug", "session_closed", route, **fields)
        else:
            self._happened(route, ("session_closed", ended.by.value, ended.reason.value), session, fields)

    def anomaly(self, incident: Incident, session: int, seen: AnomalySeen) -> None:
        """Log an anomaly, with the action that was taken, or would have been in observe mode."""
        if not self._begin(incident):
            self._also(seen, incident.route, session, incident=incident.id)

    def counted(self, incident: Incident) -> None:
        """Begin the incident of an anomaly that was not reported, if that is still to be done."""
        if not incident.told and incident.count == 1:  # later, once a second: there may be ten thousand
            self._begin(incident)

    def not_alone(self, route: str, session: int, seen: AnomalySeen) -> None:
        """Log an anomaly of which something else tells; at debug level."""
        self._also(seen, route, session)

    def _also(self, seen: AnomalySeen, route: str, session: int, **of: object) -> None:
        if self._log.enabled("debug"):
            self._log.say("debug", "anomaly", route=route, **of, session=session, **self._of_anomaly(seen))

    def _of_anomaly(self, seen: AnomalySeen) -> Fields:
        sentence, full = CATALOGUE[seen.anomaly].sentence, self._log.payload == "full"
        detail = "" if self._log.payload == "off" else seen.explanation(quotes=full)
        kind = {"side": seen.side.value, "anomaly": seen.anomaly.value, "action": seen.action.value, "applied": seen.applied}
        return {**kind, **self._of_sample(seen), "sentence": f"{sentence} ({detail})" if detail else sentence}

    def _of_sample(self, seen: AnomalySeen) -> Fields:
        fields: Fields = placed(seen)
        if self.unique_id is not None and self._log.payload != "off":
            value = argument(seen.sample, self.unique_id)
            fields |= {} if value is None else {"unique_id": value}
        return fields | ({"hex": seen.sample[:HEX_BYTES].hex()} if self._log.payload == "full" else {})

    def unanswered(self, route: str, session: int, lost: NotifiesUnanswered, seen: AnomalySeen | None) -> None:
        """Log that NOTIFYs will get no ACK of the agent. ``seen``: the anomaly of that, if it was reported."""
        about: Fields = {"session": session, "reason": lost.reason.value, "count": lost.count, "unchecked": lost.unchecked}
        self._happened(route, ("notifies_unanswered", lost.reason.value), session, about, lost.count, seen)

    def unreachable(self, route: str, session: int, seen: AgentUnreachable) -> None:
        """Log that the agent at an address did not answer."""
        if seen.reason is DialFailure.OWN_LIMIT:
            self.own_limit(route, "dial", seen.detail)
            return
        about: Fields = {"session": session, "agent": seen.agent, "reason": seen.reason.value, "detail": seen.detail}
        self._happened(route, ("agent_unreachable", seen.agent, seen.reason.value), session, about)

    def not_dialled(self, route: str, agent: str, reason: DialFailure | LinkLoss, detail: str) -> None:
        """Log that an address could not be dialled, or that its links are silent."""
        if reason is DialFailure.OWN_LIMIT:
            self.own_limit(route, "dial", detail)
            return
        about: Fields = {"agent": agent, "reason": reason.value, "detail": detail}
        self._happened(route, ("agent_unreachable", agent, reason.value), 0, about)

    def address_up(self, route: str, agent: str) -> None:
        """Log that an address answers again."""
        level = self._level_of_change("agent_reachable", route, agent)
        self._say(level, "agent_reachable", route, agent=agent)

    def failover(self, route: str, before: str, after: str, why: str) -> None:
        """Log that new links go to another address than before; ``why``: empty if that one is back."""
        level, why = ("warning", why) if why else ("info", "answers again")
        self._say(level, "agent_failover", route, **{"from": before, "to": after, "why": why})

    def own_limit(self, route: str, doing: str, why: str) -> None:
        """Log that the guard is short of something. ``doing``: what it could not do, ``accept`` or ``dial``."""
        self._happened(route, ("own_limit", doing), 0, {"doing": doing, "detail": why})

    def gave_way(self, route: str, session: int, peer: str, reason: GaveWay, kept: int) -> None:
        """Log that a session gives way to others, because all together reached a bound."""
        about: Fields = {"session": session, "peer": peer, "reason": reason.value, "bytes": kept, "detail": _GAVE_WAY[reason]}
        self._happened(route, ("session_gave_way", reason.value), session, about)

    def one_at_a_time(self, route: str, session: int, peer: str) -> None:
        """Log that HAProxy at ``peer`` is not to pipeline; once for a route, as it is so for each of its connections."""
        if route not in self._one_at_a_time:
            self._one_at_a_time.add(route)
            self._say("info", "one_at_a_time", route, session=session, peer=peer, detail=_ONE_AT_A_TIME)

    def link_lost(self, route: str, session: int, lost: LinkLost) -> None:
        """Log that a session lost one of its agent links and continues."""
        about: Fields = {
            "session": session,
            "reason": lost.reason.value,
            "open_notifies": lost.open_notifies,
            "again": lost.again,
        }
        if lost.reason is LinkLoss.RETIRED:
            self._say("debug", "agent_link_lost", route, **about)
        else:
            self._happened(route, ("agent_link_lost", lost.reason.value), session, about)

    def link_up(self, route: str, session: int, up: LinkUp) -> None:
        """Log a new link: at info level if it replaces a lost agent, else at debug level."""
        fields: Fields = {"session": session, "reason": up.reason.value, "away": round(up.away_s, 3)}
        level = self._level_of_change("agent_link_up", route) if up.reason is LinkReason.REPLACEMENT else "debug"
        self._say(level, "agent_link_up", route, **fields)

    def internal_error(self, route: str, session: int, error: BaseException) -> None:
        """Log a bug of the guard, with its traceback."""
        about: Fields = {"session": session, "error": self._log.error_text(error), "exc_info": error}
        self._happened(route, ("internal_error", type(error).__name__), session, about)

    def sum_up(self, *, all_of_it: bool = False) -> None:
        """Log what is due of incidents, and how many lines were left out. To be called every second.

        With ``all_of_it`` the last lines: each incident is over, and no limit holds.
        """
        if all_of_it:
            for incident in self._incidents.end_all():
                self._ended(incident)
        for incident, over in self._incidents.due():
            if over:
                self._over(incident)
            elif not incident.told:
                self._begin(incident)
            elif self._clock() - incident.said_at >= GOES_ON_S:
                self._goes_on(incident)
        for route, count, seconds in self._limit.summaries(all_of_them=all_of_it):
            if not self._log.say("warning", "log_suppressed", route=route, count=count, seconds=round(seconds, 1)):
                self._limit.leave_out(route, count)

    def forget(self, route: str) -> None:
        """Log the last lines of a route that is gone, and keep nothing of it."""
        for incident in self._incidents.end_route(route):
            self._ended(incident, because="route_removed")
        for _route, count, seconds in self._limit.forget(lambda key: key == route):
            self._log.say("warning", "log_suppressed", route=route, count=count, seconds=round(seconds, 1))
        self._again.forget(lambda key: key[1] == route)
        self._one_at_a_time.discard(route)

    # Incidents

    def _happened(
        self, route: str, kind: Kind, session: int, about: Fields, count: int = 1, seen: AnomalySeen | None = None
    ) -> None:
        incident = self._incidents.happened(route, kind, count)
        incident.met(session, seen)
        if not incident.about:
            incident.about = about
        if not self._begin(incident) and self._log.enabled("debug"):
            more = {} if seen is None else self._of_sample(seen)
            self._log.say("debug", kind[0], route=route, incident=incident.id, **(about | more))

    def _begin(self, incident: Incident) -> bool:
        """Log the first line of an incident if that is still to come, and the limit allows it; return whether it was."""
        if incident.told:
            return False
        route, event = incident.route, incident.kind[0]
        if not self._log.enabled(incident.level):
            incident.told, incident.about = True, _TOLD
            return False
        if not self._limit.has(route):
            return False
        about = dict(incident.about)
        session = {"session": incident.first_session} if incident.first_session else {}
        if incident.first is not None:
            about = {**session, **(self._of_anomaly if event == "anomaly" else self._of_sample)(incident.first), **about}
        elif event == "anomaly":
            about = incident.labels | {"sentence": CATALOGUE[Anomaly(incident.kind[2])].sentence}
        if not self._log.say(incident.level, event, route=route, incident=incident.id, **about):
            return False
        self._limit.allows(route)
        incident.told, incident.about = True, _TOLD
        incident.said, incident.said_at = incident.count, self._clock()
        return True

    def _goes_on(self, incident: Incident) -> None:
        incident.said_at = self._clock()
        level, more = incident.level, incident.count - incident.said
        if self._say(level, "incident_goes_on", incident.route, more=more, **self._so_far(incident)):
            incident.said = incident.count

    def _over(self, incident: Incident) -> None:
        level = incident.level
        self._say(level, "incident_over", incident.route, because="quiet", **self._so_far(incident))

    def _ended(self, incident: Incident, because: str = "stop") -> None:
        """Log the last line of an incident at the end of the process or of its route, whatever the limit says."""
        level = incident.level
        if self._log.enabled(level):
            self._log.say(level, "incident_over", route=incident.route, because=because, **self._so_far(incident))

    def _so_far(self, incident: Incident) -> Fields:
        seconds = incident.last_at - incident.first_at
        return {
            "incident": incident.id,
            "what": incident.kind[0],
            **incident.labels,
            "count": incident.count,
            "peak_per_s": incident.peak,
            "since": utc(self._clock() - incident.first_at),
            "seconds": round(seconds, 1),
            "last_session": incident.last_session,
            "sentence": f"{incident.count} in {seconds:.1f} s, {incident.peak} a second at most",
        }

    # Lines

    def _say(self, level: str, event: str, route: str, **fields: object) -> bool:
        """Log a line and return True if the limit allows it and the log has room; else it counts as left out."""
        if not self._log.enabled(level):
            return True
        limited = level != "debug"
        if limited and not self._limit.allows(route):
            self._stats[route].suppressed += 1
            return False
        if not self._log.say(level, event, route=route, **fields):
            self._limit.leave_out(route)
            self._stats[route].suppressed += 1
            return False
        return True

    def _level_of_change(self, event: str, route: str, what: str = "") -> str:
        """Return the level for a change that may come and go many times a second: info once in ``AGAIN_S``."""
        return "info" if self._again.allows((route, event, what)) else "debug"


def argument(sample: bytes, name: str) -> str | None:
    """Return the value of the argument ``name`` of a NOTIFY; None if what is there of the NOTIFY does not have it.

    ``sample``: the first bytes of a frame. The value is a peer's: shortened to ``MOST_OF_AN_ARGUMENT`` characters.
    """
    parsed = frame.parse(sample) if len(sample) >= _SHORTEST else None
    if parsed is None or parsed.type != frame.NOTIFY:
        return None
    wanted, at, end = name.encode(), parsed.payload_at, len(sample)
    while at < end:
        _, at = typed_data.decode_string(sample, at, end)
        if not 0 < at < end:
            return None
        count, at = sample[at], at + 1
        pairs, at = kv.parse(sample, at, end, count)
        for pair in pairs:
            if pair.name == wanted:
                value = pair.value
                text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
                return text[:MOST_OF_AN_ARGUMENT]
        if len(pairs) < count:
            return None
    return None


def _is_ordinary(ended: SessionEnded, notes: SessionNotes) -> bool:
    seen = notes.disconnect
    if seen is not None and seen.open_notifies and seen.status_code == 0:
        return False  # HAProxy calls it normal, and has NOTIFYs without an answer
    if (ended.by, ended.reason) in _ORDINARY or (notes.healthcheck and ended.by is EndedBy.AGENT):
        return True
    return (ended.by, ended.reason) == (EndedBy.AGENT, EndReason.DISCONNECT) and seen is not None and seen.status_code == 0
