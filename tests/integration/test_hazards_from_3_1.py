"""Faults that HAProxy 3.1 and later suffers from but 2.6 tolerates, with and without the guard. Measured on Debian's 3.2."""

import pytest

from tests.integration import generations
from tests.integration.haproxy import Options
from tests.integration.scene import PATHS, misbehave


@pytest.fixture
def options():
    return Options(program=generations.find("3.2").program)


def test_an_ack_that_nobody_asked_for_costs_every_answer_behind_it(stage, options):
    """mux_spop.c goes into its error state, throws away what it has read, and tells nobody: the requests time out (st=1)."""
    scene = misbehave(stage, "stray_ack", guarded=False, options=options)
    assert [(each.verdict, each.error) for each in scene.seen] == [("", "1")] * len(PATHS)


def test_with_the_guard_it_costs_none(stage, options):
    scene = misbehave(stage, "stray_ack", guarded=True, options=options)
    assert [each.verdict for each in scene.seen] == list(PATHS)
    assert scene.guard.anomalies() == {"unmatched_ack": 1}
