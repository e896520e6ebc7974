"""The log lines of an incident from its beginning to its end, what limits them, and the argument that names a request."""

import pytest

from spoe_guard.core.terms.anomalies import CATALOGUE, Action, Anomaly, Side
from spoe_guard.core.terms.events import AnomalySeen, EndedBy, EndReason, NotifiesUnanswered, SessionEnded, UnansweredReason
from spoe_guard.observe.incidents import QUIET_S
from spoe_guard.observe.journal import GOES_ON_S, MOST_OF_AN_ARGUMENT, argument
from spoe_guard.observe.limit import SUMMARY_S
from spoe_guard.observe.observer import SAMPLES, GuardObserver
from spoe_guard.wire import frame, kv, messages, typed_data

RATE = 4


@pytest.fixture
def observer(lines, clock) -> GuardObserver:
    return observing(lines, clock)


def observing(lines, clock, level: str = "info", payload: str = "full") -> GuardObserver:
    return GuardObserver(["default", "other"], lines.log(level=level, payload=payload), RATE, clock=clock)


def runt(**differs) -> AnomalySeen:
    return AnomalySeen(Anomaly.RUNT_FRAME, Side.AGENT, Action.DROP, "running", **differs)


def pass_time(observer, clock, seconds: int, each_second=lambda: None) -> None:
    for _ in range(seconds):
        each_second()
        clock.now += 1.0
        observer.journal.sum_up()


def said(lines, *names: str) -> list[tuple]:
    return [tuple(line.get(name) for name in ("event", *names)) for line in lines.logged]


def test_an_incident_is_one_line_a_minute_while_it_lasts(observer, lines, clock):
    pass_time(observer, clock, 150, lambda: observer.seen("default", 3, [runt()] * 2))
    pass_time(observer, clock, 60)
    assert said(lines, "count", "more", "level") == [
        ("anomaly", None, None, "info"),
        ("incident_goes_on", 120, 119, "info"),
        ("incident_goes_on", 240, 120, "info"),
        ("incident_over", 300, None, "info"),
    ]
    assert len({line["incident"] for line in lines.logged}) == 1
    over = lines.logged[-1]
    assert over.pop("timestamp") > over["since"]
    assert over.pop("since")
    assert over == {
        "level": "info", "event": "incident_over", "route": "default", "because": "quiet", "incident": over["incident"],
        "what": "anomaly", "side": "agent", "anomaly": "runt_frame", "action": "drop", "applied": True,
        "count": 300, "peak_per_s": 2, "seconds": 149.0, "last_session": 3, "sentence": "300 in 149.0 s, 2 a second at most",
    }  # fmt: skip


def test_it_is_over_once_nothing_came_for_long_enough(observer, lines, clock):
    observer.seen("default", 3, [runt()])
    pass_time(observer, clock, int(QUIET_S) - 1)
    assert said(lines) == [("anomaly",)]
    pass_time(observer, clock, 1)
    assert said(lines) == [("anomaly",), ("incident_over",)]
    pass_time(observer, clock, 120)
    assert len(lines.logged) == 2
    observer.seen("default", 3, [runt()])
    assert lines.logged[2]["incident"] != lines.logged[0]["incident"]


def test_what_goes_on_is_said_a_minute_after_the_last_line(observer, lines, clock):
    each_second = lambda: observer.seen("default", 3, [runt()])  # noqa: E731
    pass_time(observer, clock, int(GOES_ON_S) - 1, each_second)
    assert len(lines.logged) == 1
    pass_time(observer, clock, 1, each_second)
    assert len(lines.logged) == 2


def test_notifies_that_stay_unanswered_are_told_with_the_first_of_them(observer, lines):
    asked = AnomalySeen(
        Anomaly.NOTIFY_UNANSWERED, Side.AGENT, Action.PASS, "running", type=frame.NOTIFY, stream_id=7, frame_id=1, open_notifies=4
    )
    observer.seen("default", 3, [asked, NotifiesUnanswered(UnansweredReason.DEADLINE, 3, unchecked=1)])
    observer.seen("default", 4, [NotifiesUnanswered(UnansweredReason.DEADLINE, 2)])
    observer.seen("default", 4, [NotifiesUnanswered(UnansweredReason.AGENT_GONE, 1)])
    first, second = lines.logged
    assert first.pop("timestamp")
    assert first == {
        "level": "warning", "event": "notifies_unanswered", "route": "default", "incident": first["incident"], "session": 3,
        "state": "running", "type": "notify", "stream_id": 7, "frame_id": 1, "length": None, "offset": 0, "open_notifies": 4,
        "hex": "", "reason": "deadline", "count": 3, "unchecked": 1,
    }  # fmt: skip
    assert (second["reason"], second["count"], second["session"]) == ("agent_gone", 1, 4)
    rows = {row["reason"]: (row["count"], row["last_session"]) for row in observer.incidents.take()}
    assert rows == {"deadline": (5, 4), "agent_gone": (1, 4)}


