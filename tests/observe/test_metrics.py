"""The metrics as a scrape returns them: names and labels that operators rely on, and their values."""

import asyncio
import math
import re
import time
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from spoe_guard import slices
from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.config import Redispatch
from spoe_guard.core.terms.events import (
    AgentReady,
    AnomalySeen,
    AuthoredReason,
    DialFailure,
    Direction,
    DisconnectHeld,
    DisconnectSeen,
    EndedBy,
    EndReason,
    FrameAuthored,
    LinkReason,
    LinkUp,
    NotifiesRedispatched,
    NotifiesUnanswered,
    SessionEnded,
    UnansweredReason,
)
from spoe_guard.core.terms.tally import ACK_BUCKETS
from spoe_guard.observe import metrics as of_metrics
from spoe_guard.observe.formats import Format, Rendering
from spoe_guard.observe.health import Health
from spoe_guard.observe.live.status import Live, Place
from spoe_guard.observe.metrics import FAMILIES, LONGEST_PAUSE_S, ROUTES_A_PART, Exposition, GuardMetrics
from spoe_guard.observe.observer import GuardObserver
from spoe_guard.observe.pieces import Pieces
from spoe_guard.wire import frame

AGENT, OTHER = "10.0.3.7:9000", "unix:/run/agent.sock"
BUILD = {"version": "0.1.0", "python": "3.11.7", "loop": "uvloop", "compiled": "false"}

# Name, type, labels: what dashboards and alerts rest on, so that a change here is one for operators.
RELIED_ON = {
    "spoe_guard_build_info": ("gauge", {"version", "python", "loop", "compiled"}),
    "spoe_guard_connections_total": ("counter", {"route"}),
    "spoe_guard_connections_active": ("gauge", {"route"}),
    "spoe_guard_connections_closed_total": ("counter", {"route", "by", "reason"}),
    "spoe_guard_sessions_gave_way_total": ("counter", {"route", "reason"}),
    "spoe_guard_frames_total": ("counter", {"route", "direction", "type"}),
    "spoe_guard_bytes_total": ("counter", {"route", "direction"}),
    "spoe_guard_anomalies_total": ("counter", {"route", "side", "anomaly", "action", "applied"}),
    "spoe_guard_consequences_total": ("counter", {"route", "consequence"}),
    "spoe_guard_haproxy_sessions_total": ("counter", {"route", "family"}),
    "spoe_guard_synthesized_frames_total": ("counter", {"route", "direction", "type", "reason"}),
    "spoe_guard_disconnects_total": ("counter", {"route", "side", "status_code"}),
    "spoe_guard_notify_ack_seconds": ("histogram", {"route"}),
    "spoe_guard_disconnect_hold_seconds": ("histogram", {"route"}),
    "spoe_guard_open_notifies": ("gauge", {"route"}),
    "spoe_guard_unanswered_notifies_total": ("counter", {"route", "reason"}),
    "spoe_guard_held_bytes": ("gauge", {"route"}),
    "spoe_guard_accept_failures_total": ("counter", {"route", "reason"}),
    "spoe_guard_unchecked_notifies_total": ("counter", {"route"}),
    "spoe_guard_late_acks_total": ("counter", {"route"}),
    "spoe_guard_oldest_open_notify_seconds": ("gauge", {"route"}),
    "spoe_guard_agent_dials_total": ("counter", {"route", "agent"}),
    "spoe_guard_agent_notifies_total": ("counter", {"route", "agent"}),
    "spoe_guard_agent_failed_notifies_total": ("counter", {"route", "agent"}),
    "spoe_guard_agent_connect_failures_total": ("counter", {"route", "agent", "reason"}),
    "spoe_guard_agent_up": ("gauge", {"route", "agent"}),
    "spoe_guard_agent_links": ("gauge", {"route", "agent"}),
    "spoe_guard_agent_open_notifies": ("gauge", {"route", "agent"}),
    "spoe_guard_agent_links_opened_total": ("counter", {"route", "reason"}),
    "spoe_guard_redispatched_notifies_total": ("counter", {"route", "kind"}),
    "spoe_guard_parked_notifies": ("gauge", {"route"}),
    "spoe_guard_log_events_suppressed_total": ("counter", {"route"}),
    "spoe_guard_internal_errors_total": ("counter", {"route"}),
}


