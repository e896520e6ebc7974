"""The status document behind ``/api/status``. The page and ``spoe-guard top`` are views of it."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from spoe_guard.observe.consequence import Consequence
from spoe_guard.observe.health import Health
from spoe_guard.observe.incidents import Row
from spoe_guard.observe.live import incident, words
from spoe_guard.observe.live.history import POINTS, STEP_S, History, RouteHistory, Totals, compact, quantile, rounded, totals
from spoe_guard.observe.live.states import FAMILIES, WORST_FIRST, State, Verdict, judged
from spoe_guard.observe.logs import printable
from spoe_guard.observe.pieces import Pieces
from spoe_guard.observe.stats import RouteStats
from spoe_guard.slices import Slices

VERSION: Final = 3  # of the document's format; a new key alone does not change it

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


_UNKNOWN: Final = Place()


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
        """Add a point to the history of each route, and judge it. Others have their turn in between."""
        now, slices = self._clock(), Slices()
        for name in self.history.sample(now):
            self.verdict(name, now)
            await slices.pause()

    def verdict(self, name: str, now: float | None = None) -> Verdict:
        """Return the state of a route, and note since when it has it."""
        stats = self._routes.get(name)
        if stats is None:  # it was taken away while others were shown
            return judged(RouteStats(), RouteHistory(), totals(RouteStats()))
        verdict = judged(stats, self.history.route(name), totals(stats))
        self._note(name, verdict.state, self._clock() if now is None else now)
        return verdict

    def _note(self, name: str, state: State, now: float) -> _Since:
        """Return since when a route has the state that it has now."""
        since = self._since.get(name) or self._since.setdefault(name, _Since(State.OK, self._clock()))
        if state is not since.state and not {state, since.state} <= _TROUBLE:
            self._since[name] = since = _Since(state, now)
        since.state = state
        return since

    async def status(self) -> Status:
        """Return the status document (docs/live.md). Others have their turn in between."""
        now, wall = await self._begin()
        routes = [
            {**route, "total": total._asdict(), "window": history.window(total), "history": history.samples()}
            async for route, total, history in self._told(now)
        ]
        incidents = [row async for row in self._incidents_told(now, wall)]
        head = self._head(now, wall, [State(route["state"]) for route in routes])
        return {**head, "incidents": incidents, "routes": routes}

    async def as_json(self) -> Sequence[bytes]:
        """Return ``status`` as JSON, in pieces. A route is told, written and forgotten before the next one is."""
        now, wall = await self._begin()
        states, routes, incidents = [], Pieces(), Pieces()
        async for route, total, history in self._told(now):
            states.append(State(route["state"]))
            counts = f'"total":{total.as_json()},"window":{history.window_as_json(total)}'
            routes.add(f'{"," if routes else ""}{compact(route)[:-1]},{counts},"history":')
            routes.add(history.as_json())  # four fifths of it: not copied into a longer text first
            routes.add("}")
        async for row in self._incidents_told(now, wall):
            incidents.add(f"{',' if incidents else ''}{compact(row)}")
        head = compact(self._head(now, wall, states))[:-1]
        return f'{head},"incidents":['.encode(), *incidents.taken(), b'],"routes":[', *routes.taken(), b"]}\n"

    async def _begin(self) -> tuple[float, float]:
        """Bring the numbers up to date; return what time it is, in monotonic seconds and for people."""
        await self._refresh()
        return self._clock(), _wall()

    async def _refresh(self) -> None:
        """Bring the numbers up to date; here they always are."""

    async def _told(self, now: float) -> AsyncIterator[tuple[Status, Totals, RouteHistory]]:
        """Yield each route, without its counts and its history, and these. Others have their turn in between."""
        slices = Slices()
        for name, stats in list(self._routes.items()):
            if name in self._routes:  # a reload may have come
                history = self.history.route(name)
                total = totals(stats)
                yield self._route(name, stats, history, total, now), total, history
                await slices.pause()

    async def _incidents_told(self, now: float, wall: float) -> AsyncIterator[Status]:
        slices = Slices()
        for row in self._incidents():
            yield incident.told(row, now, lambda at: _utc(wall - now + at))
            await slices.pause()

    def _head(self, now: float, wall: float, states: list[State]) -> Status:
        """Return the document without its lists. ``states``: of all routes."""
        state, sentence = self._of_all(states)
        return {
            "version": VERSION,
            "at": _utc(wall),
            "guard": {
                **self._build,
                "host": HOST,
                "name": self.name or HOST,
                "mode": self.mode,
                "up_s": round(now - self._started_at, 3),
                **self._more_of_the_guard(),
            },
            "state": state.value,
            "sentence": sentence,
            "step_s": STEP_S,
            "points": POINTS,
        }

    def _more_of_the_guard(self) -> Status:
        """Return what else there is to say of the guard."""
        return {}

    def _route(self, name: str, stats: RouteStats, history: RouteHistory, total: Totals, now: float) -> Status:
        verdict = judged(stats, history, total)
        since = self._note(name, verdict.state, now)
        since_s = now - since.at
        place = self.places.get(name, _UNKNOWN)
        open_on, given = stats.open_on(), stats.notifies_by_agent()
        buckets = list(stats.tally.ack_buckets)
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
                "failed_share": rounded(verdict.failed_share),
            },
            "haproxy": {"families": stats.family_names(), "peer": printable(stats.peer)},
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
                "oldest_open_notify_s": rounded(verdict.waits_s),
            },
            "ack_seconds": {"p50": rounded(quantile(0.5, buckets)), "p99": rounded(quantile(0.99, buckets))},
            "enforce_would_have": _would_have(stats),
            "anomalies": [
                {"side": side, "anomaly": anomaly, "action": action, "applied": applied == "true", "count": count}
                for (side, anomaly, action, applied), count in stats.anomalies.most_common()
            ],
            "unanswered": {reason: count for (reason,), count in stats.unanswered.items()},
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
    if not stats.anomalies or not (would := stats.enforce_would_have()):
        return {"saved": 0, "spared": 0, "mended": 0}
    saved, spared = would[Consequence.ANSWER_SAVED], would[Consequence.HAPROXY_SPARED]
    return {"saved": saved, "spared": spared, "mended": would[Consequence.MENDED] + saved + spared}


HOST: Final = printable(socket.gethostname())


def _headline(verdict: Verdict, stats: RouteStats, since: str, since_s: float) -> str:
    """Return the sentence, and of all but `ok` since when it is so, and which HAProxy feels it."""
    if verdict.state is State.OK:
        return verdict.sentence
    families = stats.family_names()
    who = FAMILIES[families[0]] if len(families) == 1 else "HAProxy"
    where = f"; {who} connects from {printable(stats.peer)}" if stats.peer else ""
    return f"{verdict.sentence}, since {since[11:19]} UTC ({words.ago(since_s)}){where}"


def _wall() -> float:
    return datetime.now(UTC).timestamp()  # noqa: TID251 for people; nothing is measured with it


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