def test_one_that_was_only_counted_is_begun_without_its_bytes(observer, lines):
    observer.counted("default", Side.AGENT, Anomaly.RUNT_FRAME, Action.DROP, applied=True)
    observer.counted("default", Side.AGENT, Anomaly.RUNT_FRAME, Action.DROP, applied=True)
    observer.counted("default", Side.AGENT, Anomaly.NOTIFY_UNANSWERED, Action.PASS, applied=True)
    [line] = lines.logged
    assert line.pop("timestamp")
    assert line == {
        "level": "info", "event": "anomaly", "route": "default", "incident": line["incident"], "side": "agent",
        "anomaly": "runt_frame", "action": "drop", "applied": True, "sentence": CATALOGUE[Anomaly.RUNT_FRAME].sentence,
    }  # fmt: skip


# The limit


def many_kinds(count: int) -> list[AnomalySeen]:
    return [AnomalySeen(anomaly, Side.AGENT, Action.DROP, "running") for anomaly in list(Anomaly)[:count]]


@pytest.mark.parametrize("kinds", [RATE, RATE + 1])
def test_a_first_line_waits_for_its_turn(observer, lines, clock, kinds):
    observer.seen("default", 1, many_kinds(kinds))
    observer.seen("other", 2, many_kinds(1))
    assert said(lines, "route") == [("anomaly", "default")] * RATE + [("anomaly", "other")]
    pass_time(observer, clock, 1)
    assert len(lines.logged) == kinds + 1
    if kinds > RATE:
        assert (lines.logged[-1]["anomaly"], lines.logged[-1]["session"]) == (list(Anomaly)[RATE].value, 1)
    assert observer.routes["default"].suppressed == 0  # nothing was left out


def test_a_first_line_without_a_turn_is_left_out(lines, clock):
    observer = GuardObserver(["default"], lines.log(level="info"), 1, 3600.0, clock=clock)
    observer.seen("default", 1, many_kinds(2))
    pass_time(observer, clock, int(QUIET_S))
    assert said(lines) == [("anomaly",)]
    assert observer.routes["default"].suppressed == 2  # the last line of either
    pass_time(observer, clock, int(SUMMARY_S) - 1)
    assert said(lines) == [("anomaly",)]
    pass_time(observer, clock, 1)
    assert said(lines, "count", "route") == [("anomaly", None, "default"), ("log_suppressed", 2, "default")]


def test_lines_beyond_the_limit_are_counted_and_summed_up(lines, clock):
    observer = GuardObserver(["default"], lines.log(level="info"), 1, 3600.0, clock=clock)
    pass_time(observer, clock, int(GOES_ON_S), lambda: observer.seen("default", 1, [runt()]))
    assert said(lines) == [("anomaly",)]
    assert observer.routes["default"].suppressed == 1
    observer.journal.limit(60, 60.0)
    pass_time(observer, clock, int(GOES_ON_S), lambda: observer.seen("default", 1, [runt()]))
    assert said(lines, "count", "more") == [
        ("anomaly", None, None),
        ("incident_goes_on", 120, 119),  # what the line that was left out would have said is in the next
        ("log_suppressed", 1, None),
    ]


def test_a_line_the_sink_refuses_is_said_later(observer, lines, clock):
    lines.room = False
    observer.seen("default", 3, [runt()])
    pass_time(observer, clock, 3)
    lines.room = True
    pass_time(observer, clock, 1)
    assert said(lines) == [("anomaly",)]
    lines.room = False
    pass_time(observer, clock, int(QUIET_S))
    lines.room = True
    assert observer.routes["default"].suppressed == 1  # its last one is not
    observer.journal.sum_up(all_of_it=True)
    assert said(lines, "count") == [("anomaly", None), ("log_suppressed", 1)]


def test_a_summary_the_sink_refuses_is_said_later(observer, lines, clock):
    lines.room = False
    observer.seen("default", 3, [runt()])
    pass_time(observer, clock, int(QUIET_S))
    observer.journal.sum_up(all_of_it=True)
    lines.room = True
    observer.journal.sum_up(all_of_it=True)
    assert said(lines, "count") == [("log_suppressed", 1)]


def test_at_the_end_all_is_summed_up_whatever_the_limit(lines, clock):
    observer = GuardObserver(["default"], lines.log(level="info"), 1, 3600.0, clock=clock)
    observer.seen("default", 1, many_kinds(3))
    clock.now += 5
    observer.journal.sum_up(all_of_it=True)
    assert said(lines, "because", "count", "seconds") == [("anomaly", None, None, None), *[("incident_over", "stop", 1, 0.0)] * 3]
    observer.journal.sum_up(all_of_it=True)
    assert len(lines.logged) == 4