# And those of the flight recorder, and of settings that are taken in again.
RELIED_ON |= {
    "spoe_guard_state": ("gauge", {"route", "state"}),
    "spoe_guard_failed_ratio": ("gauge", {"route"}),
    "spoe_guard_route_info": ("gauge", {"route", "mode", "agent", "profile", "unanswered"}),
    "spoe_guard_captures_written_total": ("counter", {"route"}),
    "spoe_guard_captures_dropped_total": ("counter", {"route", "reason"}),
    "spoe_guard_reloads_total": ("counter", {"result"}),
    "spoe_guard_last_reload_successful": ("gauge", set()),
    "spoe_guard_last_reload_success_timestamp_seconds": ("gauge", set()),
}


@pytest.fixture
def observer(lines, clock) -> GuardObserver:
    return observing(["default"], lines.log(level="error"), 1000, clock)


def observing(routes, log, lines_per_s, clock) -> GuardObserver:
    observer = GuardObserver(routes, log, lines_per_s, clock=clock)
    for stats in observer.routes.values():
        stats.serve([AGENT, OTHER])
    return observer


def scrape(observer: GuardObserver) -> str:
    live = judging(observer)
    return text_of(Exposition(GuardMetrics(observer.routes, BUILD, live=live)))


def text_of(exposition: Exposition, format_: Format = Format.TEXT) -> str:
    return b"".join(asyncio.run(exposition.render(format_))).decode()


def judging(observer: GuardObserver) -> Live:
    live = Live(observer.routes, observer.incidents.take, Health(observer.routes), BUILD, "observe")
    live.places = {
        name: Place("127.0.0.1:1", f"{AGENT}, {OTHER}", "observe", "coraza", "{set: error}") for name in observer.routes
    }
    return live


def samples(observer: GuardObserver) -> dict[tuple[str, ...], float]:
    """By name and label values, the labels in the order of their names, without the route."""
    found = {}
    for family in text_string_to_metric_families(scrape(observer)):
        for sample in family.samples:
            labels = sample.labels
            if sample.name.startswith("spoe_guard_") and labels.pop("route", "default") == "default":
                found[sample.name.removeprefix("spoe_guard_"), *(labels[name] for name in sorted(labels))] = sample.value
    return found


def one_of_everything(observer: GuardObserver, route: str = "default") -> None:
    session = 1 + list(observer.routes).index(route)
    observer.session_opened(route, session, "127.0.0.1:1")
    observer.agent_dialled(route, AGENT, DialFailure.REFUSED, "gone")
    observer.agent_dialled(route, OTHER, None, "")
    observer.link_opened(route, OTHER)
    observer.routes[route].oldest = lambda: 0.75
    observer.routes[route].open_on = lambda: {AGENT: 0, OTHER: 1}
    observer.routes[route].given_to = lambda: {OTHER: 8}
    tally = observer.tally(route)
    tally.frames_to_agent[frame.NOTIFY] += 3
    tally.frames_to_haproxy[frame.ACK] += 2
    tally.bytes_to_agent += 300
    tally.bytes_to_haproxy += 200
    tally.open_notifies = 1
    tally.held_bytes = 17
    tally.parked_notifies = 6
    tally.late_after = 5.0
    tally.observe_ack(0.003)
    tally.observe_ack(7.0)
    happened: list[Any] = [
        AnomalySeen(Anomaly.RUNT_FRAME, Side.AGENT, Action.DROP, "RUNNING"),
        FrameAuthored(Direction.TO_HAPROXY, frame.AGENT_DISCONNECT, AuthoredReason.DISCONNECT),
        DisconnectSeen(Side.AGENT, 99, ""),
        NotifiesUnanswered(UnansweredReason.AGENT_GONE, 1, unchecked=1, agents=((OTHER, 1),)),
        DisconnectHeld(0.04),
        AgentReady(16380, "", healthcheck=False, agent=OTHER),
        LinkUp(LinkReason.REPLACEMENT, 0.3),
        NotifiesRedispatched(Redispatch.UNANSWERED, 4),
        SessionEnded(EndedBy.AGENT, EndReason.CLOSED),
    ]
    observer.seen(route, session, happened)


