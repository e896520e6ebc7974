"""Copies of the NOTIFYs an agent has in hand."""

import pytest

from spoe_guard.core import kept
from spoe_guard.core.kept import Kept


def name(number: int) -> bytes:
    return b"%d" % number


def test_a_copy_is_kept_and_found() -> None:
    copies = Kept(100)
    copies.add(b"a", b"notify", {b"a"})
    assert copies.get(b"a") == b"notify"
    assert copies.get(b"b") is None


@pytest.mark.parametrize(("size", "fits"), [(90, True), (91, False)])
def test_as_many_bytes_are_kept_as_may_and_not_one_more(size: int, fits: bool) -> None:
    copies = Kept(100)
    copies.add(b"a", bytes(10), {b"a"})
    copies.add(b"b", bytes(size), {b"a", b"b"})
    assert (copies.get(b"b") is not None) is fits
    assert copies.get(b"a") == bytes(10)
    assert copies.bytes == (100 if fits else 10)


def test_a_second_copy_takes_the_place_of_the_first() -> None:
    copies = Kept(100)
    copies.add(b"a", bytes(60), {b"a"})
    copies.add(b"a", bytes(70), {b"a"})
    assert copies.bytes == 70


def test_copies_of_what_is_settled_go_out() -> None:
    copies = Kept(1 << 20)
    for number in range(10 * kept._SPARE):
        copies.add(name(number), bytes(10), {name(number)})
        assert copies.bytes <= 10 * (kept._SPARE + 1)
    assert copies.get(name(10 * kept._SPARE - 1)) == bytes(10)
    assert copies.get(name(0)) is None


def test_copies_of_what_is_open_stay() -> None:
    copies = Kept(1 << 20)
    opened = {name(number) for number in range(5 * kept._SPARE)}
    for ids in sorted(opened):
        copies.add(ids, bytes(10), opened)
    assert all(copies.get(ids) == bytes(10) for ids in opened)
    assert copies.bytes == 10 * len(opened)


def test_looking_for_what_is_settled_costs_a_constant_per_notify() -> None:
    looked = 0

    class Counted(set[bytes]):
        def __contains__(self, ids: object) -> bool:
            nonlocal looked
            looked += 1
            return super().__contains__(ids)

    copies, opened = Kept(1 << 20), Counted()
    for number in range(2000):
        opened.add(name(number))
        copies.add(name(number), b"notify", opened)
    assert looked <= 2 * 2000


def test_where_copies_no_longer_fit_what_is_settled_goes_out_soon() -> None:
    copies, opened = Kept(2000), set()
    for number in range(2 * kept._SPARE + 1):  # fills it with what stays open
        opened.add(name(number))
        copies.add(name(number), bytes(10), opened)
    opened.clear()
    for number in range(1000, 1000 + 3 * kept._SPARE):
        opened.add(name(number))
        copies.add(name(number), bytes(15), opened)
        opened.discard(name(number))
    opened.add(b"last")
    copies.add(b"last", bytes(15), opened)
    assert copies.get(b"last") == bytes(15)
