"""The log lines for the events of a route: which line, at which level, and how often."""

from collections.abc import Callable, Mapping
from typing import Final

from spoe_guard.core.terms.anomalies import CATALOGUE, Action, Anomaly, severity
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
    SessionEnded,
)
from spoe_guard.observe.limit import SUMMARY_S, RateLimit
from spoe_guard.observe.logs import Log
from spoe_guard.observe.stats import RouteStats, type_name

HEX_BYTES: Final = 64  # of an anomaly's sample, in its line

_RARE: Final = frozenset(("own_limit",))  # logged once in SUMMARY_S for each route: it is tried again and again

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

_Kind = tuple[str, str, str]  # route, event, anomaly ("" for other events)

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
    """Logs what happens: at most ``lines`` per ``period_s`` for each route and kind of line; debug lines are not limited."""

    def __init__(
        self, log: Log, stats: Mapping[str, RouteStats], lines: int, period_s: float, clock: Callable[[], float]
    ) -> None:
        self._log = log
        self._stats = stats
        self._clock = clock
        self._limit: RateLimit[_Kind] = RateLimit(lines, period_s, clock)
        self._one_at_a_time: set[str] = set()  # routes of which it was said
        self._rare: RateLimit[_Kind] = RateLimit(1, SUMMARY_S, clock)

    def limit(self, lines: int, period_s: float) -> None:
        """Set a new limit for each kind of line."""
        self._limit.set(lines, period_s)

    def opened(self, route: str, session: int, peer: str) -> None:
        """Log that a client connected."""
        self._say("debug", "session_opened", route, session=session, peer=peer)

    def named(self, route: str, session: int, peer: str, via: str) -> None:
        """Log who connected by way of ``via``."""
        self._say("debug", "session_named", route, session=session, peer=peer, via=via)

    def closed(self, route: str, session: int, notes: SessionNotes) -> None:
        """Log how a session ended, at warning level only if the end was unusual."""
        ended = notes.ended or SessionEnded(EndedBy.GUARD, EndReason.INTERNAL_ERROR)  # it always reports its end, unless it broke
        fields: dict[str, object] = {
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
        self._say(_end_level(ended, notes), "session_closed", route, **fields)

    def anomaly(self, route: str, session: int, seen: AnomalySeen) -> None:
        """Log an anomaly, with the action that was taken, or would have been in observe mode."""
        level = severity(seen.action)
        key = (route, "anomaly", seen.anomaly.value)
        if not self._may_say(level, key):  # before the line is built: in a flood few are logged
            return
        sentence, full = CATALOGUE[seen.anomaly].sentence, self._log.payload == "full"
        detail = "" if self._log.payload == "off" else seen.explanation(quotes=full)
        raw = {"hex": seen.sample[:HEX_BYTES].hex()} if full else {}
        self._put(
            level,
            key,
            session=session,
            side=seen.side.value,
            anomaly=seen.anomaly.value,
            action=seen.action.value,
            applied=seen.applied,
            state=seen.state,
            type=None if seen.type is None else type_name(seen.type),
            stream_id=seen.stream_id,
            frame_id=seen.frame_id,
            length=seen.length,
            offset=seen.offset,
            open_notifies=seen.open_notifies,
            sentence=f"{sentence} ({detail})" if detail else sentence,
            **raw,
        )

    def not_told(self, route: str, anomaly: Anomaly, action: Action) -> None:
        """Count an anomaly that was not reported among the lines left out."""
        if self._log.enabled(severity(action)):
            self._limit.leave_out((route, "anomaly", anomaly.value))
            self._stats[route].suppressed += 1

    def unreachable(self, route: str, session: int, seen: AgentUnreachable) -> None:
        """Log that the agent cannot be reached."""
        if seen.reason is DialFailure.OWN_LIMIT:
            self.own_limit(route, "dial", seen.detail, session)
            return
        where = {"agent": seen.agent} if seen.agent else {}
        self._say("warning", "agent_unreachable", route, session=session, **where, reason=seen.reason.value, detail=seen.detail)

    def address_down(self, route: str, agent: str, reason: DialFailure, detail: str) -> None:
        """Log that one address of several did not answer; if it is the only one, ``unreachable`` is called."""
        self._say("warning", "agent_unreachable", route, agent=agent, reason=reason.value, detail=detail)

    def address_up(self, route: str, agent: str) -> None:
        """Log that an address answers again."""
        self._say("info", "agent_reachable", route, agent=agent)

    def own_limit(self, route: str, doing: str, why: str, session: int | None = None) -> None:
        """Log that the guard is short of something. ``doing``: what it could not do, ``accept`` or ``dial``."""
        of = {} if session is None else {"session": session}
        self._say("warning", "own_limit", route, doing=doing, **of, detail=why)

    def gave_way(self, route: str, session: int, peer: str, reason: GaveWay, kept: int) -> None:
        """Log that a session gives way to others, because all together reached a bound."""
        detail = _GAVE_WAY[reason]
        self._say(
            "warning", "session_gave_way", route, session=session, peer=peer, reason=reason.value, bytes=kept, detail=detail
        )

    def one_at_a_time(self, route: str, session: int, peer: str) -> None:
        """Log that HAProxy at ``peer`` is not to pipeline; once for a route, as it is so for each of its connections."""
        if route not in self._one_at_a_time:
            self._one_at_a_time.add(route)
            self._say("info", "one_at_a_time", route, session=session, peer=peer, detail=_ONE_AT_A_TIME)

    def link_lost(self, route: str, session: int, lost: LinkLost) -> None:
        """Log that a session lost one of its agent links and continues."""
        fields = {"session": session, "reason": lost.reason.value, "open_notifies": lost.open_notifies, "again": lost.again}
        self._say(_loss_level(lost), "agent_link_lost", route, **fields)

    def link_up(self, route: str, session: int, up: LinkUp) -> None:
        """Log a new link: at info level if it replaces a lost agent, else at debug level."""
        level = "info" if up.reason is LinkReason.REPLACEMENT else "debug"
        self._say(level, "agent_link_up", route, session=session, reason=up.reason.value, away=round(up.away_s, 3))

    def internal_error(self, route: str, session: int, error: BaseException) -> None:
        """Log a bug of the guard, with its traceback."""
        self._say("error", "internal_error", route, session=session, error=self._log.error_text(error), exc_info=error)

    def sum_up(self, *, all_of_it: bool = False) -> None:
        """Log how many lines were left out, as far as that is due, or all with ``all_of_it``. To be called every few seconds."""
        due = [*self._limit.summaries(all_of_them=all_of_it), *self._rare.summaries(all_of_them=all_of_it)]
        for (route, event, anomaly), count, seconds in due:
            of = {"anomaly": anomaly} if anomaly else {}
            fields: dict[str, object] = {"route": route, "suppressed": event, **of, "count": count, "seconds": round(seconds, 1)}
            if not self._log.say("warning", "log_suppressed", **fields):
                self._limit_of(event).leave_out((route, event, anomaly), count)

    def _say(self, level: str, event: str, route: str, **fields: object) -> None:
        key = (route, event, "")
        if self._may_say(level, key):
            self._put(level, key, **fields)

    def _limit_of(self, event: str) -> RateLimit[_Kind]:
        return self._rare if event in _RARE else self._limit

    def _may_say(self, level: str, key: _Kind) -> bool:
        """Return whether the limit allows a line of this kind; count the line where it does not."""
        if not self._log.enabled(level):
            return False
        if level == "debug" or self._limit_of(key[1]).allows(key):
            return True
        self._stats[key[0]].suppressed += 1
        return False

    def _put(self, level: str, key: _Kind, **fields: object) -> None:
        """Log a line that the limit allows; count it where the log has no room."""
        route, event, _ = key
        if not self._log.say(level, event, route=route, **fields):
            self._limit_of(event).leave_out(key)
            self._stats[route].suppressed += 1


def _loss_level(lost: LinkLost) -> str:
    if lost.reason is LinkLoss.RETIRED:
        return "debug"
    # Idle agents send a DISCONNECT with no NOTIFY open: nothing is lost.
    return "info" if lost.reason is LinkLoss.DISCONNECT and not lost.open_notifies else "warning"


def _end_level(ended: SessionEnded, notes: SessionNotes) -> str:
    seen = notes.disconnect
    if seen is not None and seen.open_notifies and seen.status_code == 0:
        return "info"  # HAProxy calls it normal, and has NOTIFYs without an answer
    if (ended.by, ended.reason) in _ORDINARY or (notes.healthcheck and ended.by is EndedBy.AGENT):
        return "debug"
    if (ended.by, ended.reason) == (EndedBy.AGENT, EndReason.DISCONNECT):
        return "debug" if seen is not None and seen.status_code == 0 else "info"
    return "warning"
