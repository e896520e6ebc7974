"""/api/status: its shape, its verdict in each state, and its bounded size."""

import asyncio
import json
from collections import Counter
from datetime import datetime

import pytest

from spoe_guard import slices
from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.core.terms.events import HaproxyKnown, NotifiesUnanswered, UnansweredReason
from spoe_guard.core.terms.family import Family
from spoe_guard.observe.live import history as of_history
from spoe_guard.observe.live import status as of_status
from spoe_guard.observe.live.history import COUNTED, POINTS, SERIES, STEP_S
from spoe_guard.observe.live.status import Live
from tests.observe.live.scenes import ALL, BUILD, Scene, anomalies, healthy, many_routes, notify


def taken(scene: Scene) -> dict:
    async def main() -> bytes:
        return b"".join(await scene.live.as_json())

    return json.loads(asyncio.run(main()))


@pytest.fixture
def scene(lines) -> Scene:
    return Scene(lines.log(level="error"), "default")


@pytest.mark.parametrize("name", ALL)
def test_it_is_json_of_one_shape_in_every_state(lines, name):
    status = taken(ALL[name](lines.log(level="error")))
    assert list(status) == [
        "version", "at", "guard", "state", "sentence", "step_s", "points", "incidents", "routes"
    ]  # fmt: skip
    assert set(status["guard"]) == {*BUILD, "host", "name", "mode", "up_s"}
    for route in status["routes"]:
        assert list(route) == [
            "name", "listen", "agent", "mode", "profile", "state", "since", "since_s", "sentence", "headline", "side", "runbook",
            "last_minute", "haproxy", "agent_up", "agents", "now", "ack_seconds", "enforce_would_have", "anomalies",
            "unanswered", "total", "window", "history",
        ]  # fmt: skip
        assert all(
            list(agent)
            == ["address", "up", "detail", "links", "open_notifies", "notifies", "failed_notifies", "dials", "failures"]
            for agent in route["agents"]
        )
        assert route["now"].keys() == {
            "sessions", "open_notifies", "parked_notifies", "held_bytes", "agent_links", "oldest_open_notify_s"
        }  # fmt: skip
        assert {"late_acks", "unchecked"} < route["total"].keys()
        assert set(route["history"]) == set(SERIES)
        assert set(route["window"]) == set(COUNTED)
        assert all(len(values) <= POINTS for values in route["history"].values())


def message(scene: Scene) -> tuple[str, str, str, str]:
    status = taken(scene)
    route = status["routes"][0]
    return status["state"], status["sentence"], route["state"], route["sentence"]


def test_the_worst_route_decides_and_routes_are_counted(lines):
    scene = Scene(lines.log(level="error"), "a", "b", "c")
    sessions = {name: scene.session(name) for name in "abc"}
    assert message(scene)[:2] == ("ok", "All is well.")
    scene.anomaly("b", sessions["b"], Anomaly.RUNT_FRAME, Action.DROP)
    assert message(scene)[:2] == ("repaired", "All is well; the guard mends what comes in at 1 of 3 routes.")
    scene.observer.seen("b", sessions["b"], [NotifiesUnanswered(UnansweredReason.DEADLINE, 1)])
    assert message(scene)[:2] == ("degraded", "1 of 3 routes is degraded.")
    scene.anomaly("c", sessions["c"], Anomaly.RUNT_FRAME, Action.PASS)
    assert message(scene)[:2] == ("danger", "HAProxy is in danger at 1 of 3 routes.")
    scene.refuses("a")
    assert message(scene)[:2] == ("down", "1 of 3 routes has no agent.")
    scene.refuses("c")
    assert message(scene)[:2] == ("down", "2 of 3 routes have no agent.")


WOULD = [
    # what the agent did, and what enforce would do; saved, spared, mended
    (Anomaly.MISSING_FIN, Action.REPAIR, (1, 0, 1)),
    (Anomaly.ACK_AFTER_DISCONNECT, Action.REORDER, (1, 0, 1)),
    (Anomaly.RUNT_FRAME, Action.DROP, (0, 1, 1)),
    (Anomaly.RUNT_FRAME, Action.PASS, (0, 0, 0)),  # the policy would pass it, too
    (Anomaly.UNMATCHED_ACK, Action.DROP, (0, 0, 1)),
    (Anomaly.NOTIFY_UNANSWERED, Action.REPAIR, (0, 0, 0)),  # counted as a NOTIFY without an answer
]


