"""The counts and log lines for each event that a session reports."""

import re

import pytest

from spoe_guard.core.terms.anomalies import CATALOGUE, Action, Anomaly, Side
from spoe_guard.core.terms.config import Redispatch
from spoe_guard.core.terms.events import (
    AgentReady,
    AgentUnreachable,
    AnomalySeen,
    AuthoredReason,
    DialFailure,
    Direction,
    DisconnectHeld,
    DisconnectSeen,
    EndedBy,
    EndReason,
    FrameAuthored,
    GaveWay,
    LinkFailed,
    LinkLoss,
    LinkLost,
    LinkReason,
    LinkUp,
    NotifiesRedispatched,
    NotifiesUnanswered,
    OneAtATime,
    SessionEnded,
    UnansweredReason,
)
from spoe_guard.net.observer import Observer
from spoe_guard.observe.journal import AGAIN_S
from spoe_guard.observe.observer import SAMPLES, SAMPLES_S, GuardObserver
from spoe_guard.wire import frame

RATE = 8  # lines at once for each route, and a second
AGENT = "10.0.3.7:9000"
OTHER = "10.0.3.8:9000"


@pytest.fixture
def observer(lines, clock) -> GuardObserver:
    made = GuardObserver(["default", "other"], lines.log(), RATE, clock=clock)
    for stats in made.routes.values():
        stats.serve([AGENT])
    is_one: Observer = made
    assert is_one is made
    return made


def events(lines) -> list[str]:
    return [line["event"] for line in lines.logged]


def told(line) -> dict[str, object]:
    """Return a line without what differs from run to run."""
    assert line.pop("timestamp")
    assert re.fullmatch("[a-z2-7]{8}", line.pop("incident"))
    return line


def runt(**differs) -> AnomalySeen:
    return AnomalySeen(Anomaly.RUNT_FRAME, Side.AGENT, Action.DROP, "RUNNING", **differs)


def test_an_anomaly_is_said_with_exactly_these_fields(observer, lines):
    observer.session_opened("default", 7, "127.0.0.1:5000")
    seen = AnomalySeen(
        Anomaly.UNMATCHED_ACK, Side.AGENT, Action.DROP, "RUNNING",
        type=frame.ACK, stream_id=9, frame_id=1, length=12, offset=345, open_notifies=2,
        detail="stream-id 9", sample=bytes(range(80)), applied=False,
    )  # fmt: skip
    observer.seen("default", 7, [seen])
    assert told(lines.logged[-1]) == {
        "level": "warning",  # observe mode: HAProxy gets it, and loses what is behind it
        "event": "anomaly",
        "route": "default",
        "session": 7,
        "side": "agent",
        "anomaly": "unmatched_ack",
        "action": "drop",
        "applied": False,
        "state": "RUNNING",
        "type": "ack",
        "stream_id": 9,
        "frame_id": 1,
        "length": 12,
        "offset": 345,
        "open_notifies": 2,
        "sentence": f"{CATALOGUE[Anomaly.UNMATCHED_ACK].sentence} (stream-id 9)",
        "hex": bytes(range(64)).hex(),
    }
    assert observer.routes["default"].anomalies == {("agent", "unmatched_ack", "drop", "false"): 1}
    assert not observer.routes["other"].anomalies


@pytest.mark.parametrize(("type_", "name"), [(103, "ack"), (1, "haproxy_hello"), (0, "unset"), (42, "unknown"), (None, None)])
def test_a_frames_type_is_said_by_name(observer, lines, type_, name):
    observer.session_opened("default", 1, "")
    observer.seen("default", 1, [runt(type=type_)])
    assert lines.logged[-1]["type"] == name


def test_the_peer_that_a_proxy_header_names_is_the_sessions(observer, lines):
    observer.session_opened("default", 1, "192.0.2.9:5")
    observer.peer_named("default", 1, "[2001:db8::1]:7")
    observer.seen("default", 1, [SessionEnded(EndedBy.GUARD, EndReason.LIMIT)])
    observer.session_closed("default", 1)
    said = [(line["event"], line["peer"], line.get("via")) for line in lines.logged]
    assert said == [
        ("session_opened", "192.0.2.9:5", None),
        ("session_named", "[2001:db8::1]:7", "192.0.2.9:5"),
        ("session_closed", "[2001:db8::1]:7", None),
    ]


