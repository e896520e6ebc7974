"""What goes wrong on each route, as incidents: from the first occurrence of a kind until none came for a while."""

import base64
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final

from spoe_guard.core.terms.anomalies import CATALOGUE, Action, Anomaly, Side
from spoe_guard.core.terms.events import AnomalySeen, EndedBy, EndReason, UnansweredReason
from spoe_guard.core.terms.family import Family
from spoe_guard.observe.anomaly_text import shown
from spoe_guard.observe.consequence import Consequence, consequence
from spoe_guard.observe.stats import Labels
from spoe_guard.options import DEFAULT_PAYLOAD, Payload

QUIET_S: Final = 30.0  # an incident of which nothing came for so long is over
KEPT: Final = 50  # incidents that are over, of all routes, and in what ``take`` and ``merged`` return
MOST: Final = 200  # incidents in what they return, the worst
LOOKED_AT: Final = 1000  # open incidents in one call of ``due``: less than a millisecond
_ID_BYTES: Final = 5

# What can happen, by the name of the log line, and what tells its kinds apart: values from closed sets, and a route's agents.
KINDS: Final[Mapping[str, Labels]] = {
    "anomaly": ("side", "anomaly", "action", "applied"),
    "notifies_unanswered": ("reason",),
    "agent_unreachable": ("agent", "reason"),
    "agent_link_lost": ("reason",),
    "session_closed": ("by", "reason"),
    "session_gave_way": ("reason",),
    "own_limit": ("doing",),
    "internal_error": ("error",),  # the name of the exception's class
}

LEVELS: Final = ("error", "warning", "info")  # of an incident's log lines, the worst first

_LEVELS: Final = {
    "agent_unreachable": "warning",
    "agent_link_lost": "info",  # of what was open on it, ``notifies_unanswered`` tells what was lost
    "session_gave_way": "warning",
    "own_limit": "warning",
    "internal_error": "error",
}
# Of a session that HAProxy or an agent ends, other incidents tell what was lost; the guard ends some that have nothing to lose.
_NOTHING_LOST: Final = frozenset(
    reason.value for reason in (EndReason.HELLO_TIMEOUT, EndReason.IDLE_TIMEOUT, EndReason.DRAIN, EndReason.HANDED_OVER)
)

Kind = tuple[str, ...]  # one of KINDS, and a value for each of its labels
Row = dict[str, Any]


def _level(kind: Kind, families: AbstractSet[Family]) -> str:
    """Return the level of an incident's log lines, by its consequence. ``families``: see ``consequence``."""
    what, *labels = kind
    if what == "anomaly":
        side, anomaly, action, applied = labels
        return level_of_anomaly(Side(side), Anomaly(anomaly), Action(action), applied=applied == "true", families=families)
    if what == "notifies_unanswered":  # if HAProxy has left, nobody waits for the verdict
        return "info" if labels == [UnansweredReason.HAPROXY_GONE.value] else "warning"
    if what == "session_closed":
        by, reason = labels
        return "warning" if by == EndedBy.GUARD.value and reason not in _NOTHING_LOST else "info"
    return _LEVELS[what]


def level_of_anomaly(side: Side, anomaly: Anomaly, action: Action, *, applied: bool, families: AbstractSet[Family]) -> str:
    """Return the level of a log line by what came of an anomaly: what was mended is info, however bad it would have been.

    A session that is closed over it may lose what is open on it: a warning.
    """
    came = consequence(side, anomaly, action, applied=applied, families=families)
    if came is Consequence.HAPROXY_IN_DANGER:
        return "error"
    if applied and action is not Action.PASS:
        return "warning" if action is Action.CLOSE else "info"
    return "warning" if CATALOGUE[anomaly].costs_answer else "info"


