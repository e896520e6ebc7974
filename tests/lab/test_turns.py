"""When a faulty agent goes wrong: every so often or by chance, and never beyond its bounds."""

import pytest

from spoe_guard.lab.turns import Turns


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def taken(turns, times):
    return [number for number in range(1, times + 1) if turns()]


def test_without_more_it_goes_wrong_every_time():
    assert taken(Turns(Clock()), 3) == [1, 2, 3]


def test_it_goes_wrong_on_every_third():
    turns = Turns(Clock(), every=3)
    assert taken(turns, 9) == [3, 6, 9]
    assert (turns.taken, turns.left_out) == (3, 0)


@pytest.mark.parametrize(("probability", "expected"), [(0.0, []), (1.0, [1, 2, 3])])
def test_never_and_always_are_probabilities(probability, expected):
    assert taken(Turns(Clock(), probability=probability, seed=1), 3) == expected


def test_the_same_seed_goes_wrong_on_the_same_ones():
    first, second, other = (taken(Turns(Clock(), probability=0.2, seed=seed, rate=1000), 200) for seed in (7, 7, 8))
    assert first == second != other
    assert 20 <= len(first) <= 60


def test_a_bound_does_not_change_what_chance_says_of_the_others():
    free = taken(Turns(Clock(), probability=0.5, seed=3), 50)
    bounded = Turns(Clock(), probability=0.5, seed=3, count=4)
    assert taken(bounded, 50) == free[:4]
    assert (bounded.taken, bounded.left_out) == (4, len(free) - 4)


def test_it_goes_wrong_at_most_so_often_in_all():
    turns = Turns(Clock(), count=2)
    assert taken(turns, 3) == [1, 2]
    assert (turns.taken, turns.left_out) == (2, 1)


def test_it_goes_wrong_at_most_so_often_a_second():
    clock = Clock()
    turns = Turns(clock, rate=2)
    assert taken(turns, 3) == [1, 2]
    clock.now += 0.999
    assert taken(turns, 1) == []
    clock.now += 0.001
    assert taken(turns, 3) == [1, 2]
    assert (turns.taken, turns.left_out) == (4, 3)
