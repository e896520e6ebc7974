"""One of something is named in the singular, any other number of them in the plural."""

import pytest

from spoe_guard.counted import counted


@pytest.mark.parametrize(("number", "text"), [(0, "0 routes"), (1, "1 route"), (2, "2 routes")])
def test_one_is_singular_and_all_other_numbers_are_plural(number, text):
    assert counted(number, "route") == text


@pytest.mark.parametrize(("number", "text"), [(0, "0 anomalies"), (1, "1 anomaly"), (2, "2 anomalies")])
def test_a_plural_of_its_own_is_used(number, text):
    assert counted(number, "anomaly", "anomalies") == text
