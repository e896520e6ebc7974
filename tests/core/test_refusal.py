"""The delay of a refusal: a table of times, without a session."""

import pytest

from spoe_guard.core.conversation.refusal import LONGEST_S, MOST_HELD, SHORTEST_S, Refusals


def one_round(refusals: Refusals, now: float) -> float:
    """Hold one refusal until it is told; return how long that is."""
    until = refusals.hold(now, patient=True)
    refusals.ended()
    return until - now


def test_each_refusal_is_held_twice_as_long_up_to_5_s() -> None:
    refusals, now, held = Refusals(), 100.0, []
    for _ in range(7):
        held.append(one_round(refusals, now))
        now += held[-1]
    assert held == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert (held[0], held[-1]) == (SHORTEST_S, LONGEST_S)


def test_refusals_of_one_round_are_held_equally_long() -> None:
    """Ten threads of HAProxy that are refused at once are one refusal, and one that comes back early is no further one."""
    refusals = Refusals()
    assert {refusals.hold(100.0, patient=True) for _ in range(10)} == {100.25}
    assert refusals.hold(100.249, patient=True) == pytest.approx(100.499)
    assert refusals.hold(100.25, patient=True) == 100.75


def test_an_agent_that_says_hello_has_the_next_refusal_begin_anew() -> None:
    refusals = Refusals()
    assert [one_round(refusals, now) for now in (0.0, 1.0, 2.0)] == [0.25, 0.5, 1.0]
    refusals.succeeded()
    assert [one_round(refusals, now) for now in (2.1, 3.0)] == [pytest.approx(0.25), 0.5]


def test_a_haproxy_that_may_not_reconnect_is_refused_after_the_shortest_time() -> None:
    refusals = Refusals()
    assert [refusals.hold(now, patient=False) - now for now in (0.0, 1.0, 2.0, 4.0)] == [SHORTEST_S] * 4


def test_one_refusal_beyond_the_most_held_waits_the_shortest_time() -> None:
    refusals = Refusals()
    one_round(refusals, 0.0)
    for _ in range(MOST_HELD):
        assert refusals.hold(1.0, patient=True) == 1.5
    assert refusals.hold(1.0, patient=True) == 1.25
    refusals.ended()
    refusals.ended()
    assert refusals.hold(1.0, patient=True) == 1.5
    assert refusals.waiting == MOST_HELD
