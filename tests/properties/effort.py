"""How hard the properties are tried: scaled from the Hypothesis profile (tests/conftest.py)."""

from hypothesis import settings

# About 4 ms an example: 800 of them in the fast profile, 40000 in the deep one.
thoroughly = settings(max_examples=8 * settings.default.max_examples)
