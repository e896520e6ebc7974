"""Which build of the guard the tests run on, and what a test may do on one only."""

import os

import pytest

from spoe_guard.about import about

EXPECTED = os.environ.get("SPOE_GUARD_EXPECT_BUILD", "pure")  # that they do is asserted by test_build.py
COMPILED = about()["compiled"] == "true"

# A mark for tests that put something else in the place of a function, to see what happens then.
puts_in_place = pytest.mark.skipif(
    COMPILED,
    reason="compiled functions call each other directly, past whatever a test puts in their place; the pure build is asked",
)
