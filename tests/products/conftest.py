"""Fixtures that start real peers."""

import pytest

from tests.integration.conftest import stage
from tests.integration.generations import Generation, find

__all__ = ["at", "stage"]


@pytest.fixture(params=["2.6", "3.2"])
def at(request: pytest.FixtureRequest) -> Generation:
    """An HAProxy of either kind: up to 3.0, and from 3.1 on."""
    return find(request.param)
