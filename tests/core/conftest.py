"""Runs sessions on both paths, fast and readable, and enables assertion details in the helpers."""

import pytest

pytest.register_assert_rewrite("tests.core.script")

from spoe_guard.core.incoming.haproxy import from_haproxy  # noqa: E402
from spoe_guard.core.payloads.family import Newcomer  # noqa: E402
from spoe_guard.core.terms.family import Family  # noqa: E402
from tests.builds import puts_in_place  # noqa: E402
from tests.core import script  # noqa: E402  behind the rewrite


@pytest.fixture(params=[True, False], ids=["fast", "readable"])
def both_speeds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Play every script twice: what the fast path does the readable one does too."""
    monkeypatch.setattr(script, "FAST", request.param)


class _Known(Newcomer):
    """A HAProxy of which nothing is to be learnt, so that its first NOTIFY goes the fast way, too."""

    def __init__(self, family: Family) -> None:
        super().__init__(family)
        self.decided = True


@pytest.fixture(params=["fast", "readable", pytest.param("fast at once", marks=puts_in_place)])
def all_speeds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, and once more without the first NOTIFYs that tell what HAProxy it is."""
    monkeypatch.setattr(script, "FAST", request.param != "readable")
    if request.param == "fast at once":
        monkeypatch.setattr(from_haproxy, "Newcomer", _Known)
