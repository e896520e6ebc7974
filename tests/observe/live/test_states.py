"""The five states of a route: what leads to each, what it says, and when it is over."""

import math

import pytest

from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.core.terms.events import (
    AuthoredReason,
    DialFailure,
    Direction,
    EndedBy,
    EndReason,
    FrameAuthored,
    HaproxyKnown,
    NotifiesUnanswered,
    SessionEnded,
    UnansweredReason,
)
from spoe_guard.core.terms.family import Family
from spoe_guard.observe.live.history import MARKS, SLOW_S, STEP_S
from spoe_guard.observe.live.runbook import Runbook
from spoe_guard.observe.live.states import (
    AGENT,
    GUARD,
    HAPROXY,
    LONG_S,
    MANY_HELLOS,
    MINUTE_S,
    NEVER_A_NOTIFY,
    ONLY_CHECKS,
    QUIET_S,
    State,
    Verdict,
    share,
)
from spoe_guard.wire import frame
from tests.observe.live.scenes import Scene

QUIET = round(QUIET_S / STEP_S)
MINUTE = round(MINUTE_S / STEP_S)
ENTRIES = Runbook().entries


@pytest.fixture
def scene(lines) -> Scene:
    return Scene(lines.log(level="error"), "default")


def verdict(scene: Scene) -> Verdict:
    found = scene.live.verdict("default")
    assert found.runbook in {"", *ENTRIES}, "an entry that the runbook does not have"
    assert (found.runbook != "") is (found.state is not State.OK or found.sentence == ONLY_CHECKS)
    return found


def said(scene: Scene) -> tuple[State, str]:
    found = verdict(scene)
    return found.state, found.sentence


def unanswered(scene: Scene, reason: UnansweredReason, count: int = 1) -> None:
    scene.observer.seen("default", 1, [NotifiesUnanswered(reason, count)])


def test_a_route_is_ok_with_and_without_haproxy(scene):
    assert said(scene) == (State.OK, "HAProxy has not connected yet")
    session = scene.session("default")
    assert said(scene) == (State.OK, "Served")
    scene.acks("default", 5, 0.001)
    assert said(scene) == (State.OK, "Served")
    scene.observer.session_closed("default", session)
    assert said(scene) == (State.OK, "HAProxy is not connected")


def test_what_was_mended_is_no_trouble_and_soon_over(scene):
    session = scene.session("default")
    scene.anomaly("default", session, Anomaly.ACK_AFTER_DISCONNECT, Action.REORDER)
    assert verdict(scene) == Verdict(
        State.REPAIRED, "1 answer saved in the last minute (ack_after_disconnect)", AGENT, "ack_after_disconnect"
    )
    for _ in range(2):
        scene.anomaly("default", session, Anomaly.RUNT_FRAME, Action.DROP)
        scene.anomaly("default", session, Anomaly.MISSING_FIN, Action.REPAIR)
    for _ in range(3):
        scene.anomaly("default", session, Anomaly.UNMATCHED_ACK, Action.DROP)
    assert verdict(scene).sentence == (
        "3 answers saved, 2 frames kept away that end HAProxy, 3 anomalies mended in the last minute (unmatched_ack)"
    )
    scene.step(QUIET)
    assert verdict(scene).state is State.REPAIRED
    scene.step()
    assert said(scene) == (State.OK, "Served")


@pytest.mark.parametrize("failed", [1, 2])
def test_one_failure_in_a_hundred_makes_a_degraded_route(scene, failed):
    scene.session("default")
    tally = scene.observer.routes["default"].tally
    for _ in range(180):
        tally.observe_ack(0.001)
    tally.frames_to_agent[frame.NOTIFY] = 180
    unanswered(scene, UnansweredReason.AGENT_GONE, failed)
    few = failed == 1
    why = "Served" if few else "The agent ends its connections with NOTIFYs in hand"
    told = f"{'0.6 %' if few else '1 %'} of {180 + failed} NOTIFYs in the last minute failed: {why[0].lower()}{why[1:]}"
    assert said(scene) == (State.OK if few else State.DEGRADED, told)


CAUSES = [
    (UnansweredReason.DEADLINE, "the agent answers too late", AGENT),
    (UnansweredReason.SUPERSEDED, "the agent answers too late", AGENT),
    (UnansweredReason.AGENT_GONE, "the agent ends its connections with NOTIFYs in hand", AGENT),
    (UnansweredReason.AGENT_AWAY, "the agent is away", AGENT),
    (UnansweredReason.ACK_DROPPED, "the agent's answers cannot be used", AGENT),
    (UnansweredReason.NOTIFY_DROPPED, "they are too large for the agent, or cannot be read", HAPROXY),
    (UnansweredReason.LIMIT, "a limit of the guard is reached", GUARD),
]


