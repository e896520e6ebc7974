"""What one process of the guard tells of its sessions and incidents, and does to them, for `spoe-guard ctl` and the page.

A single process asks itself; with several workers the parent asks each of them over its channel.
"""

import asyncio
import heapq
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from itertools import islice
from operator import attrgetter
from time import monotonic
from typing import Any, Final

from spoe_guard.capture.tap import Seen, Tap
from spoe_guard.core.terms.anomalies import CATALOGUE
from spoe_guard.net.relay import Relay
from spoe_guard.observe.frame_text import explain
from spoe_guard.run.process import Process

MOST_CAPTURED: Final = 8  # sessions of a process, as many as may wait for the disk
UNASKED_S: Final = 5.0  # after so long a tap ends that nobody asks for what has come
MOST_ROWS: Final = 1000  # sessions or links of a process in one answer
_SLICE: Final = 50  # rows, then others have their turn

Given = Mapping[str, Any]  # the arguments of a question, as JSON carries them
Row = dict[str, Any]


class _OnTap:
    """A tap, and what ends it when nobody has asked for a while."""

    def __init__(self, tap: Tap, end: asyncio.TimerHandle) -> None:
        self.tap = tap
        self.end = end


class Inside:
    """``worker``: the number of this process, 0 where there is one alone."""

    def __init__(self, process: Process, worker: int = 0) -> None:
        self._process = process
        self._worker = worker
        self._answers: dict[str, Callable[[Given], Awaitable[Any]]] = {
            "routes": self._routes,
            "sessions": self._sessions,
            "links": self._links,
            "incidents": self._incidents,
            "close": self._close,
            "drain": self._drain,
            "resume": self._resume,
            "capture": self._capture,
            "tap": self._tap,
            "untap": self._untap,
        }
        self._taps: dict[str, _OnTap] = {}  # by route

    def knows(self, what: str) -> bool:
        """Return whether ``ask`` answers that."""
        return what in self._answers

    async def ask(self, what: str, given: Given) -> Any:  # noqa: ANN401  whatever JSON carries
        """Return the answer to a question that it ``knows``."""
        return await self._answers[what](given)

    async def _routes(self, _given: Given) -> dict[str, Row]:
        """Return, by route: how many sessions there are in each mode, and whether it is drained."""
        guard, found = self._process.guard, {}
        for name in list(self._process.observer.routes):
            observed = total = 0
            for relay in guard.on_route(name):
                total += 1
                observed += relay.route.config.observe
            found[name] = {"enforced": total - observed, "observed": observed, "drained": guard.is_drained(name)}
            await asyncio.sleep(0)
        return found

    async def _sessions(self, given: Given) -> Row:
        """Return a row for each session, the oldest of each route first, and how many were left out."""
        return await self._rows(given, self._session)

    async def _links(self, given: Given) -> Row:
        """Return a row for each agent link, and how many sessions were left out."""
        return await self._rows(given, self._links_of)

    async def _rows(self, given: Given, rows_of: Callable[[Relay], Iterable[Row]]) -> Row:
        guard = self._process.guard
        routes = [given["route"]] if given.get("route") else list(self._process.observer.routes)
        relays = [relay for name in routes for relay in sorted(guard.on_route(name), key=attrgetter("number"))]
        found: list[Row] = []
        for at, relay in enumerate(islice(relays, MOST_ROWS)):
            found += rows_of(relay)
            if at % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
        return {"rows": found, "left_out": max(len(relays) - MOST_ROWS, 0)}

    async def _incidents(self, _given: Given) -> Row:
        """Return the incidents of this process, and which it is."""
        rows, here = [], {"first_worker": self._worker, "last_worker": self._worker}
        for row in self._process.observer.incidents.take():
            rows.append(row | here)
            await asyncio.sleep(0)
        return {"pid": os.getpid(), "rows": rows}

    def _session(self, relay: Relay) -> list[Row]:
        notes, now = self._process.observer.notes(relay.number), monotonic()
        if notes is None:  # it ended while others had their turn
            return []
        session = relay.session
        return [
            {
                "session": self.name_of(relay.number),
                "route": relay.route.name,
                "peer": notes.peer,
                "mode": "spliced" if relay.is_spliced else "observe" if relay.route.config.observe else "enforce",
                "seconds": round(now - notes.opened_at, 3),
                "open_notifies": session.open_notifies,
                "oldest_notify_s": round(max(now - session.oldest_since, 0.0), 3),
                "kept_bytes": relay.kept,
                "links": len(relay.links()),
            }
        ]

    def _links_of(self, relay: Relay) -> list[Row]:
        return [
            {
                "session": self.name_of(relay.number),
                "route": relay.route.name,
                "link": number,
                "agent": agent,
                "stage": stage,
                "open_notifies": count,
            }
            for number, agent, stage, count in relay.links()
        ]

    def name_of(self, number: int) -> str:
        """Return how a session is called: its number, behind that of its worker if there are several."""
        return f"{self._worker}-{number}" if self._worker else str(number)

    async def _close(self, given: Given) -> bool:
        """End a session as a drain does; return whether it is one of this process."""
        return given["worker"] == self._worker and self._process.guard.end_session(given["number"])

    async def _drain(self, given: Given) -> Row:
        """Drain a route; return how many sessions there were and how many had to be reset, or an ``error``."""
        guard = self._process.guard
        sessions = len(guard.on_route(given["route"]))
        try:
            drain = guard.drain_route(given["route"])
        except OSError as error:
            return {"error": error.strerror or str(error)}
        return {"sessions": sessions, "reset": await asyncio.shield(drain)}

    async def _resume(self, given: Given) -> Row:
        """Listen again on a route; return an ``error`` if that is not possible."""
        try:
            self._process.guard.resume_route(given["route"])
        except OSError as error:
            return {"error": error.strerror or str(error)}
        return {}

    async def _capture(self, given: Given) -> Row:
        """Have sessions captured whose NOTIFYs wait longest, then the oldest; return how many, None: nothing is recorded."""
        relays = self._process.guard.on_route(given["route"])
        ranked: list[tuple[float, int]] = []
        for at, relay in enumerate(relays):
            ranked.append((relay.session.oldest_since, relay.number))
            if at % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
        some = [number for _since, number in heapq.nsmallest(MOST_CAPTURED, ranked)]
        return {"captures": self._process.capture(some, given["seconds"]), "sessions": len(relays)}

    async def _tap(self, given: Given) -> Row:
        """Return what the sessions of a route carried since the last time; from the first time on it is listened to."""
        route = given["route"]
        on_tap = self._taps.get(route)
        loop = asyncio.get_running_loop()
        if on_tap is None:
            on_tap = self._taps[route] = _OnTap(Tap(), loop.call_later(UNASKED_S, self._end_tap, route))
            self._process.guard.tap(route, on_tap.tap)
        on_tap.end.cancel()
        on_tap.end = loop.call_later(UNASKED_S, self._end_tap, route)
        rows = []
        for seen in on_tap.tap.take():
            rows.append(self._seen(seen, values=given["values"]))
            await asyncio.sleep(0)
        return {"rows": rows, "left_out": on_tap.tap.left_out}

    async def _untap(self, given: Given) -> bool:
        self._end_tap(given["route"])
        return True

    def _end_tap(self, route: str) -> None:
        on_tap = self._taps.pop(route, None)
        if on_tap is not None:
            on_tap.end.cancel()
            self._process.guard.tap(route, None)

    def _seen(self, seen: Seen, *, values: bool) -> Row:
        """Return a frame, or an anomaly, as lines. ``at``: monotonic seconds, which all processes share."""
        told = {"at": seen.at, "session": self.name_of(seen.number), "from": seen.side.value, "link": seen.link_id}
        if seen.anomaly is None:
            return {**told, "lines": explain(seen.raw, values=values, names=True)}
        what = seen.anomaly
        done = what.action.value if what.applied else f"{what.action.value} (observe mode: not done)"
        return {
            **told,
            "anomaly": what.anomaly.value,
            "lines": [f"{what.anomaly.value}: {done}: {CATALOGUE[what.anomaly].sentence}"],
        }
