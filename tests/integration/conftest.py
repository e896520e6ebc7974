"""Fixtures that start real peers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.generations import generation
from tests.integration.stage import Stage

__all__ = ["generation", "stage"]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Where HAProxy, the guard and the agent of this test are started."""
    with Stage(tmp_path) as built:
        yield built
    print(built.output)  # pytest shows it where the test failed
