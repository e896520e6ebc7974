"""What is known of an address, and the order in which a dial tries several."""

from collections import Counter

import pytest

from spoe_guard.address import Address
from spoe_guard.core.conversation.ledger import History, Ledger
from spoe_guard.net import standing
from spoe_guard.net.standing import (
    COUNT_AGAIN_S,
    LATE_S,
    LEAST_SHARE,
    LONGEST_S,
    LONGEST_SILENT_S,
    SHORTEST_S,
    SILENT_S,
    SLOW_START_S,
    Standing,
    in_order,
)

A, B, C = (Address("127.0.0.1", port) for port in (1, 2, 3))
NOW = 1000.0


class Link:
    def __init__(self, address=A):
        self.address = address


@pytest.fixture
def known(monkeypatch):
    monkeypatch.setattr(standing.random, "random", lambda: 0.0)
    return {address: Standing() for address in (A, B, C)}


def order(known, balance="first", *, now=NOW, avoid=(), asked=True):
    return in_order((A, B, C), known, now, balance, avoid, asked=asked)


def chosen(known, balance, count, now=NOW):
    """Return how often each address was the first one, of ``count`` dials of which each is over before the next."""
    return Counter(order(known, balance, now=now)[0] for _ in range(count))


def with_open(count, heard=0.0):
    ledger = Ledger(History())
    for number in range(count):
        ledger.add(bytes((1, number)), NOW)
    ledger.heard = heard
    return ledger


def back(known, address, at):
    """The address was away, and has got the link that it gets at once."""
    known[address].failed(at - 1.0)
    known[address].answered(at)
    known[address].returned = False


def test_the_first_that_is_well_comes_first(known):
    assert order(known) == [A, B, C]
    known[A].failed(NOW)
    assert order(known) == [B, C, A]
    known[A].answered(NOW)
    assert order(known) == [A, B, C]


@pytest.mark.parametrize("balance", ["first", "least-open", "round-robin"])
def test_those_to_be_avoided_come_between_the_well_and_the_down(known, balance):
    known[C].failed(NOW)
    assert order(known, balance, avoid={A}) == [B, A, C]
    known[B].failed(NOW)
    assert order(known, balance, avoid={A}) == [A, B, C]
    known[A].failed(NOW)
    assert order(known, avoid={A}) == [A, B, C]


def test_where_nobody_asks_a_dial_finds_out_once_the_pause_is_over(known):
    known[A].failed(NOW)
    for asked in (True, False):
        assert order(known, now=NOW + SHORTEST_S - 0.001, asked=asked) == [B, C, A]
    assert order(known, now=NOW + SHORTEST_S, asked=True) == [B, C, A]
    assert order(known, now=NOW + SHORTEST_S, asked=False) == [A, B, C]
    known[A].failed(NOW + 1000.0)
    assert known[A].retry_at == NOW + 1000.0 + LONGEST_S


def test_a_dial_that_takes_long_lets_others_be_preferred(known):
    known[A].making[Link()] = NOW
    known[A].making[Link()] = NOW + LATE_S
    assert order(known, now=NOW + LATE_S) == [A, B, C]
    assert order(known, now=NOW + LATE_S + 0.001) == [B, C, A]
    known[A].making.clear()
    assert order(known, now=NOW + LATE_S + 0.001) == [A, B, C]


def test_round_robin_takes_the_next_at_each_dial(known):
    assert [order(known, "round-robin")[0] for _ in range(6)] == [A, B, C, A, B, C]
    known[B].failed(NOW)
    assert [order(known, "round-robin")[0] for _ in range(4)] == [A, C, A, C]


def test_the_processes_of_a_guard_begin_with_different_addresses(monkeypatch):
    biases = iter((0.1, 0.9, 0.5))
    monkeypatch.setattr(standing.random, "random", lambda: next(biases))
    known = {address: Standing() for address in (A, B, C)}
    assert order(known, "least-open") == [B, A, C]
    assert [order(known, "round-robin")[0] for _ in range(6)] == [B, C, A, B, C, A]