@pytest.mark.parametrize(("anomaly", "action", "would"), WOULD)
def test_what_enforce_would_have_done_is_counted_where_it_was_observed(scene, anomaly, action, would):
    for applied, counted in ((True, (0, 0, 0)), (False, would), (False, tuple(2 * each for each in would))):
        scene.anomaly("default", 1, anomaly, action, applied=applied)
        assert tuple(taken(scene)["routes"][0]["enforce_would_have"].values()) == counted


def test_only_an_haproxy_that_connects_would_have_been_spared(scene):
    scene.anomaly("default", 1, Anomaly.RUNT_FRAME, Action.DROP, applied=False)
    scene.observer.seen("default", 1, [HaproxyKnown(Family.MUX)])
    assert taken(scene)["routes"][0]["enforce_would_have"] == {"saved": 0, "spared": 0, "mended": 1}


def test_each_address_says_how_many_notifies_are_open_were_given_and_failed(scene):
    scene.serve("default", "a:1", "b:1")
    stats = scene.observer.routes["default"]
    stats.open_on = lambda: {"b:1": 7}
    stats.given_to = lambda: {"a:1": 0, "b:1": 40}
    lost = NotifiesUnanswered(UnansweredReason.DEADLINE, 3, agents=(("b:1", 2), ("gone:1", 1)))
    scene.observer.seen("default", scene.session("default"), [lost])
    told = ("open_notifies", "notifies", "failed_notifies")
    assert {agent["address"]: [agent[each] for each in told] for agent in taken(scene)["routes"][0]["agents"]} == {
        "a:1": [0, 0, 0],
        "b:1": [7, 40, 2],
    }


def test_that_nobody_is_connected_is_not_called_well(scene):
    assert message(scene) == ("ok", "HAProxy is not connected.", "ok", "HAProxy has not connected yet")
    session = scene.session("default")
    assert message(scene) == ("ok", "All is well.", "ok", "Served")
    scene.observer.session_closed("default", session)
    assert message(scene) == ("ok", "HAProxy is not connected.", "ok", "HAProxy is not connected")


def test_what_the_guard_mends_has_its_time_too(scene):
    session = scene.session("default")
    scene.anomaly("default", session, Anomaly.UNMATCHED_ACK, Action.DROP)
    (route,) = taken(scene)["routes"]
    since = datetime.fromisoformat(route["since"])
    told = "1 anomaly mended in the last minute (unmatched_ack)"
    assert route["headline"] == f"{told}, since {since:%H:%M:%S} UTC (0 s); HAProxy connects from 127.0.0.1:5000"


def test_a_headline_says_since_when_and_who_feels_it(scene):
    session = scene.session("default")
    route = taken(scene)["routes"][0]
    assert (route["headline"], route["runbook"], route["side"]) == ("Served", "", "")
    scene.observer.seen("default", session, [HaproxyKnown(Family.MUX)])
    scene.acks("default", 97, 0.001)  # 98: each share is rounded up
    scene.step()
    scene.observer.seen("default", session, [NotifiesUnanswered(UnansweredReason.AGENT_GONE, 3)])
    scene.step(6, lambda _step: scene.observer.seen("default", session, [NotifiesUnanswered(UnansweredReason.AGENT_GONE, 1)]))
    (route,) = taken(scene)["routes"]
    since = datetime.fromisoformat(route["since"])
    assert route["since_s"] == 30 - STEP_S
    assert route["headline"] == (
        "8 % of 107 NOTIFYs in the last minute failed: the agent ends its connections with NOTIFYs in hand, "
        f"since {since:%H:%M:%S} UTC (25 s); HAProxy 3.1 or later connects from 127.0.0.1:5000"
    )
    assert (route["side"], route["runbook"], route["haproxy"]) == (
        "agent", "notify_unanswered", {"families": ["mux"], "peer": "127.0.0.1:5000"},
    )  # fmt: skip
    assert route["last_minute"] == {"asked": 107, "failed": 9, "failed_share": 0.08411}
    scene.refuses("default")  # worse, and the same trouble
    assert taken(scene)["routes"][0]["since_s"] == route["since_s"]


