import pytest

from spoe_guard.core.ledger import LOSS_MATTERS_S, REMEMBERED, Fate, Ledger, Past
from spoe_guard.wire import varint


def ids(number: int) -> bytes:
    return varint.encode(number) + b"\x01"


def test_nothing_is_known_of_ids_that_never_came() -> None:
    assert Past().fate(ids(1)) is Fate.UNKNOWN


@pytest.mark.parametrize(("answered", "lost"), [(False, 1), (True, 0)])
def test_giving_up_settles_and_counts_what_haproxy_never_got(answered: bool, lost: int) -> None:
    past = Past()
    past.give_up(ids(1), 7.0, answered=answered)
    assert past.fate(ids(1)) is Fate.GIVEN_UP
    assert past.lost(7.0) == lost


def test_a_loss_matters_as_long_as_haproxy_may_be_waiting_for_it() -> None:
    past = Past()
    assert past.lost(0.0) == 0
    past.give_up(ids(1), 7.0, answered=False)
    past.give_up(ids(2), 8.0, answered=False)
    assert past.lost(7.9 + LOSS_MATTERS_S) == 2
    assert past.lost(8.0 + LOSS_MATTERS_S) == 0
    past.give_up(ids(3), 100.0, answered=False)
    assert past.lost(100.0) == 1


def test_a_notify_that_was_never_open_can_be_given_up() -> None:
    past = Past()
    past.give_up(ids(1), 7.0, answered=False)
    assert past.fate(ids(1)) is Fate.GIVEN_UP


def test_the_oldest_is_the_one_opened_first_and_still_open() -> None:
    ledger = Ledger()
    for number in (9, 3, 7):
        ledger.open[ids(number)] = float(number)
    assert ledger.oldest() == ids(9)
    del ledger.open[ids(9)]
    assert ledger.oldest() == ids(3)


@pytest.mark.parametrize("settled", [REMEMBERED - 1, REMEMBERED, 2 * REMEMBERED - 1, 2 * REMEMBERED, 10 * REMEMBERED + 1])
def test_the_last_256_to_512_settled_are_remembered_and_no_more(settled: int) -> None:
    past = Past()
    for number in range(settled):
        past.remember(ids(number), Fate.ANSWERED)
    known = [number for number in range(settled) if past.fate(ids(number)) is Fate.ANSWERED]
    assert known == list(range(settled - len(known), settled))
    assert min(settled, REMEMBERED) <= len(known) < 2 * REMEMBERED


@pytest.mark.parametrize("settled", range(513, 513 + 256))
def test_the_256th_from_last_is_remembered_and_the_512th_is_not(settled: int) -> None:
    past = Past()
    for number in range(settled):
        past.remember(ids(number), Fate.ANSWERED)
    assert past.fate(ids(settled - 256)) is Fate.ANSWERED
    assert past.fate(ids(settled - 512)) is Fate.UNKNOWN


def test_ids_are_compared_in_full_width() -> None:
    past = Past()
    past.remember(ids(7), Fate.ANSWERED)
    assert past.fate(ids(7 + 2**32)) is Fate.UNKNOWN