@pytest.mark.parametrize(("reason", "why", "side"), CAUSES, ids=[reason.value for reason, _, _ in CAUSES])
def test_why_notifys_fail_is_said_and_whose_it_is(scene, reason, why, side):
    scene.session("default")
    scene.acks("default", 1, 0.001)
    answered = scene.observer.routes["default"].tally.ack_count
    unanswered(scene, reason, 9)
    unanswered(scene, next(each for each in UnansweredReason if each not in {reason, UnansweredReason.HAPROXY_GONE}))
    found = verdict(scene)
    assert (found.state, found.side) == (State.DEGRADED, side)
    assert found.sentence == f"{share(10, 10 + answered)} of {10 + answered} NOTIFYs in the last minute failed: {why}"


def test_every_reason_has_its_words():
    assert {reason for reason, _, _ in CAUSES} == set(UnansweredReason) - {UnansweredReason.HAPROXY_GONE}


def test_an_agent_that_answers_nothing_at_all_does_not_answer(scene):
    scene.session("default")
    unanswered(scene, UnansweredReason.DEADLINE, 97)
    assert verdict(scene) == Verdict(
        State.DEGRADED,
        "100 % of 97 NOTIFYs in the last minute failed: the agent does not answer",
        AGENT,
        "the-agent-hangs",
        asked=97,
        failed=97,
    )


def test_that_haproxy_leaves_is_nobodys_failure(scene):
    scene.session("default")
    unanswered(scene, UnansweredReason.HAPROXY_GONE, 5)
    assert said(scene) == (State.OK, "Served")


def test_a_failure_is_over_before_its_minute_is(scene):
    scene.session("default")
    unanswered(scene, UnansweredReason.AGENT_GONE)
    scene.step(QUIET)
    assert verdict(scene).state is State.DEGRADED
    scene.step()
    assert said(scene) == (State.OK, "Served")
    assert verdict(scene).failed == 1
    scene.step(MINUTE - QUIET)
    assert verdict(scene).failed == 0


def test_the_cause_is_that_of_now(scene):
    scene.session("default")
    unanswered(scene, UnansweredReason.AGENT_GONE, 9)
    scene.step(QUIET + 1)
    unanswered(scene, UnansweredReason.ACK_DROPPED)
    assert verdict(scene).sentence.endswith("10 NOTIFYs in the last minute failed: the agent's answers cannot be used")
    assert MARKS >= MINUTE


def test_answers_that_haproxy_does_not_take_have_failed(scene):
    session = scene.session("default")
    for _ in range(3):
        scene.anomaly("default", session, Anomaly.ACK_AFTER_DISCONNECT, Action.REORDER, applied=False)
    found = verdict(scene)
    assert (found.state, found.failed, found.runbook) == (State.DEGRADED, 3, "spoeguardanswerslost")


@pytest.mark.parametrize(
    ("family", "anomaly", "endangered"),
    [
        (None, Anomaly.RUNT_FRAME, True),
        (Family.APPLET, Anomaly.RUNT_FRAME, True),
        (Family.MUX, Anomaly.RUNT_FRAME, False),
        (Family.MUX, Anomaly.IMPOSSIBLE_STREAM_ID, True),
        (Family.APPLET, Anomaly.IMPOSSIBLE_STREAM_ID, False),
        (Family.MUX, Anomaly.BAD_VARINT, True),
    ],
)
def test_haproxy_is_in_danger_where_it_gets_what_ends_its_family(scene, family, anomaly, endangered):
    session = scene.session("default")
    if family is not None:
        scene.observer.seen("default", session, [HaproxyKnown(family)])
    scene.anomaly("default", session, anomaly, Action.DROP, applied=False)
    whom = {None: "HAProxy", Family.APPLET: "HAProxy up to 3.0", Family.MUX: "HAProxy 3.1 or later"}[family]
    told = f"HAProxy got 1 frame in the last minute that ends {whom}, as the agent sent it ({anomaly.value})"
    assert said(scene) == ((State.DANGER, told) if endangered else (State.OK, "Served"))


def test_danger_is_worse_than_failures_and_a_missing_agent_than_danger(scene):
    session = scene.session("default")
    unanswered(scene, UnansweredReason.AGENT_GONE)
    scene.anomaly("default", session, Anomaly.RUNT_FRAME, Action.PASS)
    assert verdict(scene).state is State.DANGER
    scene.refuses("default")
    assert said(scene) == (
        State.DOWN,
        "100 % of 1 NOTIFY in the last minute failed: the agent is unreachable: refused: 10.0.3.7:9000: Connection refused",
    )