def test_least_open_takes_the_fewest_notifies_then_the_fewest_links(known):
    known[A].links[Link()] = with_open(2)
    known[B].links |= {Link(): with_open(1), Link(): with_open(0), Link(): None}
    known[C].links[Link()] = with_open(1)
    assert [known[address].open_notifies for address in (A, B, C)] == [2, 1, 1]
    assert order(known, "least-open") == [C, A, B]
    known[C].links[Link()] = with_open(3)
    assert order(known, "least-open", now=NOW + COUNT_AGAIN_S - 0.001) == [C, A, B]
    assert order(known, "least-open", now=NOW + COUNT_AGAIN_S) == [B, A, C]


def test_a_link_in_the_making_counts_as_one_notify(known):
    """It was dialled for one; and of many that are dialled at once each address gets its part."""
    found = Counter()
    for _ in range(30):
        first = order(known, "least-open")[0]
        known[first].making[Link(first)] = NOW
        found[first] += 1
    assert found == {A: 10, B: 10, C: 10}


def test_a_link_that_is_connected_and_in_the_making_is_one(known):
    link = Link()
    known[A].links[link], known[A].making[link] = with_open(0), NOW
    assert known[A].load(NOW) == (2.0, 2.0, 0.0)


@pytest.mark.parametrize("balance", ["round-robin", "least-open"])
@pytest.mark.parametrize(
    ("after_s", "share"), [(0.0, LEAST_SHARE), (SLOW_START_S / 2, 0.5), (SLOW_START_S, 1.0), (SLOW_START_S * 9, 1.0)]
)
def test_an_address_that_comes_back_has_a_share_that_grows(known, balance, after_s, share):
    back(known, A, NOW)
    now = NOW + after_s
    assert known[A].share(now) == pytest.approx(share)
    found = Counter()
    count = 210
    for _ in range(count):
        first = order(known, balance, now=now)[0]
        known[first].making[Link()] = now
        found[first] += 1
    assert abs(found[A] - count * share / (2 + share)) <= 1
    assert abs(found[B] - found[C]) <= 1


@pytest.mark.parametrize("balance", ["round-robin", "least-open"])
def test_an_address_that_comes_back_gets_the_next_link_at_once(known, balance):
    """There may be few connections, and they may last for hours."""
    for address in (A, B):
        known[address].failed(NOW)
    assert chosen(known, balance, 9) == {C: 9}
    known[C].failed(NOW)
    for address in (A, B, C):
        known[address].answered(NOW)
        known[address].answered(NOW)
    found = []
    for _ in range(3):
        found.append(order(known, balance)[0])
        known[found[-1]].making[Link()] = NOW
    assert set(found) == {A, B, C}
    assert order(known, "first")[0] == A


def test_with_first_an_address_that_comes_back_has_all_at_once(known):
    back(known, A, NOW)
    assert chosen(known, "first", 10) == {A: 10}


def test_an_address_that_was_never_away_has_its_whole_share(known):
    known[A].answered(NOW)
    assert known[A].share(NOW) == 1.0


def test_turns_that_were_missed_are_not_made_up_for(known):
    order(known, "round-robin")  # A
    known[B].failed(NOW)
    chosen(known, "round-robin", 7)
    known[B].answered(NOW)
    assert chosen(known, "round-robin", 11)[B] == 2


def test_a_check_counts_only_a_while_after_missed_deadlines(known):
    known[A].silent(NOW)
    assert known[A].down
    assert not known[A].may_return(NOW + SILENT_S - 0.001)
    assert known[A].may_return(NOW + SILENT_S)
    known[B].failed(NOW)
    assert known[B].may_return(NOW)


def test_one_that_is_silent_again_waits_longer_within_a_bound(known):
    now, waits = NOW, []
    for _ in range(6):
        known[A].silent(now)
        wait = next(step for step in range(100) if known[A].may_return(now + step))
        waits.append(wait)
        now += wait
        known[A].answered(now)
        now += LONGEST_SILENT_S - 1
    assert waits == [5, 10, 20, 40, 60, 60]
    assert waits[-1] == LONGEST_SILENT_S
    known[A].silent(now + 1)  # so long after it came back
    assert known[A].may_return(now + 1 + SILENT_S)


def test_what_any_link_brought_is_heard(known):
    known[A].links |= {Link(): with_open(1, heard=NOW - 5), Link(): None}
    assert known[A].heard_since(NOW - 6)
    assert not known[A].heard_since(NOW - 5)


def test_an_address_is_used_while_a_link_is_there(known):
    assert not known[A].used
    known[A].making[Link()] = NOW
    known[B].links[Link()] = None
    assert (known[A].used, known[B].used) == (True, True)
