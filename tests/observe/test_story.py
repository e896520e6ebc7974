"""Ten bad minutes at 500 requests a second, in compressed time: the log is short, and tells all that the metrics count."""

from collections import Counter

import pytest

from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.events import (
    AgentReady,
    AgentUnreachable,
    AnomalySeen,
    DialFailure,
    EndedBy,
    EndReason,
    LinkLoss,
    LinkLost,
    LinkReason,
    LinkUp,
    NotifiesUnanswered,
    SessionEnded,
    UnansweredReason,
)
from spoe_guard.observe.incidents import KINDS
from spoe_guard.observe.observer import GuardObserver
from tests.observe.conftest import Clock, Lines

AGENT = "10.0.3.7:9000"
MINUTE_S = 60
REQUESTS = 500  # a second


class Incident:
    """What the ten minutes bring, second by second: ``waf`` is guarded, ``auth`` only observed."""

    def __init__(self, observer: GuardObserver) -> None:
        self.observer = observer
        self.session = 0

    def second(self, at: int) -> None:
        minute = at // MINUTE_S
        if minute in (0, 1):
            self.hangs()
        if minute in (2, 3):
            self.refuses()
        if minute in (4, 5, 6):
            self.reorders()
        if at % MINUTE_S in (10, 11, 12):
            self.sends_nothing()
        if minute == 8:
            for part in (self.hangs, self.refuses, self.reorders):
                part()

    def hangs(self) -> None:
        """No NOTIFY of this second is answered; the links on which they were are replaced."""
        for _ in range(REQUESTS):
            self.anomaly("waf", Anomaly.NOTIFY_UNANSWERED, Action.ANSWER)
            self.observer.seen("waf", 1, [NotifiesUnanswered(UnansweredReason.DEADLINE, 1)])
        for _ in range(5):
            self.observer.seen("waf", 1, [LinkLost(LinkLoss.DEADLINE, 3), LinkUp(LinkReason.REPLACEMENT, 0.1)])

    def refuses(self) -> None:
        """Each request comes on a connection of its own, which finds no agent; now and then one is there."""
        for number in range(REQUESTS):
            self.session += 1
            self.observer.session_opened("waf", self.session, "10.0.9.4:5")
            self.observer.agent_dialled("waf", AGENT, DialFailure.REFUSED, "Connection refused")
            self.anomaly("waf", Anomaly.AGENT_UNREACHABLE, Action.ANSWER)
            away = [
                AgentUnreachable(DialFailure.REFUSED, "Connection refused"),
                NotifiesUnanswered(UnansweredReason.AGENT_AWAY, 1),
            ]
            self.observer.seen("waf", self.session, [*away, SessionEnded(EndedBy.GUARD, EndReason.UNREACHABLE)])
            self.observer.session_closed("waf", self.session)
            if not number % 100:
                self.observer.seen("waf", self.session, [AgentReady(16380, "", healthcheck=True, agent=AGENT)])

    def reorders(self) -> None:
        """The agent says DISCONNECT before its ACKs: HAProxy gets them in order."""
        for _ in range(REQUESTS):
            self.anomaly("waf", Anomaly.DISCONNECT_BEFORE_ACK, Action.REORDER)
            self.anomaly("waf", Anomaly.ACK_AFTER_DISCONNECT, Action.REORDER)

    def sends_nothing(self) -> None:
        """Frames of length zero, which end an HAProxy of before 3.0."""
        for _ in range(20):
            self.anomaly("waf", Anomaly.RUNT_FRAME, Action.DROP)
            self.anomaly("auth", Anomaly.RUNT_FRAME, Action.DROP, applied=False)

    def anomaly(self, route: str, anomaly: Anomaly, action: Action, *, applied: bool = True) -> None:
        if self.observer.wants(route, anomaly):
            self.observer.seen(route, 7, [AnomalySeen(anomaly, Side.AGENT, action, "running", applied=applied)])
        else:
            self.observer.counted(route, Side.AGENT, anomaly, action, applied=applied)


@pytest.fixture(scope="module")
def told() -> tuple[GuardObserver, list[dict]]:
    lines, clock = Lines(), Clock()
    observer = GuardObserver(["waf", "auth"], lines.log(level="info"), 60, 60.0, clock=clock)
    for stats in observer.routes.values():
        stats.serve([AGENT])
    incident = Incident(observer)
    for at in range(10 * MINUTE_S):
        incident.second(at)
        clock.now += 1.0
        observer.journal.sum_up()
    observer.journal.sum_up(all_of_it=True)
    return observer, lines.logged