def test_an_agent_that_is_unreachable_is_said_in_one_line(scene):
    scene.session("default")
    scene.refuses("default", detail="Connection\nrefused")
    assert said(scene) == (State.DOWN, "The agent is unreachable: refused: 10.0.3.7:9000: Connection\\nrefused")
    scene.answers("default")
    assert said(scene) == (State.OK, "Served")


def test_no_address_left_is_a_route_without_an_agent(scene):
    scene.serve("default", "10.0.3.7:9000", "10.0.3.8:9000")
    for agent in scene.agents["default"]:
        scene.refuses("default", agent)
    refused = [f"{agent} refused: {agent}: Connection refused" for agent in scene.agents["default"]]
    assert said(scene) == (State.DOWN, f"The agent is unreachable: {'; '.join(refused)}")


def test_an_address_that_is_down_is_named_while_another_serves(scene):
    scene.serve("default", "10.0.3.7:9000", "10.0.3.8:9000", "10.0.3.9:9000")
    scene.refuses("default")
    scene.session("default")
    told = "Served, but not by every agent: 10.0.3.7:9000 refused: 10.0.3.7:9000: Connection refused"
    assert said(scene) == (State.DEGRADED, told)
    scene.answers("default", "10.0.3.7:9000")
    assert said(scene) == (State.OK, "Served")


@pytest.mark.parametrize(
    ("late_after", "waits", "told"),
    [
        (math.inf, LONG_S, "Served"),
        (math.inf, LONG_S + 0.1, "The agent does not answer: a NOTIFY has waited for 1.1 s"),
        (0.2, 0.2, "Served"),
        (0.2, 0.3, "The agent does not answer: a NOTIFY has waited for 0.3 s"),
        (30.0, 29.0, "Served"),
        (30.0, 30.04, "The agent does not answer: a NOTIFY has waited for 30.0 s"),
    ],
)
def test_a_notify_that_waits_longer_than_haproxy_is_said(scene, late_after, waits, told):
    scene.session("default")
    stats = scene.observer.routes["default"]
    stats.tally.late_after, stats.oldest = late_after, lambda: waits
    assert said(scene) == (State.OK if told == "Served" else State.DEGRADED, told)
    stats.tally.late_after = math.inf
    scene.acks("default", 1, 0.001)
    known = f"A NOTIFY has waited for {waits:.1f} s; none of 3 NOTIFYs failed"
    assert said(scene) == ((State.DEGRADED, known) if waits > LONG_S else (State.OK, "Served"))


def test_late_acks_and_unchecked_requests_are_said(scene):
    session = scene.session("default")
    scene.observer.routes["default"].tally.late_after = 0.1
    scene.acks("default", 10, 0.02)  # the slowest one ten times that
    assert said(scene) == (State.DEGRADED, "1 late ACK in the last minute; none of 11 NOTIFYs failed")
    scene.acks("default", 1000, 0.001)
    scene.observer.seen("default", session, [NotifiesUnanswered(UnansweredReason.AGENT_AWAY, 2, unchecked=2)])
    assert said(scene) == (State.DEGRADED, "2 requests went on unchecked in the last minute; 0.2 % of 1013 NOTIFYs failed")


@pytest.mark.parametrize(
    ("quick", "slow", "told"),
    [
        (0, 19, "Served"),
        (0, 20, "100 % of the ACKs in the last minute took longer than 0.5 s; none of 20 NOTIFYs failed"),
        (95, 5, "Served"),
        (94, 6, "6 % of the ACKs in the last minute took longer than 0.5 s; none of 100 NOTIFYs failed"),
    ],
)
def test_an_agent_whose_acks_are_slow_is_said(scene, quick, slow, told):
    scene.session("default")
    tally = scene.observer.routes["default"].tally
    for seconds in (*[SLOW_S] * quick, *[SLOW_S + 0.01] * slow):
        tally.observe_ack(seconds)
    tally.frames_to_agent[frame.NOTIFY] += quick + slow
    assert said(scene) == (State.OK if told == "Served" else State.DEGRADED, told)


