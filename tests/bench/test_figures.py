from tests.bench import figures
from tests.bench.figures import Spread


def told(*values):
    return {"runs": [{"cpu_us": value} for value in values]}


def test_a_spread_is_the_median_with_the_lowest_and_the_highest():
    assert figures.spread([3.0, 1.0, 2.0, 9.0, 2.5]) == Spread(2.5, 1.0, 9.0)
    assert figures.of(told(1.0, 4.0), "cpu_us") == Spread(2.5, 1.0, 4.0)


def test_a_ratio_is_taken_round_by_round():
    # The machine was twice as slow in the second round, for both of them: the ratio does not know.
    assert figures.ratio(told(10.0, 20.0, 10.0), told(5.0, 10.0, 5.0), "cpu_us") == Spread(2.0, 2.0, 2.0)


def test_a_ratio_side_by_side_is_the_median_of_each_rounds_turns():
    # In the first round something else took the CPU in the second turn of one of them.
    assert figures.turns_ratio([[4.0, 40.0, 4.0], [6.0, 6.0, 9.0]], [[2.0, 2.0, 4.0], [3.0, 2.0, 3.0]]) == Spread(2.5, 2.0, 3.0)


def test_what_is_added_is_taken_round_by_round():
    assert figures.added(told(10.0, 25.0, 11.0), told(5.0, 20.0, 5.0), "cpu_us") == Spread(5.0, 5.0, 6.0)


def test_a_figure_has_three_digits():
    assert [figures.number(value) for value in (0.0, 0.514, 9.99, 10.04, 99.94, 100.4, 12345.6)] == [
        "0.00",
        "0.51",
        "9.99",
        "10.0",
        "99.9",
        "100",
        "12,346",
    ]
    assert str(Spread(2.5, 1.0, 1234.0)) == "2.50 (1.00..1,234)"
