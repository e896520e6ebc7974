"""The status document behind ``/api/status``. The page and ``spoe-guard top`` are views of it."""

import asyncio
import json
import math
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from spoe_guard.observe.consequence import Consequence
from spoe_guard.observe.health import Health
from spoe_guard.observe.incidents import Row
from spoe_guard.observe.live import incident, words
from spoe_guard.observe.live.history import POINTS, SERIES, STEP_S, History, RouteHistory, quantile, totals
from spoe_guard.observe.live.states import FAMILIES, WORST_FIRST, State, Verdict, judged
from spoe_guard.observe.logs import printable
from spoe_guard.observe.stats import RouteStats

VERSION: Final = 3  # of the document's format; a new key alone does not change it
DIGITS: Final = 4  # of a sample

_TROUBLE: Final = frozenset((State.DEGRADED, State.DANGER, State.DOWN))

Status = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """What the settings say of a route: where it listens, its agents' addresses, mode, profile, "" for none, and `unanswered`."""

    listen: str = ""
    agent: str = ""
    mode: str = ""
    profile: str = ""
    unanswered: str = ""


class _Since:
    """Since when a route has a state, or, in trouble, since when it has been in trouble. ``at``: monotonic seconds."""

    def __init__(self, state: State, at: float) -> None:
        self.state = state
        self.at = at
        self.utc = _utc(_wall())


