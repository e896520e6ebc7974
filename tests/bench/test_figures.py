import statistics

import pytest

from tests.bench import figures
from tests.bench.figures import Spread


def turns(*values):
    return [{"cpu_us": value} for value in values]


def test_a_spread_is_the_median_with_the_quartiles():
    assert figures.spread([3.0, 1.0, 2.0, 90.0, 2.5]) == Spread(2.5, 2.0, 3.0)
    assert figures.of(turns(4.0, 1.0), "cpu_us") == Spread(2.5, 1.75, 3.25)
    assert figures.spread([7.0]) == Spread(7.0, 7.0, 7.0)


def test_half_of_the_values_lie_between_the_quartiles():
    values = [float(value) for value in range(101)]
    seen = figures.spread(values)
    assert seen.median == statistics.median(values)
    assert (seen.q1, seen.q3) == (25.0, 75.0)


def test_a_ratio_is_taken_turn_by_turn():
    # The machine was twice as slow in the second turn, for both of them: the ratio does not know.
    assert figures.ratio(turns(10.0, 20.0, 10.0), turns(5.0, 10.0, 5.0), "cpu_us") == Spread(2.0, 2.0, 2.0)
    # In the third something else took the CPU from one of them: the median does not know.
    assert figures.ratio(turns(1.0, 1.0, 50.0, 1.0, 1.0), turns(1.0, 1.0, 1.0, 1.0, 1.0), "cpu_us") == Spread(1.0, 1.0, 1.0)


def test_a_ratio_of_turns_that_do_not_belong_together_is_an_error():
    with pytest.raises(ValueError, match="longer"):
        figures.ratio(turns(1.0), turns(1.0, 2.0), "cpu_us")


def test_a_figure_keeps_so_many_digits_and_all_before_the_point():
    assert [figures.number(value) for value in (0.0, 0.514, 9.99, 10.04, 99.94, 100.4, 12345.6)] == [
        "0.00",
        "0.51",
        "9.99",
        "10.0",
        "99.9",
        "100",
        "12,346",
    ]
    assert [figures.number(value, 4) for value in (1.0042, 50.041, 0.9996)] == ["1.004", "50.04", "1.000"]
    assert str(Spread(2.5, 1.0, 1234.0)) == "2.50 (1.00..1,234)"
    assert Spread(2.5, 1.0, 1234.0).written(4) == "2.500 (1.000..1,234)"
