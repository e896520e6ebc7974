import math
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spoe_guard.core.conversation import ledger as ledgers
from spoe_guard.core.conversation.ledger import LOSS_MATTERS_S, NOT_OPEN, REMEMBERED, Fate, History, Ledger, key_of
from spoe_guard.core.terms.tally import Tally
from spoe_guard.wire import varint
from tests.builds import puts_in_place

HUGE = varint.encode(2**64 - 1) * 2


def ids(number: int) -> bytes:
    return varint.encode(number) + b"\x01"


def test_nothing_is_known_of_ids_that_never_came() -> None:
    assert History().fate(ids(1)) is Fate.UNKNOWN


@pytest.mark.parametrize(("answered", "lost"), [(False, 1), (True, 0)])
def test_giving_up_settles_and_counts_what_haproxy_never_got(answered: bool, lost: int) -> None:
    history = History()
    history.give_up(ids(1), 7.0, answered=answered)
    assert history.fate(ids(1)) is Fate.GIVEN_UP
    assert history.lost(7.0) == lost


def test_a_loss_matters_as_long_as_haproxy_may_be_waiting_for_it() -> None:
    history = History()
    assert history.lost(0.0) == 0
    history.give_up(ids(1), 7.0, answered=False)
    history.give_up(ids(2), 8.0, answered=False)
    assert history.lost(7.9 + LOSS_MATTERS_S) == 2
    assert history.lost(8.0 + LOSS_MATTERS_S) == 0
    history.give_up(ids(3), 100.0, answered=False)
    assert history.lost(100.0) == 1


def test_a_notify_that_was_never_open_can_be_given_up() -> None:
    history = History()
    history.give_up(ids(1), 7.0, answered=False)
    assert history.fate(ids(1)) is Fate.GIVEN_UP


def test_the_oldest_is_the_one_opened_first_and_still_open() -> None:
    ledger = Ledger()
    for at, number in enumerate((9, 3, 7)):
        ledger.add(ids(number), float(at))
    assert ledger.oldest() == ids(9)
    ledger.pop(ids(9))
    assert ledger.oldest() == ids(3)


@pytest.mark.parametrize("settled", [1, REMEMBERED - 1, REMEMBERED, REMEMBERED + 1, 10 * REMEMBERED + 1])
def test_the_last_512_settled_are_remembered_and_no_more(settled: int) -> None:
    history = History()
    for number in range(settled):
        history.remember(ids(number), Fate.ANSWERED)
    known = [number for number in range(settled) if history.fate(ids(number)) is Fate.ANSWERED]
    assert known == list(range(max(0, settled - REMEMBERED), settled))


def test_of_ids_settled_twice_the_last_time_counts() -> None:
    history = History()
    for fate in (Fate.ANSWERED, Fate.GIVEN_UP, Fate.ANSWERED):
        history.remember(ids(7), fate)
        history.remember(HUGE, fate)
        assert history.fate(ids(7)) is history.fate(HUGE) is fate


@pytest.mark.parametrize("more", [0, 1])
def test_of_ids_that_have_no_key_as_many_are_remembered(more: int) -> None:
    history = History()
    for number in range(REMEMBERED + more):
        history.remember(varint.encode(2**40 + number) + b"\1", Fate.GIVEN_UP)
    assert history.fate(varint.encode(2**40) + b"\1") is (Fate.UNKNOWN if more else Fate.GIVEN_UP)
    assert history.fate(varint.encode(2**40 + 1) + b"\1") is Fate.GIVEN_UP


def test_ids_are_compared_in_full_width() -> None:
    history = History()
    history.remember(ids(7), Fate.ANSWERED)
    assert history.fate(ids(7 + 2**32)) is Fate.UNKNOWN


# --- what is open, against a dict ---------------------------------------------------------------------------------------

