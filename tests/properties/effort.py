"""How many examples the properties run: scaled from the Hypothesis profile (tests/conftest.py)."""

import pytest
from hypothesis import settings

# About 5 ms an example: 400 of them in the fast profile, 20000 in the deep one.
thoroughly = settings(max_examples=4 * settings.default.max_examples)

# About 10 ms an example of up to 40 steps.
stateful = settings(max_examples=6 * settings.default.max_examples, stateful_step_count=40)

marks = [
    pytest.mark.timeout(0),  # the number of examples is the bound: how long they take depends on what else runs
    pytest.mark.filterwarnings("ignore:Generating overly large repr"),  # of a conversation with an oversize frame in it
]
