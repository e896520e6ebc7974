"""Which build of the guard the tests run on, and which tests need a particular build."""

import os

import pytest

from spoe_guard.about import about

EXPECTED = os.environ.get("EXPECTED_BUILD", "pure")  # that they do is asserted by test_build.py
LANE_ALONE = EXPECTED in ("checked", "asan")  # see setup.py
SAID = "pure" if EXPECTED == "pure" else "compiled"  # by `spoe-guard version`
COMPILED = about()["compiled"] == "true"

# For tests that put something else in the place of a function. They are the pure build's alone (see conftest.py): compiled
# functions call each other directly, past whatever a test puts in their place.
puts_in_place = pytest.mark.puts_in_place