class Live:
    """``routes`` may be sums of several processes, ``incidents`` those of all together; ``keep`` has to run meanwhile.

    ``mode`` is the setting; ``places``: by route, known once everything listens.
    """

    def __init__(
        self,
        routes: Mapping[str, RouteStats],
        incidents: Callable[[], Iterable[Row]],
        health: Health,
        build: Mapping[str, str],
        mode: str = "enforce",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.places: dict[str, Place] = {}
        self.history = History(routes, clock())
        self._routes = routes
        self._incidents = incidents
        self._health = health
        self.mode = mode
        self.name: str | None = None  # of the guard, as in the settings
        self._build = build
        self._clock = clock
        self._started_at = clock()
        self._since = {name: _Since(State.OK, self._started_at) for name in routes}

    def forget(self, names: Iterable[str]) -> None:
        """Keep nothing of routes that were taken away."""
        for name in names:
            self.places.pop(name, None)
            self.history.of.pop(name, None)
            self._since.pop(name, None)

    async def keep(self) -> None:
        """Sample every ``STEP_S`` seconds, until cancelled."""
        while True:
            await asyncio.sleep(STEP_S)
            await self.sample()

    async def sample(self) -> None:
        """Add a point to the history of each route, and judge it. Yields to the loop after each."""
        now = self._clock()
        for name in self.history.sample(now):
            self.verdict(name, now)
            await asyncio.sleep(0)

    def verdict(self, name: str, now: float | None = None) -> Verdict:
        """Return the state of a route, and note since when it has it."""
        stats = self._routes.get(name)
        if stats is None:  # it was taken away while others were shown
            return judged(RouteStats(), RouteHistory())
        verdict = judged(stats, self.history.route(name))
        since = self._since.get(name) or self._since.setdefault(name, _Since(State.OK, self._clock()))
        if verdict.state is not since.state and not {verdict.state, since.state} <= _TROUBLE:
            self._since[name] = since = _Since(verdict.state, self._clock() if now is None else now)
        since.state = verdict.state
        return verdict

    async def status(self) -> Status:
        """Return the status document (docs/live.md). Yields to the loop after each route and each incident."""
        now = self._clock()
        wall = _wall()
        routes = []
        for name, stats in list(self._routes.items()):
            if name in self._routes:  # a reload may have come
                routes.append(self._route(name, stats, now))
            await asyncio.sleep(0)
        state, sentence = self._of_all([State(route["state"]) for route in routes])
        incidents = []
        for row in self._incidents():
            incidents.append(incident.told(row, now, lambda at: _utc(wall - now + at)))
            await asyncio.sleep(0)
        return {
            "version": VERSION,
            "at": _utc(wall),
            "guard": {
                **self._build,
                "host": HOST,
                "name": self.name or HOST,
                "mode": self.mode,
                "up_s": round(now - self._started_at, 3),
            },
            "state": state.value,
            "sentence": sentence,
            "step_s": STEP_S,
            "points": POINTS,
            "routes": routes,
            "incidents": incidents,
        }

    def _route(self, name: str, stats: RouteStats, now: float) -> Status:
        history = self.history.route(name)
        verdict = self.verdict(name, now)
        since = self._since[name]
        since_s = now - since.at
        place = self.places.get(name, Place())
        open_on, given = stats.open_on(), stats.notifies_by_agent()
        return {
            "name": name,
            "listen": place.listen,
            "agent": place.agent,
            "mode": place.mode,
            "profile": place.profile,
            "state": verdict.state.value,
            "since": since.utc,
            "since_s": round(since_s, 3),
            "sentence": verdict.sentence,
            "headline": _headline(verdict, stats, since.utc, since_s),
            "side": verdict.side,
            "runbook": verdict.runbook,
            "last_minute": {
                "asked": verdict.asked,
                "failed": verdict.failed,
                "failed_share": _number(verdict.failed_share),
            },
            "haproxy": {"families": sorted(family.value for family in stats.known_families()), "peer": stats.peer},
            "agent_up": stats.agent_up,
            "agents": [
                {
                    "address": address,
                    "up": agent.up,
                    "detail": printable(agent.detail),
                    "links": agent.links,
                    "open_notifies": open_on.get(address, 0),
                    "notifies": given[address],
                    "failed_notifies": agent.failed_notifies,
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
            "window": history.window(stats),
            "enforce_would_have": _would_have(stats),
            "anomalies": [
                {"side": side, "anomaly": anomaly, "action": action, "applied": applied == "true", "count": count}
                for (side, anomaly, action, applied), count in stats.anomalies.most_common()
            ],
            "unanswered": {reason: count for (reason,), count in stats.unanswered.items()},
            "history": {key: [_number(value) for value in history.series[key]] for key in SERIES},
        }

    def _of_all(self, states: list[State]) -> tuple[State, str]:
        if self._health.draining:
            return State.DEGRADED, "Draining: the guard is stopping."
        if not self._health.listening:
            return State.DEGRADED, "Not listening yet."
        state = min(states, key=WORST_FIRST.index, default=State.OK)
        count, all_of_them = states.count(state), len(states)
        of = "the route" if all_of_them == 1 else f"{count} of {all_of_them} routes"
        few = count == 1
        sentence = {
            State.DOWN: f"{of} {'has' if few else 'have'} no agent.",
            State.DANGER: f"HAProxy is in danger at {of}.",
            State.DEGRADED: f"{of} {'is' if few else 'are'} degraded.",
            State.REPAIRED: f"All is well; the guard mends what comes in at {of}.",
            State.OK: "All is well." if any(stats.open for stats in self._routes.values()) else "HAProxy is not connected.",
        }[state]
        return state, sentence[0].upper() + sentence[1:]


def _would_have(stats: RouteStats) -> dict[str, int]:
    """Return what ``enforce`` would have made of what was only observed, with the names and meanings of ``window``."""
    would = stats.enforce_would_have()
    saved, spared = would[Consequence.ANSWER_SAVED], would[Consequence.HAPROXY_SPARED]
    return {"saved": saved, "spared": spared, "mended": would[Consequence.MENDED] + saved + spared}


HOST: Final = socket.gethostname()


def _headline(verdict: Verdict, stats: RouteStats, since: str, since_s: float) -> str:
    """Return the sentence, and of all but `ok` since when it is so, and which HAProxy feels it."""
    if verdict.state is State.OK:
        return verdict.sentence
    families = sorted(family.value for family in stats.known_families())
    who = FAMILIES[families[0]] if len(families) == 1 else "HAProxy"
    where = f"; {who} connects from {printable(stats.peer)}" if stats.peer else ""
    return f"{verdict.sentence}, since {since[11:19]} UTC ({words.ago(since_s)}){where}"


def _number(value: float) -> float | None:
    """Return a sample rounded to ``DIGITS``; None for NaN, which JSON cannot carry."""
    if math.isnan(value):
        return None
    return int(value) if value == int(value) else float(f"{value:.{DIGITS}g}")


def _wall() -> float:
    return datetime.now(UTC).timestamp()  # noqa: TID251 for people; nothing is measured with it


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_LISTS: Final = ("incidents", "routes")


async def as_json(status: Status) -> bytes:
    """Return ``status`` as JSON. Yields to the loop after each incident and route: with many the whole takes milliseconds."""
    pieces = [json.dumps({key: value for key, value in status.items() if key not in _LISTS})[:-1].encode()]
    for name in _LISTS:
        pieces.append(f', "{name}": ['.encode())
        for number, each in enumerate(status[name]):
            pieces += (b", " if number else b""), json.dumps(each).encode()
            await asyncio.sleep(0)
        pieces.append(b"]")
    pieces.append(b"}\n")
    return b"".join(pieces)  # copied once: with 1,000 routes it is ten million bytes
