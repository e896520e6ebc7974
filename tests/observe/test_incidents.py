"""Incidents: when one begins and is over, what it counts, its level, and what several processes have together."""

import dataclasses
import itertools
import re

import pytest

from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.events import AnomalySeen, DialFailure, EndedBy, EndReason, GaveWay, LinkLoss, UnansweredReason
from spoe_guard.core.terms.family import Family
from spoe_guard.observe.incidents import KEPT, KINDS, LOOKED_AT, MOST, QUIET_S, Incidents, merged
from spoe_guard.wire import frame

REFUSED = ("agent_unreachable", "10.0.3.7:9000", "refused")
RUNT = ("anomaly", "agent", "runt_frame", "drop", "true")
LOST = ("notifies_unanswered", "deadline")


@pytest.fixture
def incidents(clock) -> Incidents:
    return Incidents(clock, "full")


def runt(detail: str) -> AnomalySeen:
    return AnomalySeen(Anomaly.RUNT_FRAME, Side.AGENT, Action.DROP, "running", detail=detail, sample=bytes(4))


def test_one_of_a_kind_is_open_until_none_came_for_a_while(incidents, clock):
    first = incidents.happened("default", RUNT)
    clock.now += QUIET_S - 0.001
    assert incidents.happened("default", RUNT) is first
    clock.now += QUIET_S
    second = incidents.happened("default", RUNT)
    assert second is not first
    assert (first.count, first.first_at, first.last_at, second.count) == (2, 1000.0, 1000.0 + QUIET_S - 0.001, 1)
    assert [row["ids"] for row in incidents.take()] == [[second.id], [first.id]]


def test_routes_and_kinds_have_their_own(incidents):
    kinds = [("default", RUNT), ("other", RUNT), ("default", LOST), ("default", ("notifies_unanswered", "agent_gone"))]
    assert len({incidents.happened(*kind).id for kind in kinds for _ in range(3)}) == len(kinds)
    assert incidents.find("default", LOST) is incidents.happened("default", LOST)
    assert incidents.find("nowhere", LOST) is None


def test_the_peak_is_the_most_within_a_second(incidents, clock):
    for count in (3, 7, 2):
        for _ in range(count):
            clock.now += 0.01
            incidents.happened("default", RUNT)
        clock.now = int(clock.now) + 1.0
    incidents.happened("default", RUNT, 5)
    assert (incidents.happened("default", RUNT).peak, incidents.happened("default", RUNT).count) == (7, 19)


def test_first_and_last_are_kept_with_their_sessions(incidents):
    incident = incidents.happened("default", RUNT)
    for session, seen in ((4, None), (5, runt("first")), (6, runt("between")), (7, runt("last")), (8, None)):
        incident.met(session, seen)
    [row] = incidents.take()
    assert (row["first_session"], row["last_session"]) == (4, 8)
    assert (row["first"]["detail"], row["last"]["detail"]) == ("first", "last")
    assert row["last"]["hex"] == "00000000"


def test_a_session_that_is_not_known_is_not_the_first(incidents):
    incident = incidents.happened("default", LOST)
    incident.met(0)
    incident.met(9)
    assert (incident.first_session, incident.last_session) == (9, 9)


@pytest.mark.parametrize(("payload", "detail", "raw"), [("full", "first", "00000000"), ("headers", "first", ""), ("off", "", "")])
def test_what_is_shown_follows_payload(incidents, payload, detail, raw):
    incidents.happened("default", RUNT).met(1, runt("first"))
    incidents.payload = payload
    [row] = incidents.take()
    assert (row["first"]["detail"], row["first"]["hex"]) == (detail, raw)


BUG = ("internal_error", "KeyError")


