"""Real peers for a test."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.generations import generation
from tests.integration.stage import Stage

# Every hazard at every HAProxy and agent takes minutes: `make hazards` plays them.
collect_ignore = [] if os.environ.get("SPOE_GUARD_HAZARDS") else ["hazards"]

__all__ = ["generation", "stage"]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Where HAProxy, the guard and the agent of this test are started."""
    with Stage(tmp_path) as built:
        yield built
    print(built.said)  # pytest shows it where the test failed
