"""Sessions are played at both speeds, and the helpers' own asserts explain themselves too."""

import pytest

pytest.register_assert_rewrite("tests.core.script")

from tests.core import script  # noqa: E402  behind the rewrite


@pytest.fixture(params=[True, False], ids=["fast", "readable"])
def both_speeds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Play every script twice: what the fast path does the readable one does too."""
    monkeypatch.setattr(script, "FAST", request.param)
