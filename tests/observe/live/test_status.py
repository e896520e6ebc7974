"""/api/status: its shape, its verdict in each state, and its bounded size."""

import asyncio
import json
import math

import pytest

from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.core.terms.events import AuthoredReason, Direction, FrameAuthored, NotifiesUnanswered, UnansweredReason
from spoe_guard.observe.live.history import COUNTED, POINTS, SERIES, SLOW_S, STEP_S
from spoe_guard.observe.live.recent import KEPT, newest
from spoe_guard.observe.live.status import LONG_S, MANY_HELLOS, NEVER_A_NOTIFY, ONLY_CHECKS, Live, as_json
from spoe_guard.wire import frame
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
        "version", "at", "guard", "level", "sentence", "step_s", "points", "anomalies", "routes"
    ]  # fmt: skip
    assert set(status["guard"]) == {*BUILD, "mode", "up_s"}
    for route in status["routes"]:
        assert list(route) == [
            "name", "listen", "agent", "level", "sentence", "agent_up", "agents", "now", "total", "ack_seconds", "window",
            "anomalies", "unanswered", "history",
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
    return status["level"], status["sentence"], route["level"], route["sentence"]


def test_the_verdict_follows_what_happens(scene):
    assert message(scene) == ("idle", "HAProxy is not connected.", "idle", "HAProxy has not connected yet")
    session = scene.session("default")
    assert message(scene) == ("ok", "All is well.", "ok", "Served")
    scene.anomaly("default", session, Anomaly.RUNT_FRAME, Action.DROP)
    assert message(scene)[2:] == ("attention", "1 anomaly in the last 10 minutes")
    scene.observer.seen("default", session, [NotifiesUnanswered(UnansweredReason.DEADLINE, 2)])
    scene.observer.accept_failed("default", "no descriptor")
    scene.observer.internal_error("default", session, ValueError())
    assert message(scene) == (
        "attention",
        "The route needs a look.",
        "attention",
        "1 anomaly, 2 NOTIFYs unanswered, 1 time out of descriptors, memory or ports, 1 internal error in the last 10 minutes",
    )
    scene.refuses("default", detail="Connection\nrefused")
    down = "The agent is unreachable: refused: 10.0.3.7:9000: Connection\\nrefused"
    assert message(scene) == ("down", "The route has no agent.", "down", down)
    scene.answers("default")
    scene.step(POINTS)
    assert message(scene)[0] == "attention"  # the last point of the window
    scene.step()
    assert message(scene)[0] == "ok"
    scene.observer.session_closed("default", session)
    assert message(scene)[2:] == ("idle", "HAProxy is not connected")


def test_the_worst_route_decides_and_routes_are_counted(lines):
    scene = Scene(lines.log(level="error"), "a", "b", "c")
    sessions = {name: scene.session(name) for name in "abc"}
    assert message(scene)[:2] == ("ok", "All is well.")
    scene.anomaly("b", sessions["b"], Anomaly.RUNT_FRAME, Action.DROP)
    assert message(scene)[:2] == ("attention", "1 of 3 routes needs a look.")
    scene.refuses("a")
    assert message(scene)[:2] == ("down", "1 of 3 routes has no agent.")
    scene.refuses("c")
    assert message(scene)[:2] == ("down", "2 of 3 routes have no agent.")


def test_an_address_that_is_down_is_named_while_another_serves(scene):
    scene.serve("default", "10.0.3.7:9000", "10.0.3.8:9000", "10.0.3.9:9000")
    scene.refuses("default")
    scene.session("default")
    told = "served, but not by every agent: 10.0.3.7:9000 refused: 10.0.3.7:9000: Connection refused"
    assert message(scene)[2:] == ("attention", "S" + told[1:])
    scene.observer.seen("default", 1, [NotifiesUnanswered(UnansweredReason.AGENT_GONE, 1)])
    assert message(scene)[3] == f"1 NOTIFY unanswered in the last 10 minutes; {told}"
    agents = taken(scene)["routes"][0]["agents"]
    assert [(agent["address"], agent["up"], agent["links"], agent["dials"], agent["failures"]) for agent in agents] == [
        ("10.0.3.7:9000", False, 0, 1, {"refused": 1}),
        ("10.0.3.8:9000", None, 0, 0, {}),
        ("10.0.3.9:9000", True, 1, 1, {}),
    ]
    scene.answers("default", "10.0.3.7:9000")
    scene.step(POINTS + 1)
    assert message(scene)[2:] == ("ok", "Served")


def test_no_address_left_is_a_route_without_an_agent(scene):
    scene.serve("default", "10.0.3.7:9000", "10.0.3.8:9000")
    for agent in scene.agents["default"]:
        scene.refuses("default", agent)
    refused = [f"{agent} refused: {agent}: Connection refused" for agent in scene.agents["default"]]
    assert message(scene)[2:] == ("down", f"The agent is unreachable: {'; '.join(refused)}")


@pytest.mark.parametrize(
    ("late_after", "waits", "told"),
    [
        (math.inf, LONG_S, "Served"),
        (math.inf, LONG_S + 0.1, "A NOTIFY has waited for 1.1 s"),
        (0.2, 0.2, "Served"),
        (0.2, 0.3, "A NOTIFY has waited for 0.3 s"),
        (30.0, 29.0, "Served"),
        (30.0, 30.04, "A NOTIFY has waited for 30.0 s"),
    ],
)
def test_a_notify_that_waits_longer_than_haproxy_is_said(scene, late_after, waits, told):
    scene.session("default")
    stats = scene.observer.routes["default"]
    stats.tally.late_after, stats.oldest = late_after, lambda: waits
    assert message(scene)[3] == told
    assert taken(scene)["routes"][0]["now"]["oldest_open_notify_s"] == waits
    assert message(scene)[2] == ("ok" if told == "Served" else "attention")


def test_late_acks_and_unchecked_requests_are_said(scene):
    session = scene.session("default")
    scene.observer.routes["default"].tally.late_after = 0.1
    scene.acks("default", 10, 0.02)  # the slowest one ten times that
    assert message(scene)[2:] == ("attention", "1 late ACK in the last 10 minutes")
    scene.observer.seen("default", session, [NotifiesUnanswered(UnansweredReason.AGENT_AWAY, 2, unchecked=2)])
    assert message(scene)[3] == (
        "2 NOTIFYs unanswered, 1 late ACK, 2 requests that went on unchecked in the last 10 minutes"
    )  # fmt: skip
    route = taken(scene)["routes"][0]
    assert (route["total"]["late_acks"], route["total"]["unchecked"]) == (1, 2)


@pytest.mark.parametrize(
    ("quick", "slow", "told"),
    [
        (0, 19, "Served"),
        (0, 20, "100% of the ACKs in the last 10 minutes took longer than 0.5 s"),
        (95, 5, "Served"),
        (94, 6, "6% of the ACKs in the last 10 minutes took longer than 0.5 s"),
    ],
)
def test_an_agent_whose_acks_are_slow_is_said(scene, quick, slow, told):
    scene.session("default")
    tally = scene.observer.routes["default"].tally
    for seconds in (*[SLOW_S] * quick, *[SLOW_S + 0.01] * slow):
        tally.observe_ack(seconds)
    tally.frames_to_agent[frame.NOTIFY] += quick + slow
    assert message(scene)[2:] == ("ok" if told == "Served" else "attention", told)
    route = taken(scene)["routes"][0]
    assert (route["window"]["answered"], route["window"]["slow_acks"]) == (quick + slow, slow)
    scene.step(POINTS + 1)
    assert message(scene)[3] == "Served"


@pytest.mark.parametrize("own", [False, True], ids=["the agent's HELLO", "the guard's HELLO"])
def test_haproxy_that_connects_and_never_asks_is_said(scene, own):
    answered = FrameAuthored(Direction.TO_HAPROXY, frame.AGENT_HELLO, AuthoredReason.ANSWERED)

    def connects() -> None:
        session = scene.session("default", check=own)
        scene.observer.seen("default", session, [answered] if own else [])

    for _ in range(MANY_HELLOS - 1):
        connects()
    assert message(scene)[2:] == ("ok", "Served")
    connects()
    assert message(scene)[2:] == ("attention", NEVER_A_NOTIFY.format(count=MANY_HELLOS))
    scene.acks("default", 1, 0.001)
    assert message(scene)[2:] == ("ok", "Served")


def test_a_route_with_health_checks_alone_is_said(scene):
    for _ in range(MANY_HELLOS - 1):
        scene.session("default", check=True)
    assert message(scene)[3] == "Served"
    scene.session("default", check=True)
    assert message(scene) == ("idle", "HAProxy is not connected.", "idle", ONLY_CHECKS)
    scene.acks("default", 1, 0.001)
    assert message(scene)[3] == "Served"


def test_before_it_listens_and_when_it_drains_that_is_what_is_said(scene):
    scene.health.listening = False
    assert message(scene)[:2] == ("attention", "Not listening yet.")
    scene.health.listening = scene.health.draining = True
    assert message(scene)[:2] == ("attention", "Draining: the guard is stopping.")


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