class Incident:
    """All that happened of one ``kind`` on ``route``. Times are monotonic seconds.

    ``peak``: the most within one second of the clock. ``first``, ``last``: an anomaly each, where one was reported (in a flood
    most are only counted), else None; ``first_session``, ``last_session``: 0 where none is known. ``captures``: the first and the
    last file of the recorder that holds frames of it. ``about``: what else the log says of the first. ``told``: the log has its
    first line, or is not to have it; ``said_at``: when the log last said something, ``said``: how many there were then.
    """

    __slots__ = (
        "_in_second",
        "_second",
        "about",
        "captures",
        "count",
        "first",
        "first_at",
        "first_session",
        "id",
        "kind",
        "last",
        "last_at",
        "last_session",
        "level",
        "peak",
        "route",
        "said",
        "said_at",
        "told",
    )

    def __init__(self, route: str, kind: Kind, now: float, families: AbstractSet[Family]) -> None:
        # Chance alone, so that neither a restart nor another worker has the same: 40 bits.
        self.id = base64.b32encode(os.urandom(_ID_BYTES)).decode().lower()
        self.route = route
        self.kind = kind
        self.level = _level(kind, families)
        self.count = 0
        self.peak = 0
        self.first_at = self.last_at = self.said_at = now
        self.first: AnomalySeen | None = None
        self.last: AnomalySeen | None = None
        self.first_session = self.last_session = 0
        self.about: Mapping[str, object] = {}
        self.captures: list[str] = []
        self.told = False
        self.said = 0
        self._second = -1
        self._in_second = 0

    def add(self, now: float, count: int = 1) -> None:
        """Count: this is done for each of ten thousand anomalies a second."""
        self.count += count
        self.last_at = now
        second = int(now)
        if second != self._second:
            self._second = second
            self._in_second = 0
        self._in_second += count
        if self._in_second > self.peak:  # noqa: PLR1730  max() takes as long as all the rest
            self.peak = self._in_second

    def met(self, session: int, seen: AnomalySeen | None = None) -> None:
        """Keep in which session it happened, and the anomaly."""
        self.last_session = session
        self.first_session = self.first_session or session
        if seen is not None:
            self.last = seen
            self.first = self.first or seen

    def recorded(self, file: str) -> None:
        """Keep the name of a file that holds frames of it."""
        if file not in self.captures:
            self.captures = _ends([*self.captures, file])

    @property
    def labels(self) -> dict[str, object]:
        """What tells its kind from others."""
        named = dict(zip(KINDS[self.kind[0]], self.kind[1:], strict=True))
        return {name: value == "true" if name == "applied" else value for name, value in named.items()}


