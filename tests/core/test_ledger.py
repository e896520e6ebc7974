import pytest

from spoe_guard.core.ledger import LOSS_MATTERS_S, REMEMBERED, Fate, Ledger
from spoe_guard.wire import varint


def ids(number: int) -> bytes:
    return varint.encode(number) + b"\x01"


def test_an_open_notify_is_open_whatever_became_of_an_earlier_one_with_its_ids() -> None:
    ledger = Ledger()
    ledger.remember(ids(1), Fate.ANSWERED)
    ledger.open[ids(1)] = 5.0
    assert ledger.fate(ids(1)) is Fate.OPEN


def test_nothing_is_known_of_ids_that_never_came() -> None:
    assert Ledger().fate(ids(1)) is Fate.UNKNOWN


@pytest.mark.parametrize(("answered", "lost"), [(False, 1), (True, 0)])
def test_giving_up_settles_and_counts_what_haproxy_never_got(answered: bool, lost: int) -> None:
    ledger = Ledger()
    ledger.open[ids(1)] = 5.0
    ledger.give_up(ids(1), 7.0, answered=answered)
    assert not ledger.open
    assert ledger.fate(ids(1)) is Fate.GIVEN_UP
    assert ledger.lost(7.0) == lost


def test_a_loss_matters_as_long_as_haproxy_may_be_waiting_for_it() -> None:
    ledger = Ledger()
    assert ledger.lost(0.0) == 0
    ledger.give_up(ids(1), 7.0, answered=False)
    ledger.give_up(ids(2), 8.0, answered=False)
    assert ledger.lost(7.9 + LOSS_MATTERS_S) == 2
    assert ledger.lost(8.0 + LOSS_MATTERS_S) == 0
    ledger.give_up(ids(3), 100.0, answered=False)
    assert ledger.lost(100.0) == 1


def test_a_notify_that_was_never_open_can_be_given_up() -> None:
    ledger = Ledger()
    ledger.give_up(ids(1), 7.0, answered=False)
    assert ledger.fate(ids(1)) is Fate.GIVEN_UP


def test_the_oldest_is_the_one_opened_first_and_still_open() -> None:
    ledger = Ledger()
    for number in (9, 3, 7):
        ledger.open[ids(number)] = float(number)
    assert ledger.oldest() == ids(9)
    del ledger.open[ids(9)]
    assert ledger.oldest() == ids(3)


@pytest.mark.parametrize("settled", [REMEMBERED - 1, REMEMBERED, 2 * REMEMBERED - 1, 2 * REMEMBERED, 10 * REMEMBERED + 1])
def test_the_last_256_to_512_settled_are_remembered_and_no_more(settled: int) -> None:
    ledger = Ledger()
    for number in range(settled):
        ledger.remember(ids(number), Fate.ANSWERED)
    known = [number for number in range(settled) if ledger.fate(ids(number)) is Fate.ANSWERED]
    assert known == list(range(settled - len(known), settled))
    assert min(settled, REMEMBERED) <= len(known) < 2 * REMEMBERED


@pytest.mark.parametrize("settled", range(513, 513 + 256))
def test_the_256th_from_last_is_remembered_and_the_512th_is_not(settled: int) -> None:
    ledger = Ledger()
    for number in range(settled):
        ledger.remember(ids(number), Fate.ANSWERED)
    assert ledger.fate(ids(settled - 256)) is Fate.ANSWERED
    assert ledger.fate(ids(settled - 512)) is Fate.UNKNOWN


def test_ids_are_compared_in_full_width() -> None:
    ledger = Ledger()
    ledger.open[ids(7)] = 0.0
    assert ledger.fate(ids(7 + 2**32)) is Fate.UNKNOWN
