"""The status document behind ``/api/status``. The page and ``spoe-guard top`` are views of it."""

import asyncio
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from spoe_guard.observe.health import Health
from spoe_guard.observe.live.history import POINTS, SERIES, SLOW_S, STEP_S, History, quantile, totals
from spoe_guard.observe.live.recent import Note
from spoe_guard.observe.logs import printable
from spoe_guard.observe.stats import RouteStats
from spoe_guard.wire import frame

VERSION: Final = 1  # of the document's format; a new key alone does not change it
DIGITS: Final = 4  # of a sample

DOWN: Final = "down"  # the agent cannot be reached
ATTENTION: Final = "attention"  # something was wrong in the window
OK: Final = "ok"
IDLE: Final = "idle"  # HAProxy is not connected
MARKS: Final = {OK: "●", ATTENTION: "▲", DOWN: "■", IDLE: "○"}  # a shape beside the colour
_WORST_FIRST: Final = (DOWN, ATTENTION, OK, IDLE)

Status = dict[str, Any]


class Live:
    """``routes`` may be sums of several processes, ``recent`` their notes together; ``keep`` has to run meanwhile.

    ``mode`` is the setting; ``places``: listening address and agents by route, as text, known once everything listens.
    """

    def __init__(
        self,
        routes: Mapping[str, RouteStats],
        recent: Callable[[], list[Note]],
        health: Health,
        build: Mapping[str, str],
        mode: str = "enforce",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.places: dict[str, tuple[str, str]] = {}
        self.history = History(routes, clock())
        self._routes = routes
        self._recent = recent
        self._health = health
        self.mode = mode
        self._build = build
        self._clock = clock
        self._started_at = clock()

    async def keep(self) -> None:
        """Sample every ``STEP_S`` seconds, until cancelled."""
        while True:
            await asyncio.sleep(STEP_S)
            await self.sample()

    async def sample(self) -> None:
        """Add a point to the history of each route."""
        self.history.sample(self._clock())

    async def status(self) -> Status:
        """Return the status document (docs/live.md). Yields to the loop after each route."""
        now = self._clock()
        routes = []
        for name, stats in self._routes.items():
            routes.append(self._route(name, stats))
            await asyncio.sleep(0)
        level, sentence = self._verdict([route["level"] for route in routes])
        notes = self._recent()
        wall = datetime.now(UTC).timestamp()  # noqa: TID251 for people; nothing is measured with it
        for note in notes:
            note["ago_s"] = round(now - note.pop("at"), 3)
            note["at"] = _utc(wall - note["ago_s"])
        return {
            "version": VERSION,
            "at": _utc(wall),
            "guard": {**self._build, "mode": self.mode, "up_s": round(now - self._started_at, 3)},
            "level": level,
            "sentence": sentence,
            "step_s": STEP_S,
            "points": POINTS,
            "routes": routes,
            "anomalies": notes,
        }

    def _route(self, name: str, stats: RouteStats) -> Status:
        history = self.history.of[name]
        window = history.window(stats)
        level, sentence = _judged(stats, window)
        listen, agent = self.places.get(name, ("", ""))
        return {
            "name": name,
            "listen": listen,
            "agent": agent,
            "level": level,
            "sentence": sentence,
            "agent_up": stats.agent_up,
            "agents": [
                {
                    "address": address,
                    "up": agent.up,
                    "detail": printable(agent.detail),
                    "links": agent.links,
                    "dials": agent.dials,
                    "failures": {reason: count for (reason,), count in agent.failures.items() if count},
                }
                for address, agent in stats.agents.items()
            ],
            "now": {
                "sessions": stats.open,
                "open_notifies": stats.tally.open_notifies,
                "parked_notifies": stats.tally.parked_notifies,
                "held_bytes": stats.tally.held_bytes,
                "agent_links": stats.links,
                "oldest_open_notify_s": _number(stats.oldest()),
            },
            "total": totals(stats),
            "ack_seconds": {
                f"p{share * 100:g}": _number(quantile(share, list(stats.tally.ack_buckets))) for share in (0.5, 0.99)
            },
            "window": window,
            "anomalies": [
                {"side": side, "anomaly": anomaly, "action": action, "applied": applied == "true", "count": count}
                for (side, anomaly, action, applied), count in stats.anomalies.most_common()
            ],
            "unanswered": {reason: count for (reason,), count in stats.unanswered.items()},
            "history": {key: [_number(value) for value in history.series[key]] for key in SERIES},
        }

    def _verdict(self, levels: list[str]) -> tuple[str, str]:
        if self._health.draining:
            return ATTENTION, "Draining: the guard is stopping."
        if not self._health.listening:
            return ATTENTION, "Not listening yet."
        level = min(levels, key=_WORST_FIRST.index)
        count, all_of_them = levels.count(level), len(levels)
        of = "The route" if all_of_them == 1 else f"{count} of {all_of_them} routes"
        few = count == 1
        return level, {
            DOWN: f"{of} {'has' if few else 'have'} no agent.",
            ATTENTION: f"{of} {'needs' if few else 'need'} a look.",
            OK: "All is well.",
            IDLE: "HAProxy is not connected.",
        }[level]


def _judged(stats: RouteStats, window: Mapping[str, int]) -> tuple[str, str]:
    """Return a route's level, and a sentence with the reason."""
    if stats.agent_up is False:
        return DOWN, f"The agent is unreachable: {printable(stats.agent_detail)}"
    if wrong := "; ".join(_what_is_wrong(stats, window)):
        return ATTENTION, wrong[0].upper() + wrong[1:]
    asked = stats.tally.frames_to_agent[frame.NOTIFY]
    if not asked and stats.hellos() >= MANY_HELLOS:
        return ATTENTION, NEVER_A_NOTIFY.format(count=stats.hellos())
    if not asked and stats.links_opened["check",] >= MANY_HELLOS:
        return IDLE, ONLY_CHECKS
    if not stats.open:
        return IDLE, "HAProxy is not connected" if stats.connections else "HAProxy has not connected yet"
    return OK, "Served"


def _what_is_wrong(stats: RouteStats, window: Mapping[str, int]) -> Iterator[str]:
    """Yield what needs a look although an agent serves."""
    waits, haproxys = stats.oldest(), stats.tally.late_after
    if waits > (haproxys if haproxys < math.inf else LONG_S):
        yield f"a NOTIFY has waited for {waits:.1f} s"
    if window["answered"] >= MANY_ACKS and window["slow_acks"] > MANY_SLOW * window["answered"]:
        share = window["slow_acks"] / window["answered"]
        yield f"{share:.0%} of the ACKs in the last {WINDOW} took longer than {SLOW_S:g} s"
    if counted := ", ".join(f"{count} {names[count != 1]}" for name, names in _NAMES.items() if (count := window[name])):
        yield f"{counted} in the last {WINDOW}"
    if stats.agent_detail:
        yield f"served, but not by every agent: {printable(stats.agent_detail)}"


WINDOW: Final = f"{STEP_S * POINTS / 60:g} minutes"
MANY_ACKS: Final = 20
MANY_SLOW: Final = 0.05  # of the ACKs; with that number as in the alert SpoeGuardSlow
LONG_S: Final = 1.0  # for a NOTIFY to be open, where it is not known how long HAProxy waits for its ACK
MANY_HELLOS: Final = 3
NEVER_A_NOTIFY: Final = (
    "HAProxy has opened {count} connections and sent no NOTIFY; its log says why: st=3, the messages do not fit into the agent's "
    "max-frame-size; st=1, its timeouts are over before the connection is up"
)
ONLY_CHECKS: Final = (
    "Only health checks, and no NOTIFY yet; if there were requests: is `filter spoe` in the frontend, and an `event` in each "
    "spoe-message?"
)


_NAMES: Final = {
    "anomalies": ("anomaly", "anomalies"),
    "unanswered": ("NOTIFY unanswered", "NOTIFYs unanswered"),
    "late_acks": ("late ACK", "late ACKs"),
    "unchecked": ("request that went on unchecked", "requests that went on unchecked"),
    "own_limits": ("time out of descriptors, memory or ports", "times out of descriptors, memory or ports"),
    "gave_way": ("connection that gave way to others", "connections that gave way to others"),
    "internal_errors": ("internal error", "internal errors"),
}


def _number(value: float) -> float | None:
    """Return a sample rounded to ``DIGITS``; None for NaN, which JSON cannot carry."""
    if math.isnan(value):
        return None
    return int(value) if value == int(value) else float(f"{value:.{DIGITS}g}")


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def as_json(status: Status) -> bytes:
    """Return ``status`` as JSON. Yields to the loop after each route: with many the whole takes milliseconds."""
    routes = []
    for route in status["routes"]:
        routes.append(json.dumps(route))
        await asyncio.sleep(0)
    rest = json.dumps({key: value for key, value in status.items() if key != "routes"})
    return f'{rest[:-1]}, "routes": [{", ".join(routes)}]}}\n'.encode()