def test_before_it_listens_and_when_it_drains_that_is_what_is_said(scene):
    scene.health.listening = False
    assert message(scene)[:2] == ("degraded", "Not listening yet.")
    scene.health.listening = scene.health.draining = True
    assert message(scene)[:2] == ("degraded", "Draining: the guard is stopping.")


def test_an_incident_says_what_the_log_says_with_its_frames(lines):
    scene = Scene(lines.log(), "default")
    for at in range(3):
        sample = notify(7 + 2 * at, b"check")
        scene.anomaly(
            "default", 3 + at, Anomaly.NOTIFY_DUPLICATE, Action.PASS, sample, offset=at, open_notifies=2, detail="a\x1bb"
        )
        scene.clock.now += 10
    (incident,) = taken(scene)["incidents"]
    logged = next(line for line in lines.logged if line["event"] == "anomaly")
    assert incident["ids"] == [logged["incident"]]
    told = ("route", "side", "anomaly", "action", "applied", "level")
    assert {name: incident[name] for name in told} == {name: logged[name] for name in told}
    assert (incident["what"], incident["runbook"], incident["over"]) == ("anomaly", "notify_duplicate", False)
    assert (incident["count"], incident["peak_per_s"], incident["seconds"], incident["ago_s"]) == (3, 1, 20, 10)
    assert (incident["first_session"], incident["last_session"]) == (3, 5)
    first, last = incident["first"], incident["last"]
    placed = ("state", "type", "stream_id", "frame_id", "length", "offset", "open_notifies")
    assert {name: first[name] for name in placed} == {name: logged[name] for name in placed}
    assert (last["stream_id"], last["offset"], last["detail"], last["hex"]) == (11, 2, "a\\x1bb", sample.hex())
    assert last["frame"][1] == "  message check, 0 arguments"
    since = datetime.fromisoformat(incident["last_at"]) - datetime.fromisoformat(incident["first_at"])
    assert since.total_seconds() == pytest.approx(20, abs=0.002)


def test_what_is_no_anomaly_has_a_sentence_and_an_entry_too(scene):
    scene.refuses("default")
    scene.observer.seen("default", 1, [NotifiesUnanswered(UnansweredReason.AGENT_AWAY, 3)])
    scene.observer.seen("default", 1, [NotifiesUnanswered(UnansweredReason.HAPROXY_GONE, 2)])
    told = {(row["what"], row["reason"]): (row["sentence"], row["runbook"], row["count"]) for row in taken(scene)["incidents"]}
    assert told == {
        ("agent_unreachable", "refused"): (
            "the agent at an address could not be dialled, or said no HELLO", "the-agent-is-down", 1,
        ),
        ("notifies_unanswered", "agent_away"): ("NOTIFYs get no answer: the agent is away", "the-agent-is-down", 3),
        ("notifies_unanswered", "haproxy_gone"): (
            "NOTIFYs get no answer: HAProxy left before the answer came", "notify_unanswered", 2,
        ),
    }  # fmt: skip


@pytest.mark.parametrize(("payload", "lines_kept"), [("full", True), ("headers", True), ("off", False)])
def test_how_much_of_what_peers_wrote_is_told_is_a_setting(lines, payload, lines_kept):
    status = json.dumps(taken(anomalies(lines.log(level="error"), payload=payload)))
    assert ("str of 12 bytes" in status or "str \\" in status) == lines_kept
    assert ("client_ip" in status) == (payload == "full")
    assert ("198.51.100.7" in status) == (payload == "full")
    assert (b"198.51.100.7".hex() in status) == (payload == "full")


def test_the_clock_of_the_wall_is_asked_when_somebody_looks(scene):
    scene.anomaly("default", 1, Anomaly.RUNT_FRAME, Action.DROP)
    scene.clock.now += 90
    status = taken(scene)
    assert status["incidents"][0]["last_at"] < status["at"]
    assert (status["incidents"][0]["ago_s"], status["incidents"][0]["over"]) == (90, True)