NUMBERS = [0, 1, 7, 239, 240, 2287, 2288, 2**32 - 1, 2**32, 4328786159, 4328786160, 2**64 - 1]
SOME_IDS = st.one_of(
    st.builds(lambda stream, at: varint.encode(stream) + varint.encode(at), st.sampled_from(NUMBERS), st.sampled_from(NUMBERS)),
    st.builds(ids, st.integers(1, 60)),
)
ACTS = st.lists(
    st.tuples(st.sampled_from(["add", "add", "add", "pop", "pop the oldest", "clear"]), SOME_IDS, st.integers(0, 9)), max_size=200
)


def has_key(known: bytes) -> bool:
    stream_id, at = varint.decode(known, 0, len(known))
    frame_id, _ = varint.decode(known, at, len(known))
    return stream_id <= 4328786159 and frame_id <= 33818863 and (stream_id, frame_id) != (0, 0)


def agrees(ledger: Ledger, model: dict[bytes, float], copies: dict[bytes, bytes | None]) -> None:
    in_order = [known for known in model if has_key(known)] + [known for known in model if not has_key(known)]
    assert list(ledger) == in_order
    assert ledger.items() == [(known, model[known]) for known in in_order]
    assert len(ledger) == len(model)
    assert bool(ledger) is bool(model)
    assert ledger.since() == min(model.values(), default=math.inf)
    assert not model or model[ledger.oldest()] == min(model.values())
    assert {known: ledger.copy(known) for known in ledger} == copies
    assert ledger.kept == sum(len(copy or b"") for copy in copies.values())


@given(ACTS, st.sampled_from([0, 100, 1 << 20]), st.booleans())
@example([("add", ids(number), 1) for number in range(1, 18)], 1 << 20, False)  # one more than the table has room for at first
def test_it_is_a_dict_of_times_in_order(acts: list[tuple[str, bytes, int]], most_kept: int, in_turn: bool) -> None:
    ledger, model, copies = Ledger(), {}, {}
    ledger.most_kept = most_kept
    for now, (act, known, number) in enumerate(acts):
        if act == "clear":
            ledger.clear()
            model.clear()
            copies.clear()
        elif act == "pop the oldest" and model:
            oldest = ledger.oldest()
            assert ledger.pop(oldest) == model.pop(oldest)
            del copies[oldest]
        elif act == "pop" and known in model:
            assert ledger[known] == model[known]
            assert ledger.pop(known) == model.pop(known)
            del copies[known]
        elif known in model:
            assert known in ledger
        else:
            assert known not in ledger
            with pytest.raises(KeyError):
                ledger.pop(known)
            since = float(now if in_turn else number)
            copy = b"x" * 10 * number
            fits = sum(len(each or b"") for each in copies.values()) + len(copy) <= most_kept
            ledger.add(known, since, copy)
            model[known], copies[known] = since, copy if fits else None
        agrees(ledger, model, copies)


@pytest.mark.parametrize("count", [2, 16, 17, 1024, 1025, 5000])
def test_many_are_open_at_once_and_settled_in_any_order(count: int) -> None:
    ledger = Ledger()
    for turn in range(3):
        for number in range(1, count + 1):
            assert ledger.open(key_of(ids(number)), float(turn), None)
            assert not ledger.open(key_of(ids(number)), 9.0, None)
        assert list(ledger) == [ids(number) for number in range(1, count + 1)]
        order = random.Random(turn).sample(range(1, count + 1), count)
        for left, number in enumerate(order, 1):
            assert ledger.settle(key_of(ids(number))) == float(turn)
            assert ledger.settle(key_of(ids(number))) == NOT_OPEN
            assert len(ledger) == count - left
        assert not list(ledger)


def test_the_oldest_is_found_at_once_however_many_were_settled_behind_it() -> None:
    """The place of the oldest is looked up, not searched for: what is settled behind it is cleared away by the way."""
    ledger = Ledger()
    ledger.add(ids(1), 0.0)
    for number in range(2, 3000):
        ledger.add(ids(number), float(number))
        if number > 2:
            ledger.pop(ids(number - 1))
    assert ledger.oldest() == ids(1)
    assert ledger.since() == 0.0
    assert list(ledger) == [ids(1), ids(2999)]


