"""The pause before a dead worker is started again."""

from spoe_guard.run.workers.pause import LONGEST_S, SHORTEST_S, STEADY_S, Pause


def test_each_death_in_a_row_doubles_the_pause_up_to_the_longest():
    pause = Pause()
    assert [pause.after(0.0) for _ in range(8)] == [SHORTEST_S, 0.2, 0.4, 0.8, 1.6, 3.2, LONGEST_S, LONGEST_S]


def test_a_long_life_resets_the_pause_and_a_short_one_does_not():
    pause = Pause()
    pauses = [pause.after(lived_s) for lived_s in (0.0, 0.0, STEADY_S - 0.001, STEADY_S, 0.0)]
    assert pauses == [SHORTEST_S, 2 * SHORTEST_S, 4 * SHORTEST_S, SHORTEST_S, 2 * SHORTEST_S]