def test_the_metrics_types_and_labels_are_those_operators_rely_on(observer):
    one_of_everything(observer)
    text = scrape(observer)
    typed = dict(line.split()[2:4] for line in text.splitlines() if line.startswith("# TYPE spoe_guard_"))
    assert typed == {name: kind for name, (kind, _labels) in RELIED_ON.items()}
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name
            if typed.get(name) is None and name.rpartition("_")[0] in typed:
                name = name.rpartition("_")[0]  # _bucket, _sum, _count
            if name in RELIED_ON:
                labels.setdefault(name, set()).update(sample.labels.keys() - {"le"})
    assert labels == {name: wanted for name, (_kind, wanted) in RELIED_ON.items()}


def test_a_route_has_one_state_of_five(observer):
    told = samples(observer)
    assert {state: told["state", state] for state in ("ok", "repaired", "degraded", "danger", "down")} == {
        "ok": 1.0, "repaired": 0.0, "degraded": 0.0, "danger": 0.0, "down": 0.0
    }  # fmt: skip
    assert told["failed_ratio",] == 0.0
    observer.seen("default", 1, [NotifiesUnanswered(UnansweredReason.DEADLINE, 3)])
    observer.tally("default").observe_ack(0.001)
    told = samples(observer)
    assert (told["state", "degraded"], told["state", "ok"], told["failed_ratio",]) == (1.0, 0.0, 0.75)


def test_what_the_settings_say_of_a_route_is_told(observer):
    assert samples(observer)["route_info", f"{AGENT}, {OTHER}", "observe", "coraza", "{set: error}"] == 1.0


def test_every_metric_has_its_help_before_anything_happened(observer):
    text = scrape(observer)
    assert {line.split()[2] for line in text.splitlines() if line.startswith("# HELP spoe_guard_")} == RELIED_ON.keys()


def test_what_was_counted_is_what_is_scraped(observer):
    one_of_everything(observer)
    found = samples(observer)
    expected = {
        ("build_info", "false", "uvloop", "3.11.7", "0.1.0"): 1,
        ("connections_total",): 1,
        ("connections_active",): 1,
        ("connections_closed_total", "agent", "closed"): 1,
        ("frames_total", "to_agent", "notify"): 3,
        ("frames_total", "to_haproxy", "ack"): 2,
        ("frames_total", "to_haproxy", "unknown"): 0,
        ("bytes_total", "to_agent"): 300,
        ("bytes_total", "to_haproxy"): 200,
        ("anomalies_total", "drop", "runt_frame", "true", "agent"): 1,
        ("synthesized_frames_total", "to_haproxy", "disconnect", "agent_disconnect"): 1,
        ("disconnects_total", "agent", "99"): 1,
        ("unanswered_notifies_total", "agent_gone"): 1,
        ("unanswered_notifies_total", "deadline"): 0,
        ("open_notifies",): 1,
        ("held_bytes",): 17,
        ("unchecked_notifies_total",): 1,
        ("late_acks_total",): 1,
        ("oldest_open_notify_seconds",): 0.75,
        ("agent_up", AGENT): 0,
        ("agent_up", OTHER): 1,
        ("agent_links", AGENT): 0,
        ("agent_links", OTHER): 1,
        ("agent_open_notifies", AGENT): 0,
        ("agent_open_notifies", OTHER): 1,
        ("agent_notifies_total", AGENT): 0,
        ("agent_notifies_total", OTHER): 8,
        ("agent_failed_notifies_total", AGENT): 0,
        ("agent_failed_notifies_total", OTHER): 1,
        ("agent_dials_total", AGENT): 1,
        ("agent_dials_total", OTHER): 1,
        ("agent_connect_failures_total", AGENT, "refused"): 1,
        ("agent_connect_failures_total", OTHER, "refused"): 0,
        ("agent_links_opened_total", "first"): 0,
        ("agent_links_opened_total", "replacement"): 1,
        ("redispatched_notifies_total", "unsent"): 0,
        ("redispatched_notifies_total", "unanswered"): 4,
        ("parked_notifies",): 6,
        ("log_events_suppressed_total",): 0,
        ("internal_errors_total",): 0,
        ("notify_ack_seconds_bucket", "0.0025"): 0,
        ("notify_ack_seconds_bucket", "0.005"): 1,
        ("notify_ack_seconds_bucket", "5.0"): 1,
        ("notify_ack_seconds_bucket", "+Inf"): 2,
        ("notify_ack_seconds_count",): 2,
        ("notify_ack_seconds_sum",): 7.003,
        ("disconnect_hold_seconds_bucket", "0.025"): 0,
        ("disconnect_hold_seconds_bucket", "0.05"): 1,
        ("disconnect_hold_seconds_count",): 1,
        ("disconnect_hold_seconds_sum",): 0.04,
    }
    assert {key: found.get(key) for key in expected} == expected
    assert len([key for key in found if key[0] == "notify_ack_seconds_bucket"]) == len(ACK_BUCKETS) + 1


