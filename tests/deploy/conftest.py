"""Parametrizes tests over each way to run the guard in Kubernetes."""

import pytest

from tests.deploy.bundle import WAYS, Bundle, bundle


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Bundle:
    return bundle(request.param)
