"""Durations, sizes and rates in HAProxy's notation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoe_guard.settings import units


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1us", 1e-6),
        ("500ms", 0.5),
        ("2s", 2),
        ("10m", 600),
        ("1h", 3600),
        ("24d", 24 * 86400),
        ("250", 0.25),
        (250, 0.25),
        ("0", 0),
    ],
)
def test_durations_are_haproxys(text, seconds):
    assert units.duration(text) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize(("text", "size"), [("256", 256), (256, 256), ("64k", 65536), ("64K", 65536), ("1m", 1048576)])
def test_sizes_are_haproxys(text, size):
    assert units.size(text) == size


@given(st.integers(0, 24 * 86400 * 10**6))
def test_a_duration_is_written_as_it_is_read(microseconds):
    seconds = microseconds / 10**6
    assert units.duration(units.duration_text(seconds)) == pytest.approx(seconds, abs=1e-7)


@given(st.integers(1, 10**9 - 1), st.sampled_from("smh"))
def test_a_rate_is_written_as_it_is_read(lines, unit):
    assert str(units.rate(f"{lines}/{unit}")) == f"{lines}/{unit}"
