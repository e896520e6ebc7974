"""Ids of which the oldest is at hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoe_guard.core.conversation.by_age import ByAge

ACTS = st.lists(
    st.tuples(st.sampled_from(["add", "add", "discard", "the oldest"]), st.integers(0, 30), st.integers(0, 9)), max_size=150
)


@given(ACTS)
def test_the_oldest_is_at_hand_whatever_was_removed(acts: list[tuple[str, int, int]]) -> None:
    ages, model, added = ByAge(), {}, 0
    for act, number, since in acts:
        ids = b"%d" % number
        if act == "add":
            added += 1
            model[ids] = (float(since), added)
            ages.add(ids, float(since))
        elif act == "discard":
            model.pop(ids, None)
            ages.discard(ids)
        elif model:
            ids = ages.oldest()
            del model[ids]
            ages.discard(ids)
        in_order = sorted(model, key=model.__getitem__)
        assert ages.in_order() == in_order
        assert list(ages) == list(model)
        assert len(ages) == len(model)
        assert ages.since() == (model[in_order[0]][0] if model else math.inf)
        assert not model or ages.oldest() == in_order[0]
        assert all(ids in ages and ages[ids] == model[ids][0] for ids in model)


def test_what_was_removed_is_forgotten_in_the_end() -> None:
    ages = ByAge()
    ages.add(b"stays", 0.0)
    for number in range(1000):
        ages.add(b"%d" % number, 1.0)
        ages.discard(b"%d" % number)
    assert len(ages._heap) <= 21
    assert (ages.oldest(), list(ages)) == (b"stays", [b"stays"])
    ages.clear()
    assert (len(ages), ages.since()) == (0, math.inf)
    with pytest.raises(IndexError):
        ages.oldest()
