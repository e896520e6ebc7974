"""The metrics (names: docs/architecture.md), read from the plain numbers at each scrape."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Protocol, TypeVar

from prometheus_client import PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from spoe_guard.core.terms.tally import ACK_BUCKETS
from spoe_guard.observe.families import COUNTER, GAUGE, Family, Histogram, Samples, escaped
from spoe_guard.observe.formats import Format, Rendering
from spoe_guard.observe.live.states import State, Verdict
from spoe_guard.observe.live.status import Live, Place
from spoe_guard.observe.pieces import Pieces
from spoe_guard.observe.reloads import Reloads
from spoe_guard.observe.stats import FRAMES, HOLD_BUCKETS, AgentStats, Labels, RouteStats
from spoe_guard.slices import Slices
from spoe_guard.threads import NoThreadError, in_thread

ROUTES_A_PART: Final = 16  # of a family: a part takes some tens of microseconds
# All who ask meanwhile share one rendering, and the next one waits for as long as this takes 9 times: a tenth of a core at most.
PAUSE: Final = 9
LONGEST_PAUSE_S: Final = 1.0


def _one(value: float) -> Samples:
    return [((), value)]


def _of_agents(stats: RouteStats, read: Callable[[AgentStats], float]) -> Samples:
    return [((address,), read(agent)) for address, agent in stats.agents.items()]


T = TypeVar("T")

# name, help, labels after `route`, how to read the numbers
_Row = tuple[str, str, Labels, Callable[[RouteStats], Samples]]

COUNTERS: Final[tuple[_Row, ...]] = (
    ("connections_total", "Connections accepted.", (), lambda s: _one(s.connections)),
    (
        "accept_failures_total",
        "Tries to accept connections that failed; the connections wait in the kernel's queue.",
        ("reason",),
        lambda s: s.accept_failures.items(),
    ),
    (
        "sessions_gave_way_total",
        "Sessions ended in favour of others: the one that kept most at limits.total_bytes, or one without HELLO.",
        ("reason",),
        lambda s: s.gave_way.items(),
    ),
    ("connections_closed_total", "Sessions ended, by whom and why.", ("by", "reason"), lambda s: s.closed.items()),
    ("frames_total", "Frames received for a direction.", ("direction", "type"), lambda s: s.frames()),
    (
        "bytes_total",
        "Bytes received for a direction.",
        ("direction",),
        lambda s: [(("to_agent",), s.tally.bytes_to_agent), (("to_haproxy",), s.tally.bytes_to_haproxy)],
    ),
    (
        "anomalies_total",
        "Departures from the protocol, by the side that wrote them and what was done (applied=false: would have been done).",
        ("side", "anomaly", "action", "applied"),
        lambda s: s.anomalies.items(),
    ),
    (
        "consequences_total",
        "Anomalies by what came of them for HAProxy and its requests.",
        ("consequence",),
        lambda s: s.came_of_anomalies().items(),
    ),
    (
        "haproxy_sessions_total",
        "Sessions by the family of their HAProxy (applet: up to 3.0; mux: 3.1 and later), once it is known.",
        ("family",),
        lambda s: s.families.items(),
    ),
    (
        "synthesized_frames_total",
        "Frames the guard wrote itself.",
        ("direction", "type", "reason"),
        lambda s: s.authored.items(),
    ),
    (
        "disconnects_total",
        "DISCONNECT frames received, by their status code.",
        ("side", "status_code"),
        lambda s: s.disconnects.items(),
    ),
    (
        "unanswered_notifies_total",
        "NOTIFYs that got no ACK of the agent, and why.",
        ("reason",),
        lambda s: s.unanswered.items(),
    ),
    (
        "unchecked_notifies_total",
        "NOTIFYs answered with an ACK without effect (unanswered: empty-ack): their requests went on unchecked.",
        (),
        lambda s: _one(s.unchecked),
    ),
    (
        "late_acks_total",
        "ACKs later than haproxy.timeout_processing, and those of NOTIFYs that were given up.",
        (),
        lambda s: _one(s.tally.late_acks),
    ),
    ("agent_dials_total", "Times the agent was dialled.", ("agent",), lambda s: _of_agents(s, lambda agent: agent.dials)),
    (
        "agent_notifies_total",
        "NOTIFYs that the agent at that address was given.",
        ("agent",),
        lambda s: [((address,), count) for address, count in s.notifies_by_agent().items()],
    ),
    (
        "agent_failed_notifies_total",
        "NOTIFYs that the agent at that address had in hand when they failed.",
        ("agent",),
        lambda s: _of_agents(s, lambda agent: agent.failed_notifies),
    ),
    (
        "agent_connect_failures_total",
        "Times the agent could not be dialled, or sent no HELLO.",
        ("agent", "reason"),
        lambda s: [
            ((address, *labels), count) for address, agent in s.agents.items() for labels, count in agent.failures.items()
        ],
    ),
    (
        "agent_links_opened_total",  # not agent_links_total: OpenMetrics takes that for the same family as the gauge agent_links
        "Agent links that came up, and why they were opened.",
        ("reason",),
        lambda s: s.links_opened.items(),
    ),
    (
        "redispatched_notifies_total",
        "NOTIFYs that waited and then went to an agent link: unsent before, or written to a lost link and unanswered.",
        ("kind",),
        lambda s: s.redispatched.items(),
    ),
    (
        "log_events_suppressed_total",
        "Log lines left out, by the rate limit or because the log was not read fast enough.",
        (),
        lambda s: _one(s.suppressed),
    ),
    ("captures_written_total", "Captures written to capture.dir.", (), lambda s: _one(s.captures_written)),
    (
        "captures_dropped_total",
        "Anomalies of which a capture should have been written, and why it was not.",
        ("reason",),
        lambda s: s.captures_dropped.items(),
    ),
    ("internal_errors_total", "Bugs of the guard, caught.", (), lambda s: _one(s.internal_errors)),
)

GAUGES: Final[tuple[_Row, ...]] = (
    ("connections_active", "Connections open.", (), lambda s: _one(s.open)),
    ("open_notifies", "NOTIFYs that wait for their ACK.", (), lambda s: _one(s.tally.open_notifies)),
    ("held_bytes", "Bytes held back.", (), lambda s: _one(s.tally.held_bytes)),
    (
        "agent_up",
        "Whether the agent could be dialled, and sent HELLO, at the last try; absent before the first.",
        ("agent",),
        lambda s: [((address,), float(agent.up)) for address, agent in s.agents.items() if agent.up is not None],
    ),
    ("agent_links", "Agent links open.", ("agent",), lambda s: _of_agents(s, lambda agent: agent.links)),
    (
        "agent_open_notifies",
        "NOTIFYs that the agent at that address has in hand.",
        ("agent",),
        lambda s: [((address,), count) for address, count in s.open_on().items()],
    ),
    ("parked_notifies", "NOTIFYs that wait for an agent link.", (), lambda s: _one(s.tally.parked_notifies)),
)


_ALWAYS: Final = {"frames_total": FRAMES}  # by name

FAMILIES: Final[tuple[Family[RouteStats] | Histogram[RouteStats], ...]] = (
    *(Family(COUNTER, f"spoe_guard_{name}", text, labels, read, _ALWAYS.get(name, ())) for name, text, labels, read in COUNTERS),
    *(Family(GAUGE, f"spoe_guard_{name}", text, labels, read) for name, text, labels, read in GAUGES),
    Histogram(
        "spoe_guard_notify_ack_seconds",
        "From a NOTIFY's arrival to its ACK's, in seconds.",
        ACK_BUCKETS,
        lambda s: (s.tally.ack_buckets, s.tally.ack_seconds),
    ),
    Histogram(
        "spoe_guard_disconnect_hold_seconds",
        "How long the end of an agent link was held back for ACKs to pass first, in seconds.",
        HOLD_BUCKETS,
        lambda s: (s.hold_buckets, s.hold_seconds),
    ),
)

STATE: Final[Family[Verdict]] = Family(
    GAUGE,
    "spoe_guard_state",
    "1 for the state that a route has.",
    ("state",),
    lambda verdict: [((state.value,), float(state is verdict.state)) for state in State],
)
FAILED: Final[Family[Verdict]] = Family(
    GAUGE,
    "spoe_guard_failed_ratio",
    "Of the NOTIFYs of the last minute that were answered or failed, the share that failed.",
    (),
    lambda verdict: _one(verdict.failed_share),
)
OLDEST: Final[Family[Verdict]] = Family(
    GAUGE,
    "spoe_guard_oldest_open_notify_seconds",
    "For how long the oldest NOTIFY has been open or parked.",
    (),
    lambda verdict: _one(verdict.waits_s),
)
INFO: Final[Family[Place]] = Family(
    GAUGE,
    "spoe_guard_route_info",
    "What the settings say of a route; always 1.",
    ("mode", "agent", "profile", "unanswered"),
    lambda place: [((place.mode, place.agent, place.profile, place.unanswered), 1)],
)
JUDGED: Final = (STATE, FAILED, OLDEST)
OF_ROUTES: Final = (*FAMILIES, *JUDGED, INFO)


class Source(Protocol):
    """Who has metrics."""

    def write(self, rendering: Rendering) -> Iterator[None]:
        """Add every family. Yields after each short step, so that others may have their turn."""


class GuardMetrics:
    """Reads the numbers of all routes. ``build``: the labels of ``spoe_guard_build_info`` and their values.

    ``live`` judges the routes; without it there are no states, nor what is known of a route by them.
    """

    def __init__(
        self,
        routes: Mapping[str, RouteStats],
        build: Mapping[str, str],
        reloads: Reloads | None = None,
        live: Live | None = None,
    ) -> None:
        self._routes = routes
        self._live = live
        self._build = build
        self._reloads = reloads or Reloads()

    def write(self, rendering: Rendering) -> Iterator[None]:
        """Add every family, including those without a sample yet, some routes in a step."""
        info = GaugeMetricFamily("spoe_guard_build_info", "What is running; always 1.", labels=list(self._build))
        info.add_metric(list(self._build.values()), 1)
        rendering.add(info)
        for metric in _of_reloads(self._reloads):
            rendering.add(metric)
        live, counted = self._live, _begun(rendering, FAMILIES)
        judged = _begun(rendering, JUDGED if live is not None else ())
        infos = _begun(rendering, (INFO,) if live is not None else ())
        # All families of some routes, then those of the next ones: what a route has is fetched from memory once.
        for part in _in_parts(list(self._routes)):
            # A reload may have come, and taken some away.
            routes = [(name, escaped(name), stats) for name in part if (stats := self._routes.get(name)) is not None]
            yield from _add(counted, [(route, stats) for _name, route, stats in routes])
            if live is None:
                continue
            verdicts = []
            for name, route, _stats in routes:
                verdicts.append((route, live.verdict(name)))
                yield
            yield from _add(judged, verdicts)
            yield from _add(infos, [(route, place) for name, route, _stats in routes if (place := live.places.get(name))])


def _in_parts(routes: list[T]) -> Iterator[list[T]]:
    for first in range(0, len(routes), ROUTES_A_PART):
        yield routes[first : first + ROUTES_A_PART]


_Begun = list[tuple[Family[T] | Histogram[T], Pieces]]  # families, each with what its lines are added to


def _begun(rendering: Rendering, families: Iterable[Family[T] | Histogram[T]]) -> _Begun[T]:
    return [(family, rendering.begin(family.head)) for family in families]


def _add(families: _Begun[T], routes: list[tuple[str, T]]) -> Iterator[None]:
    """Add the lines of some routes to each of the families. ``routes``: their names, ``escaped``, and what is known of them."""
    for family, lines in families:
        lines.add(family.lines(routes))
        yield


def _of_reloads(reloads: Reloads) -> Iterator[Metric]:
    total = CounterMetricFamily("spoe_guard_reloads_total", "Times the settings were read again (SIGHUP).", labels=["result"])
    total.add_metric(["success"], reloads.successes)
    total.add_metric(["failure"], reloads.failures)
    yield total
    yield GaugeMetricFamily(
        "spoe_guard_last_reload_successful",
        "Whether the settings last read are in effect; 0: they were refused.",
        float(reloads.last_successful),
    )
    yield GaugeMetricFamily(
        "spoe_guard_last_reload_success_timestamp_seconds",
        "When the settings in effect were read, in seconds since 1970.",
        reloads.succeeded_at,
    )


async def collected(process: Collector) -> list[Metric]:
    """Return what the library says of a process. With 20,000 open files it takes 20 ms to count them, so a thread does it."""
    try:
        return await in_thread(lambda: list(process.collect()), "metrics of the process")
    except NoThreadError:
        return list(process.collect())


class Exposition:
    """The answer to a scrape: the guard's metrics, and those of the process (CPU, memory, open files) or of ``process``."""

    def __init__(self, guard: Source, process: Collector | None = None) -> None:
        self._guard = guard
        self._process = process or ProcessCollector(registry=None)
        self._platform = PlatformCollector(registry=None)
        self._under_way: asyncio.Task[Rendering] | None = None
        self._rest_until = 0.0  # monotonic seconds

    async def render(self, format_: Format = Format.TEXT) -> list[bytes]:
        """Return the text in pieces; all who ask until it is made share one rendering. Cancelling leaves it to the others."""
        rendering = self._under_way
        if rendering is None or rendering.done():
            self._under_way = rendering = asyncio.get_running_loop().create_task(self._in_its_turn())
        await asyncio.wait((rendering,))
        return rendering.result().body(format_)

    async def _in_its_turn(self) -> Rendering:
        await asyncio.sleep(self._rest_until - time.monotonic())
        await self._refresh()
        rendering, took_s = await self._rendered()
        self._rest_until = time.monotonic() + min(PAUSE * took_s, LONGEST_PAUSE_S)
        return rendering

    async def _refresh(self) -> None:
        """Bring the numbers up to date; here they always are."""

    async def _rendered(self) -> tuple[Rendering, float]:
        """Return the text, and the seconds for which it held the loop. Others have their turn in between."""
        of_process = await collected(self._process)
        rendering, slices = Rendering(), Slices()
        for _step in self._guard.write(rendering):
            await slices.pause()
        for family in (*of_process, *self._platform.collect()):
            rendering.add(family)
        return rendering, slices.spent_s
