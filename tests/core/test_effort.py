"""The work that bytes of a torn or broken stream are worth."""

import pytest

from spoe_guard.core.incoming.agent.effort import COPIED_AT_ONCE, WORK_A_BYTE, WORK_A_TURN, WORK_AT_ONCE, Effort


@pytest.mark.parametrize(("more", "spent"), [(0, False), (1, True)])
def test_as_much_may_be_done_as_was_paid_for_and_no_more(more: int, spent: bool) -> None:
    effort = Effort()
    effort.earn(10)
    effort.spend(WORK_AT_ONCE + 10 * WORK_A_BYTE + more)
    assert effort.spent is spent


def test_what_is_left_is_saved_up_to_a_bound() -> None:
    effort = Effort()
    for _ in range(3):
        effort.earn(1000)
    effort.spend(WORK_AT_ONCE + 1000 * WORK_A_BYTE)
    assert not effort.spent
    effort.spend(1)
    assert effort.spent


def test_many_bytes_are_copied_for_the_work_of_one_item() -> None:
    effort = Effort()
    effort.copied(COPIED_AT_ONCE * (WORK_AT_ONCE - 1))
    assert not effort.spent
    effort.copied(0)
    assert effort.spent


@pytest.mark.parametrize(("less", "over"), [(1, False), (0, True)])
def test_a_turn_is_over_when_so_much_was_done(less: int, over: bool) -> None:
    effort = Effort()
    effort.spend(WORK_A_TURN - less)
    assert effort.turn_over() is over


def test_behind_a_turn_that_took_too_long_a_whole_one_begins() -> None:
    effort = Effort()
    effort.copied(2 * WORK_A_TURN * COPIED_AT_ONCE)
    assert effort.turn_over()
    assert not effort.turn_over()
    effort.spend(WORK_A_TURN - 1)
    assert not effort.turn_over()


def test_what_no_byte_pays_for_takes_of_the_turn_alone() -> None:
    effort = Effort()
    effort.take_of_turn(WORK_A_TURN)
    assert effort.turn_over()
    effort.spend(WORK_AT_ONCE)
    assert not effort.spent