def test_of_each_route_and_kind_the_first_is_said(observer, lines):
    observer.session_opened("default", 1, "")
    observer.session_opened("other", 2, "")
    for _ in range(10):
        observer.seen("default", 1, [runt(), AnomalySeen(Anomaly.BAD_VARINT, Side.AGENT, Action.DROP, "RUNNING")])
    observer.seen("other", 2, [runt()])
    said = [(line["route"], line["anomaly"]) for line in lines.logged if line["level"] != "debug"]
    assert said == [("default", "runt_frame"), ("default", "bad_varint"), ("other", "runt_frame")]
    more = [line for line in lines.logged if line["level"] == "debug" and line["event"] == "anomaly"]
    assert len(more) == 18  # for whoever looks closely, with the incident's id
    assert len({line["incident"] for line in more}) == 2
    assert observer.routes["default"].anomalies["agent", "runt_frame", "drop", "true"] == 10
    assert (observer.routes["default"].suppressed, observer.routes["other"].suppressed) == (0, 0)


def test_what_is_only_counted_counts_as_what_is_reported(observer, lines):
    observer.session_opened("default", 1, "")
    reported = 0
    for _ in range(SAMPLES + 7):
        if observer.wants("default", Anomaly.RUNT_FRAME):
            observer.seen("default", 1, [runt()])
            reported += 1
        else:
            observer.counted("default", Side.AGENT, Anomaly.RUNT_FRAME, Action.DROP, applied=True)
    assert reported == SAMPLES
    assert events(lines) == ["session_opened", *["anomaly"] * SAMPLES]
    assert observer.routes["default"].anomalies["agent", "runt_frame", "drop", "true"] == SAMPLES + 7
    [row] = observer.incidents.take()
    assert (row["count"], row["peak_per_s"]) == (SAMPLES + 7, SAMPLES + 7)
    assert (observer.wants("other", Anomaly.RUNT_FRAME), observer.wants("default", Anomaly.BAD_VARINT)) == (True, True)


def test_anomalies_are_reported_again_as_time_passes(observer, clock):
    for _ in range(SAMPLES):
        assert observer.wants("default", Anomaly.RUNT_FRAME)
        observer.seen("default", 1, [runt()])
    assert not observer.wants("default", Anomaly.RUNT_FRAME)
    clock.now += SAMPLES_S / SAMPLES
    assert observer.wants("default", Anomaly.RUNT_FRAME)


def test_an_observed_and_a_late_ack_are_counted_without_a_report(lines, clock):
    observer = GuardObserver(["default"], lines.log(level="error"), 1, clock=clock)
    stats = observer.routes["default"]
    stats.tally.late_after = 0.5
    observer.counted("default", Side.AGENT, Anomaly.LATE_ACK, Action.DROP, applied=False)
    observer.counted("default", Side.AGENT, Anomaly.LATE_ACK, Action.DROP, applied=True)
    assert (stats.tally.late_acks, stats.suppressed) == (2, 0)
    assert dict(stats.anomalies) == {
        ("agent", "late_ack", "drop", "false"): 1,
        ("agent", "late_ack", "drop", "true"): 1,
    }


def test_what_the_level_leaves_out_is_not_counted_as_suppressed(lines, clock):
    observer = GuardObserver(["default"], lines.log(level="error"), 1, clock=clock)
    observer.session_opened("default", 1, "")
    for _ in range(5):
        observer.seen("default", 1, [runt()])
    assert (lines.lines, observer.routes["default"].suppressed) == ([], 0)
    assert observer.routes["default"].anomalies["agent", "runt_frame", "drop", "true"] == 5


END_LEVELS = [
    (EndedBy.HAPROXY, EndReason.DISCONNECT, "debug"),
    (EndedBy.HAPROXY, EndReason.CLOSED, "debug"),
    (EndedBy.HAPROXY, EndReason.RESET, "debug"),
    (EndedBy.GUARD, EndReason.DRAIN, "debug"),
    (EndedBy.GUARD, EndReason.IDLE_TIMEOUT, "debug"),
    (EndedBy.AGENT, EndReason.DISCONNECT, "info"),
    (EndedBy.AGENT, EndReason.CLOSED, "info"),
    (EndedBy.AGENT, EndReason.RESET, "info"),
    (EndedBy.GUARD, EndReason.HELLO_TIMEOUT, "info"),
    (EndedBy.GUARD, EndReason.ANOMALY, "warning"),
    (EndedBy.GUARD, EndReason.UNREACHABLE, "warning"),
    (EndedBy.GUARD, EndReason.LIMIT, "warning"),
]