def test_failures_to_connect_are_there_for_every_reason_before_the_first(observer):
    found = {key[1:]: value for key, value in samples(observer).items() if key[0] == "agent_connect_failures_total"}
    assert found == {(agent, reason.value): 0 for agent in (AGENT, OTHER) for reason in DialFailure}


def test_whether_the_agent_is_up_is_not_said_before_the_first_try(observer):
    def up() -> dict[str, float]:
        return {key[1]: value for key, value in samples(observer).items() if key[0] == "agent_up"}

    assert up() == {}
    observer.agent_dialled("default", AGENT, DialFailure.REFUSED, "gone")
    assert up() == {AGENT: 0}
    observer.seen("default", 1, [AgentReady(16380, "", healthcheck=False, agent=OTHER)])
    assert up() == {AGENT: 0, OTHER: 1}


def test_no_series_is_ever_no_number(observer):
    assert not [key for key, value in samples(observer).items() if math.isnan(value)]
    one_of_everything(observer)
    assert not [key for key, value in samples(observer).items() if math.isnan(value)]


def test_the_process_is_measured_as_well(observer):
    text = scrape(observer)
    assert "process_cpu_seconds_total" in text
    assert "process_open_fds" in text


def many_routes(lines, clock, count: int) -> GuardObserver:
    """Routes that have seen every anomaly."""
    observer = observing([f"route{number}" for number in range(count)], lines.log(level="error"), 1, clock)
    for route in observer.routes:
        one_of_everything(observer, route)
        for anomaly in Anomaly:
            observer.routes[route].anomalies["agent", anomaly.value, "drop", "true"] += 1
    return observer


@pytest.fixture
def rendered(monkeypatch) -> list[str]:
    """The lines that were made in one step, in which nobody else has a turn, each time."""
    steps: list[str] = []
    real = Pieces.add

    def add(self, lines: str) -> None:
        steps.append(lines)
        real(self, lines)

    monkeypatch.setattr(Pieces, "add", add)
    return steps


def test_a_scrape_of_many_routes_gives_way_to_traffic(lines, clock, run, monkeypatch, rendered):
    """What another task waits for is a few routes of one family, not the whole."""
    monkeypatch.setattr(slices, "SLICE_S", -1.0)  # on a fast machine a slice has several steps
    observer = many_routes(lines, clock, 2 * ROUTES_A_PART + 1)
    exposition = Exposition(GuardMetrics(observer.routes, BUILD, live=judging(observer)))

    async def main() -> int:
        turns = 0
        rendering = asyncio.get_running_loop().create_task(exposition.render())
        while not rendering.done():
            turns += 1
            await asyncio.sleep(0)
        return turns

    turns = run(main())
    routes = re.compile('route="([^"]+)"')
    steps = [set(routes.findall(lines)) for lines in rendered]
    assert turns >= 3 * len(FAMILIES) > 60
    assert max(map(len, steps)) == ROUTES_A_PART


def test_a_route_is_judged_once_in_a_scrape(lines, clock, monkeypatch):
    observer = many_routes(lines, clock, 3)
    live, judged, asked = judging(observer), [], []
    real = live.verdict
    monkeypatch.setattr(live, "verdict", lambda name: judged.append(name) or real(name))
    for name, stats in observer.routes.items():
        stats.oldest = lambda name=name: asked.append(name) or 0.0
    text_of(Exposition(GuardMetrics(observer.routes, BUILD, live=live)))
    assert judged == asked == list(observer.routes)


