"""Who plays the rows."""

import itertools
from collections.abc import Iterator

import pytest

from tests.integration.silence.played import Players


@pytest.fixture(scope="session")
def players(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Players]:
    """Each row is played once; its tests look at different things."""
    numbers = itertools.count(1)
    players = Players(lambda: tmp_path_factory.mktemp(f"silence-{next(numbers)}"))
    yield players
    players.close()
