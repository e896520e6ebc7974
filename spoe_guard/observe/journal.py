"""Which line is logged for what happens on a route, and how often."""

from collections.abc import Callable, Mapping
from typing import Final

from spoe_guard.core.terms.anomalies import CATALOGUE, severity
from spoe_guard.core.terms.events import (
    AgentUnreachable,
    AnomalySeen,
    DisconnectSeen,
    EndedBy,
    EndReason,
    LinkLoss,
    LinkLost,
    LinkReason,
    LinkUp,
    SessionEnded,
)
from spoe_guard.observe.limit import RateLimit
from spoe_guard.observe.logs import Log
from spoe_guard.observe.stats import RouteStats, type_name

HEX_BYTES: Final = 64  # of an anomaly's sample, in its line

_Kind = tuple[str, str, str]  # route, event, anomaly ("" for other events)

# Ends that are a matter of course. HAProxy 3.1 and later close idle connections with a reset and no DISCONNECT.
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
    """What is kept of an open session for the line at its end."""

    __slots__ = ("disconnect", "ended", "healthcheck", "opened_at", "peer")

    def __init__(self, peer: str, opened_at: float) -> None:
        self.peer = peer
        self.opened_at = opened_at
        self.healthcheck = False
        self.disconnect: DisconnectSeen | None = None  # the first: what comes behind it is not the reason
        self.ended: SessionEnded | None = None


class Journal:
    """Says what happens; per route and kind of line at most ``lines`` per ``period_s``, debug lines excepted."""

    def __init__(
        self, log: Log, stats: Mapping[str, RouteStats], lines: int, period_s: float, clock: Callable[[], float]
    ) -> None:
        self._log = log
        self._stats = stats
        self._clock = clock
        self._limit: RateLimit[_Kind] = RateLimit(lines, period_s, clock)

    def limit(self, lines: int, period_s: float) -> None:
        """Bound each kind of line so from now on."""
        self._limit.set(lines, period_s)

    def opened(self, route: str, session: int, peer: str) -> None:
        """Say that somebody connected."""
        self._say("debug", "session_opened", route, session=session, peer=peer)

    def closed(self, route: str, session: int, notes: SessionNotes) -> None:
        """Say how a session ended, at warning level only if the end was unusual."""
        ended = notes.ended or SessionEnded(EndedBy.GUARD, EndReason.INTERNAL_ERROR)  # it always says so, unless it broke
        fields: dict[str, object] = {
            "session": session,
            "peer": notes.peer,
            "by": ended.by.value,
            "reason": ended.reason.value,
            "seconds": round(self._clock() - notes.opened_at, 3),
        }
        if notes.disconnect is not None:
            seen = notes.disconnect
            fields |= {"disconnect_side": seen.side.value, "status_code": seen.status_code, "message": seen.message}
        self._say(_end_level(ended, notes), "session_closed", route, **fields)

    def anomaly(self, route: str, session: int, seen: AnomalySeen) -> None:
        """Say what a side got wrong and what was done, or in observe mode would have been done, about it."""
        level = severity(seen.action)
        key = (route, "anomaly", seen.anomaly.value)
        if not self._may_say(level, key):  # before the line is made: of a flood few are logged
            return
        sentence = CATALOGUE[seen.anomaly].sentence
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
            sentence=f"{sentence} ({seen.detail})" if seen.detail else sentence,
            hex=seen.sample[:HEX_BYTES].hex(),
        )

    def unreachable(self, route: str, session: int, seen: AgentUnreachable) -> None:
        """Say that the agent cannot be reached."""
        self._say("warning", "agent_unreachable", route, session=session, reason=seen.reason.value, detail=seen.detail)

    def link_lost(self, route: str, session: int, lost: LinkLost) -> None:
        """Say that the session goes on without one of its agent links."""
        fields = {"session": session, "reason": lost.reason.value, "open_notifies": lost.open_notifies, "again": lost.again}
        self._say(_loss_level(lost), "agent_link_lost", route, **fields)

    def link_up(self, route: str, session: int, up: LinkUp) -> None:
        """Say that a session without an agent has one again, and quietly any other link."""
        level = "info" if up.reason is LinkReason.REPLACEMENT else "debug"
        self._say(level, "agent_link_up", route, session=session, reason=up.reason.value, away=round(up.away_s, 3))

    def internal_error(self, route: str, session: int, error: BaseException) -> None:
        """Say that the guard itself is wrong, and where."""
        self._say("error", "internal_error", route, session=session, error=repr(error), exc_info=error)

    def sum_up(self, *, all_of_it: bool = False) -> None:
        """Say what was left out: what is due, or all of it because this is the end. To be called every few seconds."""
        for (route, event, anomaly), count, seconds in list(self._limit.summaries(all_of_them=all_of_it)):
            of = {"anomaly": anomaly} if anomaly else {}
            fields: dict[str, object] = {"route": route, "suppressed": event, **of, "count": count, "seconds": round(seconds, 1)}
            if not self._log.say("warning", "log_suppressed", **fields):
                self._limit.leave_out((route, event, anomaly), count)

    def _say(self, level: str, event: str, route: str, **fields: object) -> None:
        key = (route, event, "")
        if self._may_say(level, key):
            self._put(level, key, **fields)

    def _may_say(self, level: str, key: _Kind) -> bool:
        """Whether there is room for a line of this kind; where there is none it is counted."""
        if not self._log.enabled(level):
            return False
        if level == "debug" or self._limit.allows(key):
            return True
        self._stats[key[0]].suppressed += 1
        return False

    def _put(self, level: str, key: _Kind, **fields: object) -> None:
        """Say a line there is room for; where the log does not take it, it is counted."""
        route, event, _ = key
        if not self._log.say(level, event, route=route, **fields):
            self._limit.leave_out(key)
            self._stats[route].suppressed += 1


def _loss_level(lost: LinkLost) -> str:
    if lost.reason is LinkLoss.RETIRED:
        return "debug"
    # A DISCONNECT that costs nothing is what agents send when they are idle.
    return "info" if lost.reason is LinkLoss.DISCONNECT and not lost.open_notifies else "warning"


def _end_level(ended: SessionEnded, notes: SessionNotes) -> str:
    if (ended.by, ended.reason) in _ORDINARY or (notes.healthcheck and ended.by is EndedBy.AGENT):
        return "debug"
    if (ended.by, ended.reason) == (EndedBy.AGENT, EndReason.DISCONNECT):
        return "debug" if notes.disconnect is not None and notes.disconnect.status_code == 0 else "info"
    return "warning"