@pytest.mark.parametrize(("by", "reason", "level"), END_LEVELS)
def test_a_session_ends_quietly_unless_that_is_no_matter_of_course(observer, lines, clock, by, reason, level):
    observer.session_opened("default", 1, "127.0.0.1:5")
    clock.now += 1.5
    observer.seen("default", 1, [SessionEnded(by, reason)])
    observer.session_closed("default", 1)
    opened, closed = lines.logged
    assert (opened["level"], opened["event"], opened["peer"]) == ("debug", "session_opened", "127.0.0.1:5")
    if level == "debug":
        assert closed.pop("timestamp")
    else:
        told(closed)
    assert closed == {
        "level": level,
        "event": "session_closed",
        "route": "default",
        "session": 1,
        "peer": "127.0.0.1:5",
        "by": by.value,
        "reason": reason.value,
        "seconds": 1.5,
    }
    assert observer.routes["default"].closed == {(by.value, reason.value): 1}


def test_the_end_of_a_health_check_is_a_matter_of_course(observer, lines):
    observer.session_opened("default", 1, "")
    observer.seen("default", 1, [AgentReady(16380, "", healthcheck=True), SessionEnded(EndedBy.AGENT, EndReason.CLOSED)])
    observer.session_closed("default", 1)
    assert lines.logged[-1]["level"] == "debug"


def test_the_first_disconnect_is_said_at_the_end(observer, lines):
    observer.session_opened("default", 1, "")
    observer.seen("default", 1, [DisconnectSeen(Side.AGENT, 3, "too\nbig"), DisconnectSeen(Side.HAPROXY, 0, "normal")])
    observer.seen("default", 1, [SessionEnded(EndedBy.AGENT, EndReason.DISCONNECT)])
    observer.session_closed("default", 1)
    line = lines.logged[-1]
    assert (line["disconnect_side"], line["status_code"], line["message"]) == ("agent", 3, "too\\nbig")
    assert observer.routes["default"].disconnects == {("agent", "3"): 1, ("haproxy", "0"): 1}


def test_an_agent_that_ends_with_status_0_is_a_matter_of_course(observer, lines):
    observer.session_opened("default", 1, "")
    observer.seen("default", 1, [DisconnectSeen(Side.AGENT, 0, ""), SessionEnded(EndedBy.AGENT, EndReason.DISCONNECT)])
    observer.session_closed("default", 1)
    assert lines.logged[-1]["level"] == "debug"


@pytest.mark.parametrize(("status", "open_notifies", "level"), [(0, 2, "info"), (0, 0, "debug"), (2, 2, "debug")])
def test_haproxys_normal_end_with_notifies_open_is_told(observer, lines, status, open_notifies, level):
    """HAProxy 2.0 to 2.4.2 with a `maxconn` below its number of threads loses them so (st=256)."""
    observer.session_opened("default", 1, "")
    observer.seen("default", 1, [DisconnectSeen(Side.HAPROXY, status, "", open_notifies)])
    observer.seen("default", 1, [SessionEnded(EndedBy.HAPROXY, EndReason.DISCONNECT)])
    observer.session_closed("default", 1)
    assert (lines.logged[-1]["level"], lines.logged[-1].get("open_notifies", 0)) == (level, open_notifies)


def test_abnormal_ends_are_one_incident(observer, lines):
    """An applet HAProxy reconnects thousands of times a second to an agent that refuses it."""
    for number in range(1, 51):
        observer.session_opened("default", number, "")
        observer.agent_dialled("default", AGENT, DialFailure.REFUSED, "Connection refused")
        observer.seen("default", number, [AgentUnreachable(DialFailure.REFUSED, "Connection refused")])
        observer.seen("default", number, [SessionEnded(EndedBy.GUARD, EndReason.UNREACHABLE)])
        observer.session_closed("default", number)
    said = [line["event"] for line in lines.logged if line["level"] != "debug"]
    assert said == ["agent_unreachable", "session_closed"]
    assert {row["what"]: (row["count"], row["last_session"]) for row in observer.incidents.take()} == {
        "agent_unreachable": (50, 0),
        "session_closed": (50, 50),
    }
    stats = observer.routes["default"]
    assert stats.suppressed == 0
    assert (stats.agents[AGENT].failures["refused",], stats.agents[AGENT].dials) == (50, 50)
    assert (stats.connections, stats.open) == (50, 0)
    assert stats.agent_up is False