def test_the_worst_is_taken_first_then_what_goes_on_then_the_last(incidents, clock):
    for kind in (BUG, RUNT, LOST):
        clock.now += 1
        incidents.happened("default", kind)
    clock.now += QUIET_S
    for route, kind in (("default", REFUSED), ("other", REFUSED), ("default", ("agent_link_lost", "reset"))):
        clock.now += 1
        incidents.happened(route, kind)
    rows = list(incidents.take())
    assert [(row["level"], row["what"], row["route"], row["over"]) for row in rows] == [
        ("error", "internal_error", "default", True),
        ("warning", "agent_unreachable", "other", False),
        ("warning", "agent_unreachable", "default", False),
        ("warning", "notifies_unanswered", "default", True),
        ("info", "agent_link_lost", "default", False),
        ("info", "anomaly", "default", True),
    ]
    assert {name: rows[1][name] for name in ("agent", "reason", "count", "first", "last")} == {
        "agent": "10.0.3.7:9000", "reason": "refused", "count": 1, "first": None, "last": None,
    }  # fmt: skip
    assert {name: rows[-1][name] for name in KINDS["anomaly"]} == {
        "side": "agent", "anomaly": "runt_frame", "action": "drop", "applied": True,
    }  # fmt: skip


def test_due_tells_once_what_is_over(incidents, clock):
    first = incidents.happened("default", RUNT)
    assert list(incidents.due()) == [(first, False)]
    clock.now += QUIET_S
    assert list(incidents.due()) == [(first, True)]
    assert list(incidents.due()) == []
    assert incidents.find("default", RUNT) is None
    assert [row["ids"] for row in incidents.take()] == [[first.id]]


def test_one_replaced_before_anybody_looked_is_due_all_the_same(incidents, clock):
    first = incidents.happened("default", RUNT)
    clock.now += QUIET_S
    second = incidents.happened("default", RUNT)
    assert list(incidents.due()) == [(first, True), (second, False)]
    assert [row["ids"] for row in incidents.take()] == [[second.id], [first.id]]  # each once


@pytest.mark.parametrize("more", [0, 1])
def test_so_many_are_looked_at_in_a_call_and_others_next(incidents, more):
    opened = [incidents.happened(f"route {number}", RUNT) for number in range(LOOKED_AT + more)]
    first, second = [incident for incident, _ in incidents.due()], [incident for incident, _ in incidents.due()]
    assert first == opened[:LOOKED_AT]
    assert second[: more or None] == (opened[LOOKED_AT:] if more else opened)


def test_at_the_end_all_are_over(incidents):
    opened = [incidents.happened("default", RUNT), incidents.happened("other", LOST)]
    assert list(incidents.end_all()) == opened
    assert list(incidents.due()) == []


@pytest.mark.parametrize("more", [0, 1])
def test_so_many_are_kept_when_they_are_over(incidents, clock, more):
    ids = []
    for _ in range(KEPT + more):
        ids.append([incidents.happened("default", RUNT).id])
        clock.now += QUIET_S
    assert len([*incidents.due()]) == KEPT + more
    assert [row["ids"] for row in incidents.take()] == ids[more:][::-1]


@pytest.mark.parametrize("more", [0, 1])
def test_so_many_are_taken_the_worst(incidents, more):
    incidents.happened("default", RUNT)
    for number in range(MOST - 1 + more):
        incidents.happened(f"route {number}", LOST)
    rows = list(incidents.take())
    assert len(rows) == MOST
    assert {row["what"] for row in rows} == {"notifies_unanswered", *(() if more else ("anomaly",))}
    found = merged([incidents._row(each) for of_route in incidents._open.values() for each in of_route.values()], 1000.0)
    assert [row["what"] for row in found] == [row["what"] for row in rows]


def test_ids_are_short_and_differ(incidents, clock):
    ids = {incidents.happened(f"route {number}", RUNT).id for number in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch("[a-z2-7]{8}", each) for each in ids)