@pytest.mark.parametrize(("level", "events"), [("warning", []), ("info", ["anomaly", "incident_goes_on", "incident_over"])])
def test_the_level_leaves_out_all_lines_of_an_incident_or_none(lines, clock, level, events):
    observer = observing(lines, clock, level)
    pass_time(observer, clock, 65, lambda: observer.seen("default", 3, [runt()]))
    observer.journal.sum_up(all_of_it=True)
    assert [line["event"] for line in lines.logged] == events
    assert observer.routes["default"].suppressed == 0


def test_at_debug_level_each_one_that_is_reported_is_there(lines, clock):
    observer = observing(lines, clock, "debug")
    for _ in range(SAMPLES + 3):
        observer.seen("default", 3, [runt(), NotifiesUnanswered(UnansweredReason.DEADLINE, 1)])
        observer.seen("default", 3, [SessionEnded(EndedBy.AGENT, EndReason.RESET)])
    kinds = {"anomaly", "notifies_unanswered"}
    for what in kinds:
        same = [line for line in lines.logged if line["event"] == what]
        assert [line["level"] == "debug" for line in same] == [False, *[True] * (SAMPLES + 2)]
        assert len({line["incident"] for line in same}) == 1


# The argument that names a request


def notify(*names: bytes, value: bytes = b"value of ", type_: int = typed_data.STR) -> bytes:
    args = [kv.Pair(name, type_, value + name if type_ == typed_data.STR else value) for name in names]
    first = messages.Message(b"check", [kv.Pair(b"path", typed_data.STR, b"/")])
    return frame.encode(frame.NOTIFY, 7, 1, messages.encode([first, messages.Message(b"more", args)]))


@pytest.mark.parametrize(
    ("sample", "value"),
    [
        (notify(b"id"), "value of id"),
        (notify(b"other", b"id"), "value of id"),
        (notify(b"id")[:-1], None),  # cut within it
        (notify(b"id", b"other")[:-1], "value of id"),  # cut behind it
        (notify(b"other"), None),
        (notify(), None),
        (notify()[:-7], None),
        (notify()[:12], None),
        (notify(b"id", value=b"\xff\n"), "\\xff\nid"),
        (notify(b"id", value=b"x" * MOST_OF_AN_ARGUMENT), "x" * MOST_OF_AN_ARGUMENT),
        (notify(b"id", value=b"x" * (MOST_OF_AN_ARGUMENT - 2)), "x" * (MOST_OF_AN_ARGUMENT - 2) + "id"),
        (notify(b"id", value=5, type_=typed_data.UINT32), "5"),  # type: ignore[arg-type]
        (frame.encode(frame.ACK, 7, 1), None),
        (b"", None),
        (b"\x00\x00\x00\x07\x03\x00\x00", None),
        (b"\x00\x00\x00\x07\x03\x00\x00\x00\x01\xff\xff", None),
    ],
)
def test_the_argument_is_found_in_what_is_there_of_the_notify(sample, value):
    assert argument(sample, "id") == value


@pytest.mark.parametrize(
    ("payload", "name", "value"),
    [("full", "id", "value of id"), ("headers", "id", "value of id"), ("off", "id", None), ("full", None, None)],
)
def test_the_lines_name_the_request_if_they_are_to(lines, clock, payload, name, value):
    observer = observing(lines, clock, payload=payload)
    observer.set((RATE, 1.0), "headers", name)
    asked = AnomalySeen(Anomaly.NOTIFY_OVERSIZE, Side.HAPROXY, Action.DROP, "running", sample=notify(b"id"))
    lost = AnomalySeen(Anomaly.NOTIFY_UNANSWERED, Side.AGENT, Action.PASS, "running", sample=notify(b"id"))
    observer.seen("default", 3, [asked, lost, NotifiesUnanswered(UnansweredReason.NOTIFY_DROPPED, 1)])
    assert said(lines, "unique_id") == [("anomaly", value), ("notifies_unanswered", value)]


def test_the_argument_is_a_peers_and_is_escaped(lines, clock):
    observer = observing(lines, clock)
    observer.set((RATE, 1.0), "full", "id")
    sample = notify(b"id", value=b"\x1b[2J\xe2\x80\xae")
    observer.seen("default", 3, [AnomalySeen(Anomaly.NOTIFY_OVERSIZE, Side.HAPROXY, Action.DROP, "running", sample=sample)])
    assert lines.logged[0]["unique_id"] == "\\x1b[2J\\u202eid"
