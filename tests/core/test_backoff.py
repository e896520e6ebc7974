"""The delay before the guard dials an agent again."""

import math

import pytest

from spoe_guard.core.conversation.backoff import LONGEST_S, SHORTEST_S, Backoff


def waited(after: float, spread: float = 0.0) -> float:
    """Return how long a session waits for its next try, when it has been trying for ``after`` seconds."""
    backoff = Backoff(spread)
    backoff.failed(1000.0)
    backoff.failed(1000.0 + after)
    return backoff.retry_at - (1000.0 + after)


def test_the_first_try_is_not_waited_for() -> None:
    assert Backoff().retry_at == -math.inf


@pytest.mark.parametrize(
    ("after", "wait"),
    [
        (0.0, SHORTEST_S),
        (16 * SHORTEST_S, SHORTEST_S),
        (16 * SHORTEST_S + 0.016, SHORTEST_S + 0.001),
        (16 * LONGEST_S - 0.016, LONGEST_S - 0.001),
        (16 * LONGEST_S, LONGEST_S),
        (16 * LONGEST_S + 1, LONGEST_S),
        (1e6, LONGEST_S),
    ],
)
def test_the_next_try_waits_a_sixteenth_of_the_time_spent_within_bounds(after: float, wait: float) -> None:
    assert waited(after) == pytest.approx(wait)


@pytest.mark.parametrize("after", [0.0, 1.0, 100.0])
def test_another_spread_is_another_time_and_never_a_longer_one(after: float) -> None:
    assert waited(after, 1.0) == pytest.approx(0.75 * waited(after))
    assert waited(after, 0.5) == pytest.approx(0.875 * waited(after))


def test_a_link_that_was_of_use_ends_the_trouble() -> None:
    backoff = Backoff()
    backoff.failed(1000.0)
    backoff.worked()
    assert backoff.retry_at == -math.inf
    backoff.failed(2000.0)
    assert backoff.retry_at == pytest.approx(2000.0 + SHORTEST_S)


def test_time_in_which_nobody_tried_is_no_time_spent_trying() -> None:
    backoff = Backoff()
    backoff.pause(1000.0)
    assert backoff.retry_at == pytest.approx(1000.0 + SHORTEST_S)
    backoff.failed(2000.0)
    assert backoff.retry_at == pytest.approx(2000.0 + SHORTEST_S)


def test_a_pause_amid_trouble_is_as_long_as_behind_a_failure() -> None:
    backoff = Backoff()
    backoff.failed(1000.0)
    backoff.pause(1002.0)
    assert backoff.retry_at == pytest.approx(1002.0 + 2.0 / 16)