def test_a_session_that_broke_is_counted_and_said_with_its_traceback(observer, lines):
    observer.session_opened("default", 1, "")
    try:
        {}["ours"]
    except KeyError as error:
        observer.internal_error("default", 1, error)
    observer.session_closed("default", 1)
    internal, closed = lines.logged[1:]
    assert (internal["event"], internal["level"], internal["error"]) == ("internal_error", "error", "KeyError('ours')")
    assert "test_a_session_that_broke" in internal["exception"]
    assert (closed["by"], closed["reason"]) == ("guard", "internal_error")
    assert observer.routes["default"].internal_errors == 1
    assert observer.routes["default"].closed == {("guard", "internal_error"): 1}


def ready(agent: str = AGENT) -> AgentReady:
    return AgentReady(16380, "pipelining", healthcheck=False, agent=agent)


def gave_up(agent: str = AGENT) -> AgentUnreachable:
    return AgentUnreachable(DialFailure.HAPROXY_GAVE_UP, "HAProxy waited 0.2 s for AGENT-HELLO", agent=agent)


def test_the_agent_is_up_or_down_as_of_the_last_try(observer):
    stats = observer.routes["default"]
    observer.session_opened("default", 1, "")
    assert stats.agent_up is None
    observer.agent_dialled("default", AGENT, DialFailure.TIMEOUT, "no answer")
    assert (stats.agent_up, stats.agent_detail) == (False, "timeout: no answer")
    observer.agent_dialled("default", AGENT, None, "")  # connected, and HELLO is still to come
    assert stats.agent_up is False
    observer.seen("default", 1, [ready()])
    assert (stats.agent_up, stats.agent_detail) == (True, "")
    observer.seen("default", 1, [AgentUnreachable(DialFailure.HELLO_TIMEOUT, "mute", agent=AGENT)])
    assert (stats.agent_up, stats.agent_detail) == (False, "hello_timeout: mute")
    assert (stats.agents[AGENT].dials, stats.agents[AGENT].failures.total()) == (2, 2)
    assert observer.routes["other"].agent_up is None


def test_a_failed_dial_is_counted_once_for_each_address(observer):
    """It is reported for each address as it fails, and for the whole dial once more."""
    stats = observer.routes["default"]
    stats.serve([AGENT, OTHER])
    for address in stats.agents:
        observer.agent_dialled("default", address, DialFailure.REFUSED, f"{address}: Connection refused")
    observer.seen("default", 1, [AgentUnreachable(DialFailure.REFUSED, "both refused")])
    assert {address: agent.failures.total() for address, agent in stats.agents.items()} == {AGENT: 1, OTHER: 1}


def test_the_third_hello_that_haproxy_gave_up_on_is_down(observer):
    stats = observer.routes["default"]
    observer.seen("default", 1, [gave_up(), gave_up()])
    assert stats.agent_up is None
    observer.seen("default", 1, [ready(), gave_up(), gave_up()])
    assert stats.agent_up is True
    observer.seen("default", 1, [gave_up()])
    assert (stats.agent_up, stats.agent_detail) == (False, "haproxy_gave_up: HAProxy waited 0.2 s for AGENT-HELLO")
    observer.seen("default", 1, [ready()])
    assert (stats.agent_up, stats.agent_detail) == (True, "")
    assert stats.agents[AGENT].failures["haproxy_gave_up",] == 5


def test_hellos_that_haproxy_gave_up_on_are_counted_for_each_address(observer):
    stats = observer.routes["default"]
    stats.serve([AGENT, OTHER])
    observer.seen("default", 1, [gave_up(), gave_up(OTHER), gave_up(), gave_up(OTHER)])
    assert stats.agent_up is None
    observer.seen("default", 1, [gave_up(OTHER)])
    assert (stats.agents[AGENT].up, stats.agents[OTHER].up) == (None, False)


@pytest.mark.parametrize("before", [None, True, False])
def test_what_the_guard_lacks_itself_says_nothing_of_the_agent(observer, before):
    stats = observer.routes["default"].agents[AGENT]
    if before is not None:
        stats.tried(1.0, up=before, detail="as before")
    observer.seen("default", 1, [gave_up(), gave_up()])
    observer.agent_dialled("default", AGENT, DialFailure.OWN_LIMIT, "Too many open files")
    assert (stats.up, stats.detail, stats.failures["own_limit",]) == (before, "as before" if before is not None else "", 1)
    observer.seen("default", 1, [gave_up()])
    assert stats.up is False  # the third in a row all the same


