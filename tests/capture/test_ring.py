"""The ring keeps the last bytes of one direction; each bound is tested at its limit and one past it."""

import random

import pytest

from spoe_guard.capture.record.entry import ENTRY_BYTES, LEAST_BYTES, Budget, Entry
from spoe_guard.capture.record.hellos import MOST_HELLOS
from spoe_guard.capture.record.ring import MOST_LINKS, PART_BYTES, PARTS, Ring
from spoe_guard.capture.record.tape import HEAD_BYTES
from spoe_guard.lab import frames
from tests.capture.scenes import A, H, notify

LIMIT = 8192
PART = LIMIT // PARTS


def put(ring, data, link_id=0):
    """As a session does with a read that went on as it came."""
    size = HEAD_BYTES + len(data)
    if ring.left < size and not ring.begins_again(size):
        ring.roll(size)
    ring.add(1.0, link_id, data)


def put_apart(ring, data, link_id=0, **more):
    entry = Entry(1.0, link_id, data, 0, to_haproxy=data, **more)
    if ring.left < entry.size():
        ring.roll(entry.size())
    ring.put(entry)


def read_bytes(ring):
    return sum(len(entry.data) for entry in ring.kept())


@pytest.fixture
def ring():
    return Ring(A, LIMIT, Budget(1 << 30))


def hello():
    return frames.haproxy_hello()


def test_a_direction_keeps_its_bound_and_not_a_byte_more(ring):
    for _ in range(PARTS):
        put(ring, b"x" * (PART - HEAD_BYTES))
    assert read_bytes(ring) == LIMIT - PARTS * HEAD_BYTES
    assert not any(entry.lost for entry in ring.kept())
    put(ring, b"y")
    assert read_bytes(ring) == (PARTS - 1) * (PART - HEAD_BYTES) + 1
    assert [entry.lost for entry in ring.kept()] == [PART - HEAD_BYTES] + [0] * (PARTS - 1)
    assert ring.kept()[-1].data == b"y"


