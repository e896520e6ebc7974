"""How Hypothesis searches, which tests a build runs, what garbage collection sees, and the summary of skipped tests at the end.

``fast`` plays the same examples each time, SPOE_GUARD_HYPOTHESIS=quick a fifth of them, SPOE_GUARD_HYPOTHESIS=deep looks for new
ones.
"""

import gc
import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, is_hypothesis_test, settings

from tests.builds import COMPILED

_ALL = {
    "deadline": None,
    "print_blob": True,
    "phases": [phase for phase in Phase if phase is not Phase.explain],  # it takes longer than all the rest
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}

settings.register_profile("fast", derandomize=True, database=None, max_examples=100, **_ALL)
settings.register_profile("quick", derandomize=True, database=None, max_examples=20, **_ALL)
settings.register_profile("deep", derandomize=False, max_examples=5000, **_ALL)

PROFILE = os.environ.get("SPOE_GUARD_HYPOTHESIS", "fast")
settings.load_profile(PROFILE)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if COMPILED:
        left_out = [item for item in items if item.get_closest_marker("puts_in_place")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    for item in items:
        if is_hypothesis_test(getattr(item, "obj", None)):
            # The number of examples bounds it: how long they take depends on what else runs, and a failing one is shrunk.
            item.add_marker(pytest.mark.timeout(0), append=False)


def pytest_collection_finish() -> None:
    """Keep what was collected out of garbage collection: a test that looks for what it left behind looks at all objects."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one short table what was skipped and what brings it: each reason ends with the command."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    if reasons:
        terminalreporter.section("skipped")
    for reason, count in reasons.most_common():
        terminalreporter.line(f"{count:5}  {reason}")