LEVELS = [
    # mended: however bad it would have been
    (("anomaly", "agent", "runt_frame", "drop", "true"), "info"),
    (("anomaly", "agent", "disconnect_before_ack", "reorder", "true"), "info"),
    # a session is ended over it
    (("anomaly", "agent", "runt_frame", "close", "true"), "warning"),
    # HAProxy got it: it dies of it, its connection is wedged, requests lose their verdicts, or nothing comes of it
    (("anomaly", "agent", "runt_frame", "drop", "false"), "error"),
    (("anomaly", "agent", "disconnect_bad_ids", "repair", "false"), "error"),
    (("anomaly", "agent", "unmatched_ack", "drop", "false"), "warning"),
    (("anomaly", "agent", "unmatched_ack", "pass", "true"), "warning"),
    (("anomaly", "agent", "hello_repeated", "drop", "false"), "info"),
    (("anomaly", "agent", "ack_proc_scope", "pass", "true"), "info"),
    (("notifies_unanswered", "deadline"), "warning"),
    (("notifies_unanswered", "haproxy_gone"), "info"),
    (("session_closed", "agent", "reset"), "info"),
    (("session_closed", "haproxy", "disconnect"), "info"),
    (("session_closed", "guard", "limit"), "warning"),
    (("session_closed", "guard", "hello_timeout"), "info"),
    (("agent_link_lost", "reset"), "info"),
    (("own_limit", "accept"), "warning"),
    (("session_gave_way", "no_hello"), "warning"),
    (("internal_error", "KeyError"), "error"),
    (REFUSED, "warning"),
]


@pytest.mark.parametrize(("kind", "level"), LEVELS, ids=lambda value: "-".join(value) if isinstance(value, tuple) else value)
def test_the_level_is_what_came_of_it(incidents, kind, level):
    assert incidents.happened("default", kind).level == level


@pytest.mark.parametrize(
    ("families", "level"),
    [((), "error"), ((Family.APPLET,), "error"), ((Family.MUX,), "info"), ((Family.APPLET, Family.MUX), "error")],
)
def test_only_an_haproxy_that_connects_is_in_danger(incidents, families, level):
    """A frame of length 0 ends HAProxy up to 3.0 alone."""
    kind = ("anomaly", "agent", "runt_frame", "drop", "false")
    assert incidents.happened("default", kind, families=lambda: frozenset(families)).level == level


def test_what_haproxy_wrote_does_it_no_harm(incidents):
    assert incidents.happened("default", ("anomaly", "haproxy", "runt_frame", "drop", "false")).level == "info"


def test_every_kind_has_a_level(incidents):
    def values(enum):
        return [member.value for member in enum]

    closed = {
        "side": values(Side), "anomaly": values(Anomaly), "action": values(Action), "applied": ["true", "false"],
        "by": values(EndedBy), "doing": ["accept", "dial"], "agent": ["a"], "error": ["E"],
    }  # fmt: skip
    reasons = {
        "notifies_unanswered": UnansweredReason, "agent_unreachable": DialFailure, "agent_link_lost": LinkLoss,
        "session_closed": EndReason, "session_gave_way": GaveWay,
    }  # fmt: skip
    for what, labels in KINDS.items():
        for kind in itertools.product(*(values(reasons[what]) if label == "reason" else closed[label] for label in labels)):
            assert incidents.happened("default", (what, *kind)).level in ("info", "warning", "error")


def test_the_first_and_the_last_file_of_the_recorder_are_kept(incidents):
    incident = incidents.happened("default", RUNT)
    for file in ("a", "a", "b", "c", "c"):
        incident.recorded(file)
    assert next(incidents.take())["captures"] == ["a", "c"]


def test_a_frame_belongs_to_the_incident_of_its_kind_and_time(incidents, clock):
    lost = AnomalySeen(Anomaly.NOTIFY_UNANSWERED, Side.AGENT, Action.REPAIR, "running")
    incidents.happened("default", LOST).met(1, lost)
    incident = incidents.happened("default", RUNT)
    assert incidents.of("default", runt("x"), clock.now - 0.5) is incident
    assert incidents.of("default", runt("x"), clock.now - QUIET_S) is None
    assert incidents.of("other", runt("x"), clock.now) is None
    assert incidents.of("default", lost, clock.now) is incidents.find("default", LOST)
    assert incidents.of("default", dataclasses.replace(lost), clock.now) is None


# Several processes


def of_worker(clock, *, start: float, count: int, session: int, kind=RUNT, seen: str = "") -> dict:
    clock.now = start
    incidents = Incidents(clock, "full")
    for number in range(count):
        clock.now = start + number
        incidents.happened("default", kind).met(session + number, runt(f"{seen} {number}"))
    [row] = incidents.take()
    return row