@pytest.mark.parametrize(("put", "head"), [(put, HEAD_BYTES), (put_apart, 0)])
@pytest.mark.parametrize("size", [PART - 1, PART, PART + 1, LIMIT // 2, LIMIT])
def test_whatever_the_size_of_reads_the_bound_holds(ring, put, head, size):
    for count in range(1, 3 * PARTS):
        put(ring, b"x" * (size - head))
        kept = len(ring.kept())
        assert kept * size <= LIMIT
        assert kept == count or (kept + 1) * size > LIMIT - PART
        assert kept > 0


def test_what_was_lost_is_said_once_behind_the_hello(ring):
    put(ring, hello())
    count = 200
    for _ in range(count):
        put(ring, b"x" * 100)
    kept = ring.kept()
    [gap] = [entry for entry in kept if entry.lost]
    assert kept.index(gap) == 1
    assert gap.lost + read_bytes(ring) == len(hello()) + count * 100


def test_what_was_lost_is_counted_for_the_link_it_came_on(ring):
    sent = dict.fromkeys((0, 1, 2), 0)
    for number in range(400):
        link_id = 0 if number < 150 else number % 3 if number < 250 or number > 390 else 2
        data = b"x" * (90 + number % 7) if sent[link_id] else hello()
        put(ring, data, link_id)
        sent[link_id] += len(data)
    kept, lost = dict.fromkeys(sent, 0), dict.fromkeys(sent, 0)
    for entry in ring.kept():
        kept[entry.link_id] += len(entry.data)
        lost[entry.link_id] += entry.lost
    assert all(lost.values())
    assert {link_id: kept[link_id] + lost[link_id] for link_id in sent} == sent


def test_a_hello_between_reads_on_another_link_stays(ring):
    put(ring, frames.agent_hello(), link_id=1)
    for _ in range(200):
        put(ring, b"x" * 100, link_id=1)
    put(ring, frames.agent_hello(), link_id=2)
    for _ in range(200):
        put(ring, b"x" * 100, link_id=1)
    assert [entry.link_id for entry in ring.kept() if entry.data == frames.agent_hello()] == [1, 2]


def test_haproxy_has_one_connection_wherever_it_went():
    ring = Ring(H, LIMIT, Budget(1 << 30))
    for number in range(200):
        put(ring, b"x" * 100, link_id=number // 50)
    assert {entry.link_id for entry in ring.kept()} == {0}
    assert {entry.out_link for entry in ring.kept()} == {2, 3}
    assert [entry.lost for entry in ring.kept() if entry.lost] == [200 * 100 - read_bytes(ring)]


@pytest.mark.parametrize(("link_id", "got"), [(0x7FFFFFFF, 0x7FFFFFFF), (0x80000000, 0)])
def test_the_number_of_a_link_has_room_or_begins_again(ring, link_id, got):
    put(ring, b"x", link_id=link_id)
    assert [(entry.link_id, entry.data) for entry in ring.kept()] == [(got, b"x")]


def test_reads_within_the_bound_stay_beside_one_long_read():
    ring = Ring(A, LIMIT + 2 * PART, Budget(1 << 30))
    put(ring, b"x" * (PART - HEAD_BYTES))
    put_apart(ring, b"y" * (LIMIT + 1))
    assert read_bytes(ring) == PART - HEAD_BYTES + LIMIT + 1


@pytest.mark.parametrize(("first", "again"), [(PART, True), (PART // 2 + 1, True), (PART + 1, False), (LIMIT, False)])
def test_memory_of_a_part_is_used_for_one_of_the_same_room(ring, first, again):
    put(ring, b"x" * (first - HEAD_BYTES))
    tape = ring._tape
    seen = []
    for _ in range(2 * PARTS):
        put(ring, b"y" * (PART - HEAD_BYTES))
        seen.append(ring._tape is tape)
    assert any(seen) == again


@pytest.mark.parametrize("put", [put, put_apart])
def test_a_long_read_replaces_another_but_neither_hello_nor_budget_count(ring, put):
    put(ring, b"x" * 5000)
    put_apart(ring, frames.agent_hello(), link_id=1)
    for number in range(3):
        tape, used = ring._tape, ring._budget.used
        put(ring, b"%d" % number * 5000)
        assert ring._tape is tape
        assert [entry.data[:1] for entry in ring.kept() if entry.link_id == 0] == [b"%d" % number]
    assert [entry.data for entry in ring.kept() if entry.link_id == 1] == [frames.agent_hello()]
    assert ring._budget.used == used
    put(ring, b"y")
    assert [len(entry.data) for entry in ring.kept() if entry.link_id == 0] == [5000, 1]
    ring.end()
    assert ring._budget.used == 0


@pytest.mark.parametrize(("first", "stays"), [(5000, True), (5001, False)])
@pytest.mark.parametrize("older", [0, PART - HEAD_BYTES])
def test_beside_a_long_read_only_the_newest_that_fit_stay(first, stays, older):
    ring = Ring(A, LIMIT + 5000, Budget(1 << 30))
    if older:
        put(ring, b"o" * older)
    put(ring, b"x" * (first - HEAD_BYTES))
    put(ring, b"y" * 5000)
    assert [entry.data[:1] for entry in ring.kept()] == ([b"x", b"y"] if stays else [b"y"])


@pytest.mark.parametrize("limit", [LIMIT, LIMIT * 3 // 2])  # a part may be as long as the whole, or not
@pytest.mark.parametrize("seed", range(4))
def test_a_ring_that_begins_again_keeps_what_one_keeps_that_rolls(seed, limit):
    chance = random.Random(seed)
    again, rolls = Ring(A, limit, Budget(1 << 30)), Ring(A, limit, Budget(1 << 30))
    begun = 0
    for number in range(400):
        size = chance.choice((HEAD_BYTES + 1, PART, LIMIT // 2, LIMIT // 2 + 1, LIMIT - 1, LIMIT))
        data, link_id = bytes([number % 251]) * (size - HEAD_BYTES), number // 40 if number % 3 else 0
        if number % 50 == 0:
            data = frames.agent_hello()
        if again.left < len(data) + HEAD_BYTES:
            begins = again.begins_again(len(data) + HEAD_BYTES)
            begun += begins
            if not begins:
                again.roll(len(data) + HEAD_BYTES)
            rolls.roll(len(data) + HEAD_BYTES)
        for ring in (again, rolls):
            ring.add(float(number), link_id, data)
        assert again.kept() == rolls.kept()
        assert (again.left, again._budget.used) == (rolls.left, rolls._budget.used)
    assert begun > 20


@pytest.mark.parametrize("size", [LIMIT // 2, LIMIT // 2 + 1, LIMIT, LIMIT + 1])
def test_a_long_read_replaces_the_last_one_if_both_do_not_fit(ring, size):
    put(ring, frames.agent_hello())
    for number in b"ab":
        put(ring, bytes([number]) * (LIMIT - HEAD_BYTES))
    assert ring.begins_again(size) is (LIMIT // 2 < size <= LIMIT)


def test_a_long_read_replaces_nothing_that_is_more_than_a_read(ring):
    """An anomaly may hang on it, and the HELLO of a link that has none yet."""
    put(ring, b"x" * (LIMIT - HEAD_BYTES))
    assert not ring.begins_again(LIMIT)
    put(ring, b"x" * (LIMIT - HEAD_BYTES))
    assert ring.begins_again(LIMIT)
    put_apart(ring, b"y")
    assert not ring.begins_again(LIMIT)


@pytest.mark.parametrize(("put", "least"), [(put, HEAD_BYTES + 1), (put_apart, LEAST_BYTES)])
def test_many_small_reads_are_bounded_in_number(ring, put, least):
    for _ in range(10 * LIMIT):
        put(ring, b"x")
    assert (PARTS - 1) * (PART // least) <= len(ring.kept()) <= PARTS * (PART // least)


@pytest.mark.parametrize("links", [MOST_HELLOS, MOST_HELLOS + 1])
def test_the_hellos_of_the_newest_links_stay_and_of_no_more(ring, links):
    budget = ring._budget
    for link_id in range(links):
        put(ring, frames.agent_hello(), link_id=link_id)
    for _ in range(100):
        put(ring, b"x" * 100, link_id=links - 1)
    assert [entry.link_id for entry in ring.kept() if entry.data == frames.agent_hello()] == list(range(links))[-MOST_HELLOS:]
    ring.end()
    assert budget.used == 0


def test_a_hello_in_two_parts_stays(ring):
    put(ring, frames.agent_hello()[:10])
    ring.roll(PART)
    put(ring, frames.agent_hello()[10:])
    for _ in range(100):
        put(ring, b"x" * 100)
    assert b"".join(entry.data for entry in ring.kept()[:2]) == frames.agent_hello()


@pytest.mark.parametrize("got", [notify(1), bytes(4), b"GET / HTTP/1.1"], ids=["notify", "runt", "http"])
def test_what_is_no_hello_is_not_kept_as_one(ring, got):
    for byte in got:
        put(ring, bytes((byte,)))
    for _ in range(100):
        put(ring, b"x" * 100)
    assert all(entry.data == b"x" * 100 for entry in ring.kept())
    assert ring.kept()[0].lost == len(got) + 100 * 100 - read_bytes(ring)
    ring.end()
    assert ring._budget.used == 0


@pytest.mark.parametrize("others", [MOST_LINKS - 1, MOST_LINKS])
def test_lost_bytes_are_known_for_a_bounded_number_of_links(ring, others):
    for _ in range(200):
        put(ring, b"x" * 100, link_id=1)
    for link_id in range(2, 2 + others):
        put(ring, b"y", link_id=link_id)
    put(ring, b"x" * 100, link_id=1)
    known = 201 * 100 - sum(len(entry.data) for entry in ring.kept() if entry.link_id == 1)
    assert sum(entry.lost for entry in ring.kept() if entry.link_id == 1) == (known if others < MOST_LINKS else 0)


@pytest.mark.parametrize(("put", "each"), [(put, HEAD_BYTES), (put_apart, ENTRY_BYTES)])
def test_the_budget_is_what_is_kept_and_nothing_at_the_end(put, each):
    budget = Budget(1 << 30)
    ring = Ring(H, LIMIT, budget)
    put_apart(ring, hello())
    for number in range(500):
        put(ring, b"x" * (LEAST_BYTES + number % 300))
        kept = sum(len(entry.data) + each for entry in ring.kept())
        assert kept <= budget.used <= kept + PART + (PARTS + 1) * PART_BYTES + ENTRY_BYTES
    ring.clear()
    assert read_bytes(ring) == 0
    ring.end()
    assert budget.used == 0