@pytest.mark.parametrize(("size", "fits"), [(90, True), (91, False)])
def test_as_many_bytes_are_kept_as_may_and_not_one_more(size: int, fits: bool) -> None:
    ledger = Ledger()
    ledger.most_kept = 100
    ledger.add(ids(1), 0.0, bytes(10))
    ledger.add(ids(2), 0.0, bytes(size))
    assert (ledger.copy(ids(2)) is not None) is fits
    assert ledger.copy(ids(1)) == bytes(10)
    assert ledger.kept == (100 if fits else 10)


def test_nothing_is_kept_where_nothing_may_be() -> None:
    ledger = Ledger()
    ledger.add(ids(1), 0.0, b"x")
    assert ledger.copy(ids(1)) is None
    ledger.add(HUGE, 0.0, b"x")
    assert ledger.copy(HUGE) is None


def test_ids_that_cannot_be_read_are_not_open() -> None:
    assert b"\xff" not in Ledger()
    assert b"" not in Ledger()


def test_what_is_open_is_counted_once_for_session_and_route() -> None:
    tally = Tally()
    history = History(tally)
    first, second = Ledger(history), Ledger(history)
    for at, ledger in enumerate((first, first, second), 1):
        ledger.add(ids(at), 1.0)
    second.add(HUGE, 1.0)
    assert (history.open, tally.open_notifies) == (4, 4)
    first.pop(ids(1))
    second.pop(HUGE)
    assert (history.open, tally.open_notifies) == (2, 2)
    assert first.settle(key_of(ids(9))) == NOT_OPEN
    first.clear()
    second.clear()
    assert (history.open, tally.open_notifies) == (0, 0)
    assert (first.opened, second.opened) == (2, 2)


def test_the_oldest_that_came_late_is_found_behind_settled_ones() -> None:
    ledger = Ledger()
    ledger.add(ids(1), 1000.0)
    ledger.add(ids(2), 100.0)
    for number in range(3, 200):
        ledger.add(ids(number), float(number))
        assert ledger.since() == min(100.0, number)
        ledger.pop(ids(number))
        assert (ledger.oldest(), ledger.since()) == (ids(2), 100.0)
    ledger.pop(ids(2))
    assert (ledger.oldest(), ledger.since()) == (ids(1), 1000.0)


@pytest.mark.parametrize(("most", "large"), [(1, 0), (3, 0), (9, 0), (1, 1), (3, 1), (9, 1)])
def test_the_last_that_came_are_told_past_those_that_were_settled(most: int, large: int) -> None:
    ledger = Ledger()
    for number in range(1, 9):
        ledger.add(ids(number), 1.0)
    for number in (1, 5, 8):
        ledger.pop(ids(number))
    if large:
        ledger.add(HUGE, 1.0)
    assert ledger.last(most) == [*map(ids, (2, 3, 4, 6, 7)), *[HUGE] * large][-most:]


def test_the_last_that_came_may_be_the_only_one() -> None:
    ledger = Ledger()
    assert ledger.last(2) == []
    ledger.add(ids(1), 1.0)
    assert ledger.last(2) == ledger.last(1) == [ids(1)]
    ledger.add(HUGE, 1.0)
    assert ledger.last(1) == [HUGE]


@puts_in_place
@pytest.mark.parametrize("step", [1, 2])
def test_no_number_makes_the_ids_that_haproxy_counts_collide(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Multiplied alone, they lie close together with some numbers, and each NOTIFY is looked for at many places."""
    chance = random.Random(7)
    count = 1024
    for _ in range(60):
        monkeypatch.setattr(ledgers, "_SALT", chance.getrandbits(64) | 1)
        ledger = Ledger()
        for number in range(1, 1 + step * count, step):
            ledger.add(ids(number), 0.0)
        table = ledger._table
        slots = [slot for slot, place in enumerate(table._index) if place]
        far = [(slot - table._home(table._keys[table._index[slot] - 1])) & (len(table._index) - 1) for slot in slots]
        assert len(far) == count
        assert sum(far) < 2 * count
