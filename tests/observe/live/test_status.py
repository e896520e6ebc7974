"""/api/status: its shape, its verdict in each state, and its bounded size."""

import asyncio
import json
from datetime import datetime

import pytest

from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.core.terms.events import HaproxyKnown, NotifiesUnanswered, UnansweredReason
from spoe_guard.core.terms.family import Family
from spoe_guard.observe.live.history import COUNTED, POINTS, SERIES, STEP_S
from spoe_guard.observe.live.recent import KEPT, newest
from spoe_guard.observe.live.status import Live, as_json
from tests.observe.live.scenes import ALL, BUILD, Scene, anomalies, healthy, many_routes, notify


def taken(scene: Scene) -> dict:
    async def main() -> bytes:
        return await as_json(await scene.live.status())

    return json.loads(asyncio.run(main()))


@pytest.fixture
def scene(lines) -> Scene:
    return Scene(lines.log(level="error"), "default")


@pytest.mark.parametrize("name", ALL)
def test_it_is_json_of_one_shape_in_every_state(lines, name):
    status = taken(ALL[name](lines.log(level="error")))
    assert list(status) == [
        "version", "at", "guard", "state", "sentence", "step_s", "points", "anomalies", "routes"
    ]  # fmt: skip
    assert set(status["guard"]) == {*BUILD, "host", "mode", "up_s"}
    for route in status["routes"]:
        assert list(route) == [
            "name", "listen", "agent", "mode", "profile", "state", "since", "since_s", "sentence", "headline", "side", "runbook",
            "last_minute", "haproxy", "agent_up", "agents", "now", "total", "ack_seconds", "window", "anomalies", "unanswered",
            "history",
        ]  # fmt: skip
        assert all(list(agent) == ["address", "up", "detail", "links", "dials", "failures"] for agent in route["agents"])
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


def test_that_nobody_is_connected_is_not_called_well(scene):
    assert message(scene) == ("ok", "HAProxy is not connected.", "ok", "HAProxy has not connected yet")
    session = scene.session("default")
    assert message(scene) == ("ok", "All is well.", "ok", "Served")
    scene.observer.session_closed("default", session)
    assert message(scene) == ("ok", "HAProxy is not connected.", "ok", "HAProxy is not connected")


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


@pytest.mark.parametrize(("count", "kept"), [(KEPT, KEPT), (KEPT + 1, KEPT)])
def test_the_last_anomalies_are_bounded_newest_first(scene, count, kept):
    for at in range(count):
        scene.clock.now += 1
        scene.anomaly("default", 1, Anomaly.RUNT_FRAME, Action.DROP, bytes(4), offset=at)
    notes = taken(scene)["anomalies"]
    assert [note["offset"] for note in notes] == list(range(count - 1, count - 1 - kept, -1))
    assert len({note["id"] for note in notes}) == kept
    assert [note["ago_s"] for note in notes[:2]] == [0, 1]
    assert notes[0]["at"] > notes[1]["at"]


def test_a_note_says_what_the_log_says(scene):
    sample = notify(7, b"check")
    scene.anomaly("default", 3, Anomaly.NOTIFY_DUPLICATE, Action.PASS, sample, offset=9, open_notifies=2, detail="a\x1bb")
    (note,) = taken(scene)["anomalies"]
    assert {name: note[name] for name in ("route", "session", "side", "anomaly", "action", "applied", "state")} == {
        "route": "default", "session": 3, "side": "agent", "anomaly": "notify_duplicate", "action": "pass", "applied": True,
        "state": "RUNNING",
    }  # fmt: skip
    assert (note["type"], note["stream_id"], note["frame_id"], note["length"]) == ("notify", 7, 1, len(sample) - 4)
    assert (note["offset"], note["open_notifies"], note["detail"], note["hex"]) == (9, 2, "a\\x1bb", sample.hex())
    assert note["frame"][1] == "  message check, 0 arguments"


@pytest.mark.parametrize(("payload", "lines_kept"), [("full", True), ("headers", True), ("off", False)])
def test_how_much_of_what_peers_wrote_is_told_is_a_setting(lines, payload, lines_kept):
    status = json.dumps(taken(anomalies(lines.log(level="error"), payload=payload)))
    assert ("str of 12 bytes" in status or "str \\" in status) == lines_kept
    assert ("client_ip" in status) == (payload == "full")
    assert ("198.51.100.7" in status) == (payload == "full")
    assert (b"198.51.100.7".hex() in status) == (payload == "full")


def test_notes_of_several_processes_are_one_list(lines):
    one, other = (Scene(lines.log(level="error"), "default") for _ in range(2))
    for at in range(KEPT):
        one.clock.now = other.clock.now = 1000 + 10 * at
        one.anomaly("default", 1, Anomaly.RUNT_FRAME, Action.DROP, offset=1)
        other.clock.now += 5
        other.anomaly("default", 1, Anomaly.RUNT_FRAME, Action.DROP, offset=2)
    merged = newest([*one.observer.recent.take(), *other.observer.recent.take()])
    assert [note["offset"] for note in merged] == [2, 1] * (KEPT // 2)


def test_the_clock_of_the_wall_is_asked_when_somebody_looks(scene):
    scene.anomaly("default", 1, Anomaly.RUNT_FRAME, Action.DROP)
    scene.clock.now += 90
    status = taken(scene)
    assert status["anomalies"][0]["at"] < status["at"]
    assert status["anomalies"][0]["ago_s"] == 90


def test_many_routes_are_told_in_pieces_that_let_traffic_by(lines):
    """Each route is one piece, for the numbers and for the text; the turns are counted, not timed."""
    scene = many_routes(lines.log(level="error"))
    turns = 0

    async def main() -> None:
        nonlocal turns
        telling = asyncio.get_running_loop().create_task(scene.live.status())
        while not telling.done():
            turns += 1
            await asyncio.sleep(0)
        writing = asyncio.get_running_loop().create_task(as_json(telling.result()))
        while not writing.done():
            turns += 1
            await asyncio.sleep(0)

    asyncio.run(main())
    assert turns >= 2 * len(scene.observer.routes)


def test_samples_are_short_numbers(lines):
    scene = healthy(lines.log(level="error"))
    for values in taken(scene)["routes"][0]["history"].values():
        assert all(len(repr(value).lstrip("-").replace(".", "").lstrip("0")) <= 6 for value in values)


def test_it_samples_by_itself(lines, monkeypatch):
    scene = Scene(lines.log(level="error"), "default")
    ticks = iter(range(1000, 2000, int(STEP_S)))
    live = Live(scene.observer.routes, scene.observer.recent.take, scene.health, BUILD, clock=lambda: float(next(ticks)))
    monkeypatch.setattr("spoe_guard.observe.live.status.STEP_S", 0.001)

    async def main() -> None:
        task = asyncio.get_running_loop().create_task(live.keep())
        async with asyncio.timeout(5):
            while len(live.history.of["default"].series["sessions"]) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        task.cancel()

    asyncio.run(main())