def test_an_agent_is_not_blamed_for_what_the_guard_lacks(scene):
    scene.session("default")
    scene.acks("default", 9, 0.001)
    scene.observer.agent_dialled("default", scene.agents["default"][0], DialFailure.OWN_LIMIT, "no descriptor")
    unanswered(scene, UnansweredReason.AGENT_AWAY)
    found = verdict(scene)
    assert (found.state, found.side, found.runbook) == (State.DEGRADED, GUARD, "the-guard-itself-is-short-of-something")
    assert found.sentence.endswith("failed: the guard itself was short of descriptors, memory or ports 1 time in the last minute")


def test_what_ends_haproxy_is_said_beside_the_notifys_that_it_costs(scene):
    session = scene.session("default")
    scene.observer.seen("default", session, [HaproxyKnown(Family.APPLET)])
    scene.observer.routes["default"].tally.observe_ack(0.001)
    for count, kept in ((1, "1 frame kept away that ends"), (2, "2 frames kept away that end")):
        unanswered(scene, UnansweredReason.AGENT_GONE)
        scene.anomaly("default", session, Anomaly.RUNT_FRAME, Action.DROP)
        assert verdict(scene).sentence == (
            f"{share(count, 1 + count)} of {1 + count} NOTIFYs in the last minute failed: "
            f"the agent ends its connections with NOTIFYs in hand; {kept} HAProxy up to 3.0 (runt_frame)"
        )


@pytest.mark.parametrize("failed", [0, 1])
def test_of_whatever_is_wrong_it_is_said_how_many_notifys_failed(scene, failed):
    session = scene.session("default")
    for _ in range(200 - failed):
        scene.observer.routes["default"].tally.observe_ack(0.001)
    if failed:
        unanswered(scene, UnansweredReason.AGENT_GONE)
    told = "; 0.5 % of 200 NOTIFYs failed" if failed else "; none of 200 NOTIFYs failed"
    scene.anomaly("default", session, Anomaly.MISSING_FIN, Action.REPAIR)
    assert said(scene) == (State.REPAIRED, f"1 answer saved in the last minute (missing_fin){told}")
    scene.anomaly("default", session, Anomaly.RUNT_FRAME, Action.PASS)
    found = verdict(scene)
    assert (found.state, found.sentence.endswith(f"(runt_frame){told}")) == (State.DANGER, True)


def test_what_the_guard_lacks_is_its_own(scene):
    session = scene.session("default")
    scene.observer.accept_failed("default", "no descriptor")
    short = "The guard itself was short of descriptors, memory or ports 1 time in the last minute"
    assert (said(scene), verdict(scene).side) == ((State.DEGRADED, short), GUARD)
    scene.step(QUIET + 1)
    scene.observer.seen("default", session, [SessionEnded(EndedBy.GUARD, EndReason.LIMIT)])
    assert said(scene) == (State.DEGRADED, "1 connection ended at a limit of the guard in the last minute")
    scene.step(QUIET + 1)
    scene.observer.internal_error("default", session, ValueError())
    assert said(scene) == (State.DEGRADED, "1 internal error in the last minute")
    scene.step(QUIET + 1)
    assert said(scene) == (State.OK, "Served")


@pytest.mark.parametrize("own", [False, True], ids=["the agent's HELLO", "the guard's HELLO"])
def test_haproxy_that_connects_and_never_asks_is_said(scene, own):
    answered = FrameAuthored(Direction.TO_HAPROXY, frame.AGENT_HELLO, AuthoredReason.ANSWERED)

    def connects() -> None:
        session = scene.session("default", check=own)
        scene.observer.seen("default", session, [answered] if own else [])

    for _ in range(MANY_HELLOS - 1):
        connects()
    assert said(scene) == (State.OK, "Served")
    connects()
    assert (said(scene), verdict(scene).side) == ((State.DEGRADED, NEVER_A_NOTIFY.format(count=MANY_HELLOS)), HAPROXY)
    scene.acks("default", 1, 0.001)
    assert said(scene) == (State.OK, "Served")


def test_a_route_with_health_checks_alone_is_said(scene):
    for _ in range(MANY_HELLOS - 1):
        scene.session("default", check=True)
    assert said(scene) == (State.OK, "Served")
    scene.session("default", check=True)
    assert said(scene) == (State.OK, ONLY_CHECKS)
    scene.acks("default", 1, 0.001)
    assert said(scene) == (State.OK, "Served")


@pytest.mark.parametrize(
    ("part", "whole", "told"),
    [(1, 1, "100 %"), (999, 1000, "99.9 %"), (99999, 100000, "99.9 %"), (1, 2, "50 %"), (1, 100, "1 %"), (3, 120000, "0.003 %")],
)
def test_a_share_does_not_round_to_all_or_nothing(part, whole, told):
    assert share(part, whole) == told