def test_many_routes_are_told_in_steps_that_let_traffic_by(lines, monkeypatch):
    """Each route and each incident is one step; the turns are counted, not timed."""
    monkeypatch.setattr(slices, "SLICE_S", -1.0)  # on a fast machine a slice has several steps
    scene = many_routes(lines.log(level="error"))
    for number in range(5):
        scene.observer.incidents.happened("team-00-bot-detection", ("internal_error", f"Error{number}"))
    steps = len(scene.observer.routes) + len(taken(scene)["incidents"])
    assert steps > 10

    async def turns(made) -> int:
        count, task = 0, asyncio.get_running_loop().create_task(made)
        while not task.done():
            count += 1
            await asyncio.sleep(0)
        return count

    assert asyncio.run(turns(scene.live.status())) >= steps
    assert asyncio.run(turns(scene.live.as_json())) >= steps
    scene.clock.now += STEP_S
    assert asyncio.run(turns(scene.live.sample())) >= len(scene.observer.routes)


@pytest.fixture
def counted(monkeypatch) -> list[str]:
    """What was worked out of a route's numbers, call by call."""
    calls: list[str] = []

    def count(where, name: str) -> None:
        real = getattr(where, name)
        monkeypatch.setattr(where, name, lambda *args: calls.append(name) or real(*args))

    for where, name in ((of_status, "totals"), (of_history, "totals"), (of_status, "judged"), (of_status, "quantile")):
        count(where, name)
    return calls


def test_each_fact_of_a_route_is_worked_out_once(lines, counted):
    scene = many_routes(lines.log(level="error"))
    scene.traffic(POINTS + 5)
    for stats in scene.observer.routes.values():
        stats.oldest = lambda: counted.append("oldest") or 0.0
    counted.clear()
    asyncio.run(scene.live.as_json())
    of_each = {"totals": 1, "judged": 1, "quantile": 2, "oldest": 1}
    assert Counter(counted) == {name: times * len(scene.observer.routes) for name, times in of_each.items()}


def test_no_sample_is_written_again_for_each_who_asks(lines, monkeypatch):
    scene = healthy(lines.log(level="error"))
    asyncio.run(scene.live.as_json())
    monkeypatch.setattr(of_history, "rounded", None)
    assert len(taken(scene)["routes"][0]["history"]["sessions"]) == POINTS


@pytest.mark.parametrize("name", ALL)
def test_the_text_says_what_the_page_and_the_control_socket_are_given(lines, name, monkeypatch):
    monkeypatch.setattr(of_status, "_wall", lambda: 1_700_000_000.0)
    scene = ALL[name](lines.log(level="error"))
    given = asyncio.run(scene.live.status())
    assert list(given) == list(taken(scene))
    assert given == taken(scene)


def test_samples_are_short_numbers(lines):
    scene = healthy(lines.log(level="error"))
    for values in taken(scene)["routes"][0]["history"].values():
        assert all(len(repr(value).lstrip("-").replace(".", "").lstrip("0")) <= 6 for value in values)


def test_it_samples_by_itself(lines, monkeypatch):
    scene = Scene(lines.log(level="error"), "default")
    ticks = iter(range(1000, 2000, int(STEP_S)))
    live = Live(scene.observer.routes, scene.observer.incidents.take, scene.health, BUILD, clock=lambda: float(next(ticks)))
    monkeypatch.setattr("spoe_guard.observe.live.status.STEP_S", 0.001)

    async def main() -> None:
        task = asyncio.get_running_loop().create_task(live.keep())
        async with asyncio.timeout(5):
            while len(live.history.of["default"].samples()["sessions"]) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        task.cancel()

    asyncio.run(main())


def test_a_name_that_is_no_text_does_not_break_the_document(scene):
    """A Unix socket of HAProxy's may be called anything; Python has surrogates for such bytes, and JSON has none."""
    scene.observer.session_opened("default", scene.session("default") + 1, "/run/\udcff")
    [route] = taken(scene)["routes"]
    assert route["haproxy"]["peer"] == r"/run/\udcff"