class Incidents:
    """The incidents of all routes. There is at most one open for each route and kind, so there are no more than kinds.

    ``payload``: how much ``take`` shows of what the peers wrote.
    """

    def __init__(self, clock: Callable[[], float], payload: Payload = DEFAULT_PAYLOAD) -> None:
        self._clock = clock
        self.payload = payload
        self._open: dict[str, dict[Kind, Incident]] = {}
        self._turn: deque[Incident] = deque()  # the open ones, the next to be looked at first
        self._over: deque[Incident] = deque(maxlen=KEPT)

    def happened(
        self, route: str, kind: Kind, count: int = 1, families: Callable[[], AbstractSet[Family]] = frozenset
    ) -> Incident:
        """Count one more of ``kind``, or several, and return its incident: a new one where none is open.

        ``families``: returns those of the HAProxys that connect, as far as they are known.
        """
        now = self._clock()
        of_route = self._open.get(route)
        if of_route is None:
            of_route = self._open[route] = {}
        incident = of_route.get(kind)
        if incident is None or now - incident.last_at >= QUIET_S:
            if incident is not None:
                self._end(incident)  # its last line comes when ``due`` gets to it
            incident = of_route[kind] = Incident(route, kind, now, families())
            self._turn.append(incident)
        incident.add(now, count)
        return incident

    def find(self, route: str, kind: Kind) -> Incident | None:
        """Return the open incident of that kind."""
        return self._open.get(route, {}).get(kind)

    def of(self, route: str, seen: AnomalySeen, at: float) -> Incident | None:
        """Return the open incident that an anomaly of ``at`` belongs to; None if it is over, or that is not known any more."""
        if seen.anomaly is Anomaly.NOTIFY_UNANSWERED:  # it does not say why, and kinds differ in that
            open_ = self._open.get(route, {}).values()
            return next((each for each in open_ if each.first is seen or each.last is seen), None)
        applied = "true" if seen.applied else "false"
        incident = self.find(route, ("anomaly", seen.side.value, seen.anomaly.value, seen.action.value, applied))
        # An earlier one of its kind would have been no more than QUIET_S before its first.
        return incident if incident is not None and at > incident.first_at - QUIET_S else None

    def due(self) -> Iterator[tuple[Incident, bool]]:
        """Yield open incidents, each with whether it is over, which it then is for good; in turn, where there are many."""
        now = self._clock()
        for _ in range(min(LOOKED_AT, len(self._turn))):
            incident = self._turn.popleft()
            over = now - incident.last_at >= QUIET_S
            if over:
                self._close(incident)
            else:
                self._turn.append(incident)
            yield incident, over

    def end_all(self) -> Iterator[Incident]:
        """Yield all open incidents, which are over."""
        while self._turn:
            incident = self._turn.popleft()
            self._close(incident)
            yield incident

    def end_route(self, route: str) -> list[Incident]:
        """Return the open incidents of a route, which is gone: they are over."""
        ended = list(self._open.pop(route, {}).values())
        if ended:
            self._turn = deque(incident for incident in self._turn if incident.route != route)
            self._over.extend(ended)
        return ended

    def _close(self, incident: Incident) -> None:
        if self.find(incident.route, incident.kind) is incident:
            del self._open[incident.route][incident.kind]
            self._end(incident)

    def _end(self, incident: Incident) -> None:
        self._over.append(incident)

    def take(self) -> Iterator[Row]:
        """Yield the open ones and the last ``KEPT`` that are over as JSON values, the worst first, ``MOST`` in all.

        By level, those that are open before those that are over, then the last to happen. A row takes tens of microseconds.
        ``first_at``, ``last_at``: seconds of the monotonic clock that all processes share. ``ids``: as in the log. ``first``,
        ``last``: the anomalies, as the page shows them, or None.
        """
        now = self._clock()
        kept = [*self._over, *(incident for of_route in self._open.values() for incident in of_route.values())]
        kept.sort(key=lambda each: _worst_first(each.level, each.last_at, over=now - each.last_at >= QUIET_S))
        yield from (self._row(incident) for incident in kept[:MOST])

    def _row(self, incident: Incident) -> Row:
        first, last = (None if seen is None else shown(seen, self.payload) for seen in (incident.first, incident.last))
        return {
            "ids": [incident.id],
            "route": incident.route,
            "what": incident.kind[0],
            **incident.labels,
            "level": incident.level,
            "over": self._clock() - incident.last_at >= QUIET_S,
            "count": incident.count,
            "peak_per_s": incident.peak,
            "first_at": incident.first_at,
            "last_at": incident.last_at,
            "first_session": incident.first_session,
            "last_session": incident.last_session,
            "first": first,
            "last": last,
            "captures": incident.captures,
        }


def merged(rows: Iterable[Row], now: float) -> list[Row]:
    """Return the rows of several processes as one list, in the order of ``take``, and bounded as what it yields.

    What happened of one kind in several processes within ``QUIET_S`` is one row. Its ``peak_per_s`` is the sum of theirs: no less
    than what came in one second. Sessions count up in each process, so they and its number go with the anomaly that is shown.
    ``now``: monotonic seconds; a process that has ended says no more that its incidents are over.
    """
    found: dict[Kind, Row] = {}
    done: list[Row] = []
    for row in sorted(rows, key=lambda row: row["first_at"]):
        kind = (row["route"], row["what"], *(str(row[label]) for label in KINDS[row["what"]]))
        before = found.get(kind)
        if before is None or row["first_at"] - before["last_at"] >= QUIET_S:
            found[kind] = dict(row)
            done.append(found[kind])
            continue
        before["ids"] = [*before["ids"], *row["ids"]]
        before["captures"] = _ends([*before["captures"], *row["captures"]])
        before["level"] = min(before["level"], row["level"], key=LEVELS.index)
        for summed in ("count", "peak_per_s"):
            before[summed] += row[summed]
        if row["last_at"] > before["last_at"]:
            before |= {name: value for name, value in row.items() if name.startswith("last")}
    for row in done:
        row["over"] = now - row["last_at"] >= QUIET_S
    done.sort(key=lambda row: (row["over"], -row["last_at"]))
    still = sum(not row["over"] for row in done)  # they come first
    kept = sorted(done[: still + KEPT], key=lambda row: _worst_first(row["level"], row["last_at"], over=row["over"]))
    return kept[:MOST]


def _ends(files: list[str]) -> list[str]:
    """Return the first and the last."""
    return [*files[:1], *files[1:][-1:]]


def _worst_first(level: str, last_at: float, *, over: bool) -> tuple[int, bool, float]:
    return LEVELS.index(level), over, -last_at