def test_one_of_several_addresses_is_down_and_the_agent_is_up(observer, lines):
    stats = observer.routes["default"]
    stats.serve([AGENT, OTHER])
    for _ in range(2):
        observer.agent_dialled("default", AGENT, DialFailure.REFUSED, f"{AGENT}: Connection refused")
        observer.agent_dialled("default", OTHER, None, "")
        observer.seen("default", 1, [ready(OTHER)])
    assert (stats.agents[AGENT].up, stats.agents[OTHER].up, stats.agent_up) == (False, True, True)
    assert stats.agent_detail == f"{AGENT} refused: {AGENT}: Connection refused"
    observer.seen("default", 1, [ready(AGENT)])
    assert (stats.agent_up, stats.agent_detail) == (True, "")
    said = [{key: line[key] for key in ("event", "level", "agent")} for line in lines.logged if line["level"] != "debug"]
    assert said == [  # at each change, not at each dial
        {"event": "agent_unreachable", "level": "warning", "agent": AGENT},
        {"event": "agent_reachable", "level": "info", "agent": AGENT},
    ]


def test_an_address_whose_links_are_silent_is_down_until_it_answers(observer, lines):
    stats = observer.routes["default"]
    stats.serve([AGENT, OTHER])
    observer.agent_silent("default", AGENT, "no word")
    assert (stats.agents[AGENT].up, stats.agents[AGENT].detail) == (False, "deadline: no word")
    observer.seen("default", 1, [LinkFailed(LinkLoss.DEADLINE, 0, AGENT), ready(AGENT)])
    assert stats.agents[AGENT].up
    told = [{key: line.get(key) for key in ("event", "level", "agent", "reason", "detail")} for line in lines.logged]
    assert told == [
        {"event": "agent_unreachable", "level": "warning", "agent": AGENT, "reason": "deadline", "detail": "no word"},
        {"event": "agent_reachable", "level": "info", "agent": AGENT, "reason": None, "detail": None},
    ]


def test_where_new_links_go_is_said_when_it_changes(observer, lines):
    observer.agent_moved("default", AGENT, OTHER, "refused")
    observer.agent_moved("default", OTHER, AGENT, "")
    told = [{key: line[key] for key in ("event", "level", "route", "from", "to", "why")} for line in lines.logged]
    head = {"event": "agent_failover", "route": "default"}
    assert told == [
        head | {"level": "warning", "from": AGENT, "to": OTHER, "why": "refused"},
        head | {"level": "info", "from": OTHER, "to": AGENT, "why": "answers again"},
    ]


def test_a_reload_keeps_what_is_known_of_addresses_that_stay(observer):
    stats = observer.routes["default"]
    observer.agent_dialled("default", AGENT, DialFailure.REFUSED, "gone")
    stats.serve([OTHER, AGENT])
    assert ([*stats.agents], stats.agents[AGENT].dials, stats.agents[OTHER].up) == ([OTHER, AGENT], 1, None)
    stats.serve([OTHER])
    assert (stats.agent_up, stats.agent_detail) == (None, "")
    observer.link_closed("default", AGENT)  # a session from before ends; nobody asks for that address any more
    observer.seen("default", 1, [ready(AGENT)])
    assert ([*stats.agents], stats.links, stats.agent_up) == ([OTHER], 0, None)


def test_late_acks_and_requests_that_went_on_unchecked_are_counted(observer):
    stats = observer.routes["default"]
    stats.tally.late_after = 0.5
    for seconds in (0.1, 0.5, 0.501):
        stats.tally.observe_ack(seconds)
    assert stats.tally.late_acks == 1
    late = AnomalySeen(Anomaly.LATE_ACK, Side.AGENT, Action.DROP, "RUNNING")  # of a NOTIFY that the guard gave up before
    observer.seen("default", 1, [late, runt(), NotifiesUnanswered(UnansweredReason.DEADLINE, 3, unchecked=2)])
    assert (stats.tally.late_acks, stats.unchecked, stats.unanswered["deadline",]) == (2, 2, 3)
    assert (observer.routes["other"].tally.late_acks, observer.routes["other"].unchecked) == (0, 0)


