"""NOTIFYs that wait for an agent link."""

import math

import pytest

from spoe_guard.core.conversation.parking import Parked, Parking


def parked(name: str, since: float = 1.0, *, again: bool = False, ours: bool = False, size: int = 10) -> Parked:
    return Parked(name.encode(), bytes(size), since, again=again, ours=ours)


def names(parking: Parking) -> list[str]:
    return [waits.ids.decode() for waits in parking]


def test_an_empty_parking_holds_nothing_and_rings_never() -> None:
    parking = Parking(2, 100)
    assert (len(parking), parking.bytes, parking.held, parking.since()) == (0, 0, 0, math.inf)
    assert b"a" not in parking
    assert parking.find(b"a") is None


def test_notifies_leave_in_the_order_in_which_they_came() -> None:
    parking = Parking(9, 1000)
    for name in "abc":
        assert parking.add(parked(name))
    assert parking.first().ids == b"a"
    assert parking.take(b"b").ids == b"b"
    assert names(parking) == ["a", "c"]


def test_what_a_link_had_before_comes_before_the_rest() -> None:
    parking = Parking(9, 1000)
    parking.add(parked("a"))
    parking.add(parked("b", again=True))
    assert names(parking) == ["b", "a"]
    assert parking.first().ids == b"b"


def test_notifies_of_several_links_return_in_haproxys_order() -> None:
    parking = Parking(9, 1000)
    for name, since in (("c", 3.0), ("a", 1.0), ("b", 2.0)):
        parking.add(parked(name, since, again=True))
    assert names(parking) == ["a", "b", "c"]
    parking.take(b"a")
    parking.add(parked("d", 0.5, again=True))
    assert parking.first().ids == b"d"
    assert parking.since() == 0.5


@pytest.mark.parametrize(("again", "first", "oldest"), [(5.0, 4.0, b"first"), (4.0, 5.0, b"again")])
def test_the_oldest_is_the_one_haproxy_sent_first_whoever_had_it(again: float, first: float, oldest: bytes) -> None:
    parking = Parking(9, 1000)
    parking.add(parked("first", first))
    parking.add(parked("again", again, again=True))
    assert parking.oldest().ids == oldest
    assert parking.since() == 4.0


def test_what_waits_is_found_wherever_it_waits() -> None:
    parking = Parking(9, 1000)
    parking.add(parked("a"))
    parking.add(parked("b", again=True))
    for ids in (b"a", b"b"):
        assert ids in parking
        found = parking.find(ids)
        assert found is not None
        assert found.ids == ids


def test_as_many_wait_as_may_and_not_one_more() -> None:
    parking = Parking(2, 1000)
    assert parking.add(parked("a"))
    assert parking.add(parked("b", again=True))
    assert not parking.add(parked("c"))
    assert not parking.add(parked("c", again=True))
    parking.take(b"a")
    assert parking.add(parked("c"))


def test_as_many_bytes_wait_as_may_and_not_one_more() -> None:
    parking = Parking(9, 30)
    assert parking.add(parked("a", size=20))
    assert not parking.add(parked("b", size=11))
    assert parking.add(parked("b", size=10))
    assert parking.bytes == 30
    assert b"b" in parking


def test_only_bytes_of_haproxys_own_are_held() -> None:
    parking = Parking(9, 1000)
    parking.add(parked("a", size=20))
    parking.add(parked("b", size=10, ours=True))
    assert (parking.bytes, parking.held) == (30, 20)
    parking.take(b"a")
    assert (parking.bytes, parking.held) == (10, 0)
    parking.take(b"b")
    assert (parking.bytes, parking.held) == (0, 0)
