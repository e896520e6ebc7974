"""The summary of skipped tests at the end of a run."""

from types import SimpleNamespace

import pytest

from tests.conftest import pytest_terminal_summary


def skipped(reason):
    return SimpleNamespace(longrepr=("tests/some.py", 1, f"Skipped: {reason}"))


class Reporter:
    def __init__(self, **stats):
        self.stats = stats
        self.lines = []

    def section(self, title):
        self.lines.append(title)

    def line(self, text):
        self.lines.append(text)


@pytest.mark.parametrize(
    ("stats", "lines"),
    [
        ({"passed": [SimpleNamespace()]}, []),
        (
            {"skipped": [skipped("no Helm: make helm"), *[skipped("HAProxy 2.2 not found: make haproxies")] * 11]},
            ["skipped", "   11  HAProxy 2.2 not found: make haproxies", "    1  no Helm: make helm"],
        ),
    ],
)
def test_each_reason_is_a_line_with_the_command_that_brings_the_tests(stats, lines):
    reporter = Reporter(**stats)
    pytest_terminal_summary(reporter)
    assert reporter.lines == lines
