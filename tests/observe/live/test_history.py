"""The samples of the last minutes: the content of a point, how many are kept, and the counts of the window."""

import pytest

from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.events import AnomalySeen, NotifiesUnanswered, UnansweredReason
from spoe_guard.core.terms.tally import ACK_BUCKETS
from spoe_guard.observe.live.history import COUNTED, POINTS, SERIES, STEP_S, History, quantile, totals
from spoe_guard.observe.observer import GuardObserver
from spoe_guard.wire import frame

RUNT = AnomalySeen(Anomaly.RUNT_FRAME, Side.AGENT, Action.DROP, "RUNNING")


@pytest.fixture
def observer(lines, clock) -> GuardObserver:
    return GuardObserver(["default", "other"], lines.log(level="error"), 10, clock=clock)


def points(history: History, name: str, route: str = "default") -> list[float | None]:
    return history.of[route].samples()[name]


def sample(history: History, now: float) -> None:
    for _ in history.sample(now):
        pass


def test_a_rate_is_over_the_time_that_really_passed(observer):
    history = History(observer.routes, 100.0)
    tally = observer.routes["default"].tally
    tally.frames_to_agent[frame.NOTIFY] = 50
    tally.frames_to_haproxy[frame.ACK] = 40
    sample(history, 105.0)
    tally.frames_to_agent[frame.NOTIFY] = 60
    sample(history, 115.0)
    assert points(history, "notifies_per_s") == [10.0, 1.0]
    assert points(history, "acks_per_s") == [8.0, 0.0]
    assert points(history, "notifies_per_s", "other") == [0.0, 0.0]


def test_no_time_no_sample(observer):
    history = History(observer.routes, 100.0)
    sample(history, 100.0)
    assert points(history, "sessions") == []


def test_gauges_are_as_they_stand(observer):
    history = History(observer.routes, 0.0)
    observer.session_opened("default", 1, "")
    observer.routes["default"].tally.open_notifies = 7
    sample(history, STEP_S)
    assert (points(history, "sessions"), points(history, "open_notifies")) == ([1.0], [7.0])


@pytest.mark.parametrize(("samples", "kept"), [(POINTS - 1, POINTS - 1), (POINTS, POINTS), (POINTS + 1, POINTS)])
def test_points_are_bounded_and_the_oldest_goes(observer, samples, kept):
    history = History(observer.routes, 0.0)
    for at in range(1, samples + 1):
        observer.routes["default"].open = at
        sample(history, at * STEP_S)
    assert {name: len(values) for name, values in history.of["default"].samples().items()} == dict.fromkeys(SERIES, kept)
    assert points(history, "sessions") == list(range(samples - kept + 1, samples + 1))


def test_the_window_counts_unsampled_events_and_forgets_old_ones(observer):
    history = History(observer.routes, 0.0)
    stats = observer.routes["default"]
    observer.session_opened("default", 1, "")
    observer.seen("default", 1, [RUNT, RUNT, NotifiesUnanswered(UnansweredReason.AGENT_GONE, 3)])
    told = dict.fromkeys(COUNTED, 0) | {"anomalies": 2, "mended": 2, "spared": 2, "unanswered": 3, "failed": 3}
    assert history.of["default"].window(totals(stats)) == told
    for at in range(1, POINTS + 1):
        sample(history, at * STEP_S)
        assert history.of["default"].window(totals(stats)) == told
    observer.internal_error("default", 1, ValueError())
    sample(history, (POINTS + 1) * STEP_S)
    assert history.of["default"].window(totals(stats)) == dict.fromkeys(COUNTED, 0) | {"internal_errors": 1}


def test_the_numbers_may_be_other_objects_at_each_sample(observer):
    """A sum over several processes is made anew each time."""
    history = History(observer.routes, 0.0)
    observer.routes["default"].open = 1
    sample(history, STEP_S)
    other = GuardObserver(["default"], observer.journal._log, 1).routes["default"]
    other.open = 2
    observer.routes["default"] = other
    sample(history, 2 * STEP_S)
    assert points(history, "sessions") == [1.0, 2.0]


def test_latency_is_of_the_step_alone_and_nothing_without_an_ack(observer):
    history = History(observer.routes, 0.0)
    tally = observer.routes["default"].tally
    for _ in range(100):
        tally.observe_ack(0.4)
    sample(history, STEP_S)
    for _ in range(100):
        tally.observe_ack(0.0004)
    sample(history, 2 * STEP_S)
    sample(history, 3 * STEP_S)
    first, second, third = points(history, "ack_p99_s")
    assert 0.25 < first <= 0.5
    assert second <= 0.0005
    assert third is None


@pytest.mark.parametrize(
    ("share", "seconds", "expected"),
    [
        (0.5, [0.0015] * 10, 0.001 + 0.0015 * 0.5),  # half way through its bucket
        (1.0, [0.0015] * 10, 0.0025),  # its upper bound
        (0.5, [0.0001] * 4, 0.000125),  # the first bucket begins at nothing
        (0.5, [0.0001, 0.3], 0.00025),
        (0.99, [99.0], ACK_BUCKETS[-1]),  # beyond the last bound nothing is known
    ],
)
def test_a_quantile_is_prometheus_own(observer, share, seconds, expected):
    tally = observer.routes["default"].tally
    for value in seconds:
        tally.observe_ack(value)
    assert quantile(share, tally.ack_buckets) == pytest.approx(expected)
