"""Parametrizes tests over each way to run the guard in Kubernetes."""

from pathlib import Path

import pytest

from tests.deploy.bundle import WAYS, Bundle, bundle


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Bundle:
    return bundle(request.param, tmp_path)
