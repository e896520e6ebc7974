"""All incidents, played once for all tests."""

import pytest
from playwright.sync_api import Browser

from tests.integration.oncall.played import Played
from tests.integration.oncall.table import TABLE
from tests.observe.live.conftest import browser
from tests.peers import need

__all__ = ["browser"]


@pytest.fixture(scope="module")
def played(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Cause all at once, listen, cure all, and wait until they are over."""
    need("prometheus")
    return Played(tmp_path_factory.mktemp("oncall"), browser, TABLE)
