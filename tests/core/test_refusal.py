"""The delay of a refusal: a table of times, without a session."""

import pytest

from spoe_guard.core.conversation.refusal import LONGEST_S, MOST_HEARD, MOST_HELD, SHORTEST_S, Refusals, Stranger


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


def test_refusals_begin_anew_once_none_came_for_quiet_s() -> None:
    refusals = Refusals(quiet_s=5.0)
    assert [one_round(refusals, now) for now in (0.0, 5.249, 11.0)] == [0.25, 0.5, 0.25]


def test_so_many_refusals_take_no_place_from_others() -> None:
    refusals = Refusals(most=2)
    assert refusals.uncounted == 0
    for expected in (1, 2, 2):
        refusals.hold(0.0, patient=None)
        assert refusals.uncounted == expected


@pytest.mark.parametrize("patient", [True, False, None])
def test_beyond_the_most_held_nobody_waits_longer_than_the_shortest_time(patient: bool | None) -> None:
    refusals = Refusals(most=2)
    for now in (0.0, 1.0):
        refusals.hold(now, patient=True)
    assert refusals.hold(2.0, patient=patient) == 2.25


def test_what_a_stranger_said_is_kept_within_a_bound() -> None:
    stranger = Stranger(Refusals(), 10.0)
    stranger.heard(b"x" * MOST_HEARD, 10.0)
    assert (len(stranger.first), stranger.until) == (MOST_HEARD, 10.25)
    stranger.heard(b"x", 10.1)
    assert stranger.until == 10.1
