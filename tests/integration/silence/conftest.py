"""Who plays the rows."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.silence.played import Players


@pytest.fixture(scope="session")
def players(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Players]:
    """Each row is played once; its tests look at different things."""
    home, numbers = tmp_path_factory.mktemp("silence"), itertools.count(1)

    def folder() -> Path:
        (made := home / str(next(numbers))).mkdir()
        return made

    players = Players(folder)
    yield players
    players.close()
