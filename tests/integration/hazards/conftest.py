"""The players of the hazard table."""

from collections.abc import Iterator

import pytest

from tests.integration.hazards.play import Company


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    """One agent and one guard for all scenes of a module."""
    players = Company(tmp_path_factory.mktemp("hazards"))
    yield players
    players.close()