def test_an_haproxy_that_is_not_to_pipeline_is_logged_once_a_route(observer, lines):
    for session, route in enumerate(("default", "default", "other"), 1):
        observer.session_opened(route, session, f"10.0.0.{session}:4000")
        observer.seen(route, session, [OneAtATime()])
    said = [line for line in lines.logged if line["event"] == "one_at_a_time"]
    assert [(line["level"], line["route"], line["session"], line["peer"]) for line in said] == [
        ("info", "default", 1, "10.0.0.1:4000"),
        ("info", "other", 3, "10.0.0.3:4000"),
    ]


def test_the_guards_own_lack_is_counted_and_says_nothing_of_the_agent(observer, lines, clock):
    stats = observer.routes["default"].agent(AGENT)
    observer.session_opened("default", 1, "")
    for before in (
        AgentUnreachable(DialFailure.REFUSED, "gone", agent=AGENT),
        AgentReady(16380, "", healthcheck=False, agent=AGENT),
    ):
        observer.seen("default", 1, [before])
        known = stats.up, stats.detail, stats.tried_at
        clock.now += 1
        observer.agent_dialled("default", AGENT, DialFailure.OWN_LIMIT, "raise it")
        observer.seen("default", 1, [AgentUnreachable(DialFailure.OWN_LIMIT, "raise it")])
        assert (stats.up, stats.detail, stats.tried_at) == known
    assert stats.failures["own_limit",] == 2
    assert events(lines) == ["session_opened", "agent_unreachable", "own_limit", "agent_reachable", "own_limit"]
    line = told(lines.logged[2])
    assert line == {"level": "warning", "event": "own_limit", "route": "default", "doing": "dial", "detail": "raise it"}
    assert lines.logged[4]["level"] == "debug"


def test_failures_to_accept_are_one_incident_a_route(observer, lines):
    for _ in range(100):
        observer.accept_failed("default", "raise it")
    observer.accept_failed("other", "raise it")
    said = [line for line in lines.logged if line["level"] != "debug"]
    assert [(line["event"], line["route"], line["doing"]) for line in said] == [
        ("own_limit", "default", "accept"),
        ("own_limit", "other", "accept"),
    ]
    assert observer.routes["default"].accept_failures == {("own_limit",): 100}
    assert observer.routes["default"].suppressed == 0


@pytest.mark.parametrize("reason", LinkLoss)
def test_a_lost_link_is_said_and_one_the_guard_retired_quietly(observer, lines, reason):
    """What was lost with it, ``notifies_unanswered`` says."""
    observer.session_opened("default", 7, "")
    observer.seen("default", 7, [LinkLost(reason, 3, 2)])
    line = lines.logged[-1]
    if reason is LinkLoss.RETIRED:
        assert line.pop("timestamp")
    else:
        told(line)
    assert line == {
        "level": "debug" if reason is LinkLoss.RETIRED else "info",
        "event": "agent_link_lost",
        "route": "default",
        "session": 7,
        "reason": reason.value,
        "open_notifies": 3,
        "again": 2,
    }
    assert observer.routes["default"].agent_up is None  # what a dial finds will say so


def test_an_agent_that_did_not_answer_is_said_with_its_address(observer, lines):
    observer.seen("default", 7, [gave_up()])
    assert told(lines.logged[-1]) == {
        "level": "warning",
        "event": "agent_unreachable",
        "route": "default",
        "session": 7,
        "agent": AGENT,
        "reason": "haproxy_gave_up",
        "detail": "HAProxy waited 0.2 s for AGENT-HELLO",
    }


@pytest.mark.parametrize("reason", LinkReason)
def test_a_link_that_replaces_another_is_said_and_any_other_quietly(observer, lines, reason):
    observer.session_opened("default", 7, "")
    observer.seen("default", 7, [LinkUp(reason, 1.23456)])
    line = lines.logged[-1]
    assert line.pop("timestamp")
    level = "info" if reason is LinkReason.REPLACEMENT else "debug"
    said = {"level": level, "event": "agent_link_up", "route": "default", "session": 7, "reason": reason.value, "away": 1.235}
    assert line == said
    assert observer.routes["default"].links_opened[reason.value,] == 1