def test_every_metric_is_the_same_in_openmetrics_and_none_is_refused(lines, clock):
    observer = many_routes(lines, clock, ROUTES_A_PART + 1)
    collector = GuardMetrics(observer.routes, BUILD, live=judging(observer))

    text, openmetrics = (text_of(Exposition(collector), format_) for format_ in Format)
    kinds = {family.name: family.type for family in openmetrics_families(openmetrics)}  # it refuses what the standard does
    names = {name.removesuffix("_total"): kind for name, (kind, _labels) in RELIED_ON.items()}
    assert kinds.items() >= names.items()
    same = [line for line in text.splitlines() if line.startswith("spoe_guard_")]
    assert same == [line for line in openmetrics.splitlines() if line.startswith("spoe_guard_")]
    assert not [line for line in same if "_created" in line]


def test_a_route_that_a_reload_takes_away_meanwhile_is_left_out(lines, clock):
    observer = many_routes(lines, clock, ROUTES_A_PART + 2)
    gone, stays = list(observer.routes)[-2:]
    rendering = Rendering()
    steps = GuardMetrics(observer.routes, BUILD, live=judging(observer)).write(rendering)
    next(steps)
    del observer.routes[gone]
    assert list(steps)
    text = b"".join(rendering.body(Format.TEXT)).decode()
    assert f'{{route="{stays}"}}' in text
    assert f'"{gone}"' not in text


@pytest.mark.parametrize("count", [0, 1, ROUTES_A_PART, ROUTES_A_PART + 1])
def test_a_family_in_parts_is_the_same_text_as_in_one(lines, clock, monkeypatch, count):
    observer = many_routes(lines, clock, count)
    collector = GuardMetrics(observer.routes, BUILD, live=judging(observer))

    def of_routes() -> list[str]:
        return [line for line in text_of(Exposition(collector)).splitlines() if "spoe_guard_" in line]

    in_parts = of_routes()
    monkeypatch.setattr(of_metrics, "ROUTES_A_PART", 1000)
    assert in_parts == of_routes()
    assert len(in_parts) > 60


def test_one_who_asks_as_a_rendering_ends_takes_it_from_nobody(observer, run):
    async def main():
        exposition = Exposition(GuardMetrics(observer.routes, BUILD))
        asking = [asyncio.ensure_future(exposition.render())]
        await asyncio.sleep(0)
        exposition._under_way.add_done_callback(lambda _: asking.append(asyncio.ensure_future(exposition.render())))
        asking.append(asyncio.ensure_future(exposition.render()))
        await asyncio.gather(*asking)
        return await asyncio.gather(*asking)

    assert len(run(main())) == 3


def test_all_who_ask_at_once_share_one_rendering(observer, run, rendered):
    exposition = Exposition(GuardMetrics(observer.routes, BUILD))

    async def main() -> list[list[bytes]]:
        asking = [asyncio.ensure_future(exposition.render()) for _ in range(10)]
        await asyncio.sleep(0)
        asking.pop(0).cancel()  # it leaves the rendering to the others
        return await asyncio.gather(*asking)

    answers = run(main())
    assert all(piece is first for answer in answers for piece, first in zip(answer, answers[0], strict=True))  # not copied
    assert sum(lines.count("spoe_guard_connections_total{") for lines in rendered) == len(observer.routes)


def test_scrapes_take_a_tenth_of_a_core_at_most(observer, run):
    exposition = Exposition(GuardMetrics(observer.routes, BUILD))

    async def main() -> tuple[float, float]:
        exposition._rendered = costs_a_lot  # type: ignore[method-assign]
        await exposition.render()
        rests_s = exposition._rest_until - time.monotonic()
        exposition._rest_until = time.monotonic() + 0.05
        began = time.monotonic()
        await asyncio.gather(exposition.render(), exposition.render())
        return rests_s, time.monotonic() - began

    async def costs_a_lot() -> tuple[Rendering, float]:
        return Rendering(), 60.0

    rests_s, took_s = run(main())
    assert LONGEST_PAUSE_S / 2 < rests_s <= LONGEST_PAUSE_S
    assert 0.04 < took_s < 5