@pytest.mark.timeout(120)
def test_ten_bad_minutes_are_told_whole_in_few_lines(told):
    observer, lines = told
    assert len(lines) < 300
    assert sum(stats.suppressed for stats in observer.routes.values()) == 0

    # Each incident has one first line, one last line, one a minute between them, and the same id and level in all.
    by_id: dict[str, list[dict]] = {}
    for line in lines:
        if "incident" in line:
            by_id.setdefault(line["incident"], []).append(line)
    for story in by_id.values():
        events = [line["event"] for line in story]
        assert events == [events[0], *["incident_goes_on"] * (len(events) - 2), "incident_over"]
        assert events[0] in KINDS
        assert {(line["route"], line["level"]) for line in story} == {(story[0]["route"], story[0]["level"])}
        assert {line["what"] for line in story[1:]} == {events[0]}
        assert len(events) - 2 <= story[-1]["seconds"] // MINUTE_S + 1
        counts = [line["count"] for line in story[1:]]
        assert counts == sorted(counts)
    assert {line["event"] for line in lines if "incident" not in line} == {"agent_link_up", "agent_reachable"}

    # The last lines have all that the metrics count.
    totals: Counter[tuple] = Counter()
    for line in lines:
        if line["event"] == "incident_over":
            totals[(line["route"], line["what"], *(line[label] for label in KINDS[line["what"]]))] += line["count"]
    for route, stats in observer.routes.items():
        counted = {labels: count for labels, count in stats.anomalies.items() if labels[1] != "notify_unanswered"}
        assert {(*kind[2:5], str(kind[5]).lower()): count for kind, count in of(totals, route, "anomaly")} == counted
        reasons = {reason: count for (reason,), count in stats.unanswered.items() if count}
        assert {kind[2]: count for kind, count in of(totals, route, "notifies_unanswered")} == reasons
        ends = {kind[2:]: count for kind, count in of(totals, route, "session_closed")}
        assert ends == dict(stats.closed)
    dials = observer.routes["waf"].agents[AGENT]
    assert totals["waf", "agent_unreachable", AGENT, "refused"] == dials.failures["refused",] == dials.dials == 180 * REQUESTS


def of(totals: Counter[tuple], route: str, what: str) -> list[tuple[tuple, int]]:
    return [(kind, count) for kind, count in totals.items() if kind[:2] == (route, what)]


@pytest.mark.timeout(120)
def test_the_first_and_last_lines_tell_the_story_in_order(told):
    _, lines = told
    story = [
        (line["event"] if line["event"] in KINDS else line["what"], line.get("anomaly") or line["reason"], line["level"])
        for line in lines
        if "incident" in line and line["route"] == "waf" and line["event"] != "incident_goes_on"
    ]
    hangs = [("notifies_unanswered", "deadline", "warning"), ("agent_link_lost", "deadline", "info")]
    runts = ("anomaly", "runt_frame", "info")
    gone = [
        ("agent_unreachable", "refused", "warning"),
        ("anomaly", "agent_unreachable", "info"),
        ("notifies_unanswered", "agent_away", "warning"),
        ("session_closed", "unreachable", "warning"),
    ]
    mended = [("anomaly", "disconnect_before_ack", "info"), ("anomaly", "ack_after_disconnect", "info")]
    assert story == [
        *hangs, runts, runts, runts, runts,  # minutes 0 and 1: it hangs; runts come for 3 s and are over 30 s later
        *gone, runts, *hangs, runts, runts, runts,  # minutes 2 and 3: it refuses; the hang is over
        *mended, runts, *gone, runts, runts, runts, runts, runts,  # minutes 4 to 6: it is back, and reorders
        runts, *mended, runts,  # minute 7: quiet
        *hangs, *gone, *mended, runts, runts,  # minute 8: all at once
        runts, *hangs, *gone, *mended, runts,  # minute 9: and over
    ]  # fmt: skip
    danger = [line for line in lines if line["route"] == "auth"]
    assert {line["level"] for line in danger} == {"error"}
    assert Counter(line["event"] for line in danger) == {"anomaly": 10, "incident_over": 10}