def test_what_several_processes_saw_of_one_kind_is_one_row(clock):
    early = of_worker(clock, start=100.0, count=3, session=1, seen="early")
    late = of_worker(clock, start=101.0, count=5, session=50, seen="late")
    for rows in ([early, late], [late, early]):
        [row] = merged(rows, clock.now)
        assert row["ids"] == [*early["ids"], *late["ids"]]
        assert (row["count"], row["peak_per_s"], row["first_at"], row["last_at"]) == (8, 2, 100.0, 105.0)
        assert (row["first_session"], row["first"]["detail"]) == (1, "early 0")
        assert (row["last_session"], row["last"]["detail"]) == (54, "late 4")
    assert (early["count"], late["count"]) == (3, 5)  # what was handed over is as it was


def test_of_several_processes_files_two_are_named(clock):
    rows = [of_worker(clock, start=100.0 + at, count=1, session=1) | {"captures": [f"{at}a", f"{at}b"]} for at in range(3)]
    assert [row["captures"] for row in merged(rows, clock.now)] == [["0a", "2b"]]


def test_a_row_within_another_leaves_its_end(clock):
    long = of_worker(clock, start=100.0, count=9, session=1, seen="long")
    short = of_worker(clock, start=101.0, count=1, session=50, seen="short")
    [row] = merged([short, long], clock.now)
    assert (row["count"], row["last_at"], row["last"]["detail"]) == (10, 108.0, "long 8")


@pytest.mark.parametrize(("apart", "rows"), [(QUIET_S - 0.001, 1), (QUIET_S, 2)])
def test_rows_that_are_apart_are_two(clock, apart, rows):
    one = of_worker(clock, start=100.0, count=1, session=1)
    two = of_worker(clock, start=100.0 + apart, count=1, session=1)
    assert len(merged([one, two], clock.now)) == rows


def test_kinds_stay_apart_and_what_goes_on_anywhere_is_not_over(clock):
    one = of_worker(clock, start=100.0, count=1, session=1)
    other = of_worker(clock, start=105.0, count=1, session=1, kind=LOST)
    two = of_worker(clock, start=110.0, count=1, session=1)
    for now, kinds_over, all_over in ((105.0 + QUIET_S, True, False), (110.0 + QUIET_S, True, True), (110.0, False, False)):
        assert [(row["what"], row["over"], row["count"]) for row in merged([one, two, other], now)] == [
            ("notifies_unanswered", kinds_over, 1),
            ("anomaly", all_over, 2),
        ]


def test_the_level_is_that_of_the_process_that_knows_the_worst(clock):
    """Which families of HAProxy connect each process knows of its own."""
    rows = [
        of_worker(clock, start=100.0 + at, count=1, session=1) | {"level": level} for at, level in enumerate(("info", "error"))
    ]
    assert [row["level"] for row in merged(rows, clock.now)] == ["error"]
    rows = [row | {"level": level} for row, level in zip(rows, ("error", "info"), strict=True)]
    assert [row["level"] for row in merged(rows, clock.now)] == ["error"]


@pytest.mark.parametrize("more", [0, 1])
def test_so_many_that_are_over_are_kept_of_all_processes(clock, more):
    rows = [of_worker(clock, start=100.0 * number, count=1, session=1) for number in range(KEPT + more)]
    rows.append(of_worker(clock, start=1e6, count=1, session=1, kind=LOST))
    found = merged(rows, clock.now)
    assert len(found) == 1 + KEPT
    assert (found[0]["what"], found[-1]["first_at"]) == ("notifies_unanswered", 100.0 * more)


def test_a_frame_of_the_last_is_shown_in_words(incidents):
    seen = AnomalySeen(Anomaly.EMPTY_ACK, Side.AGENT, Action.REPAIR, "running", sample=frame.encode(frame.ACK, 7, 1))
    incidents.happened("default", ("anomaly", "agent", "empty_ack", "repair", "true")).met(1, seen)
    assert any("stream-id 7" in str(line) for line in next(incidents.take())["last"]["frame"])