def test_a_change_that_comes_and_goes_is_said_once_a_minute(observer, lines, clock):
    observer.session_opened("default", 7, "")
    down = AgentUnreachable(DialFailure.HELLO_TIMEOUT, "mute", agent=AGENT)
    for _ in range(5):
        observer.seen("default", 7, [LinkLost(LinkLoss.RESET), LinkUp(LinkReason.REPLACEMENT), down, ready()])
    said = [line["event"] for line in lines.logged if line["level"] != "debug"]
    assert said == ["agent_link_lost", "agent_link_up", "agent_unreachable", "agent_reachable"]
    clock.now += AGAIN_S
    observer.seen("default", 7, [LinkUp(LinkReason.REPLACEMENT)])
    assert lines.logged[-1]["level"] == "info"
    assert observer.routes["default"].suppressed == 0


def test_notifys_that_went_out_again_are_counted_by_kind(observer):
    stats = observer.routes["default"]
    assert stats.redispatched == {("unsent",): 0, ("unanswered",): 0}
    observer.seen("default", 1, [NotifiesRedispatched(Redispatch.UNSENT, 3), NotifiesRedispatched(Redispatch.UNANSWERED, 2)])
    assert stats.redispatched == {("unsent",): 3, ("unanswered",): 2}


def test_a_notify_fails_at_its_agents_address_unless_haproxy_left(observer):
    observer.routes["default"].serve([AGENT])
    observer.session_opened("default", 1, "")
    for reason in UnansweredReason:
        observer.seen("default", 1, [NotifiesUnanswered(reason, 3, agents=((AGENT, 2), ("gone:1", 1)))])
    stats = observer.routes["default"]
    assert stats.agents[AGENT].failed_notifies == 2 * (len(UnansweredReason) - 1)
    assert stats.unanswered.total() == 3 * len(UnansweredReason)
    assert list(stats.agents) == [AGENT]  # another one is in the settings no more


def test_everything_else_is_counted_by_its_labels(observer):
    observer.session_opened("default", 1, "")
    observer.link_opened("default", AGENT)
    observer.link_opened("default", AGENT)
    observer.link_closed("default", AGENT)
    observer.seen(
        "default",
        1,
        [
            FrameAuthored(Direction.TO_HAPROXY, frame.AGENT_DISCONNECT, AuthoredReason.DISCONNECT),
            NotifiesUnanswered(UnansweredReason.AGENT_GONE, 3),
            DisconnectHeld(0.002),
            DisconnectHeld(60.0),
            DisconnectSeen(Side.AGENT, 14, ""),
            DisconnectSeen(Side.AGENT, None, ""),
            DisconnectSeen(Side.AGENT, 99, ""),
        ],
    )
    stats = observer.routes["default"]
    assert stats.authored == {("to_haproxy", "agent_disconnect", "disconnect"): 1}
    assert stats.unanswered["agent_gone",] == 3
    assert (sum(stats.hold_buckets), stats.hold_buckets[1], stats.hold_buckets[-1], stats.hold_seconds) == (2, 1, 1, 60.002)
    assert stats.disconnects == {("agent", "other"): 2, ("agent", "99"): 1}
    assert stats.links == 1


def test_an_event_behind_its_sessions_end_is_still_counted(observer):
    observer.seen("default", 99, [NotifiesUnanswered(UnansweredReason.DEADLINE, 1)])
    assert observer.routes["default"].unanswered["deadline",] == 1


def test_the_core_counts_ordinary_frames_in_the_tally_it_is_handed(observer):
    observer.tally("default").frames_to_agent[frame.NOTIFY] += 5
    assert (("to_agent", "notify"), 5) in observer.routes["default"].frames()
    assert observer.tally("default") is observer.tally("default")
    assert observer.tally("default") is not observer.tally("other")


def test_who_gives_way_to_others_is_said_and_counted(observer, lines):
    observer.session_opened("default", 1, "10.0.0.7:5")
    observer.gave_way("default", 1, GaveWay.NO_HELLO, 0)
    observer.gave_way("default", 2, GaveWay.TOTAL_BYTES, 9000)  # whose end was reported already
    assert observer.routes["default"].gave_way == {("no_hello",): 1, ("total_bytes",): 1}
    first, second = [line for line in lines.logged if line["event"] == "session_gave_way"]
    assert (first["level"], first["session"], first["peer"], first["reason"]) == ("warning", 1, "10.0.0.7:5", "no_hello")
    assert (second["session"], second["reason"], second["bytes"]) == (2, "total_bytes", 9000)
    assert "limits.total_bytes" in second["detail"]
