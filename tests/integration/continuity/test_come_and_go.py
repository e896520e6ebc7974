"""Agents, guards and HAProxys come and go under load: with the guard no request fails that need not.

A measurement, for `make continuity`: how long clients wait is counted in milliseconds, and what a busy machine does to that is no
fault of the guard's. Without the guard nothing is asserted. SPOE_GUARD_CONTINUITY names the folder for what was seen,
SPOE_GUARD_CONTINUITY_PART=4 plays a quarter.
"""

import os

import pytest

from tests.integration import generations
from tests.integration.continuity import seen
from tests.integration.continuity.scenes import SCENES, WITHOUT, play
from tests.integration.continuity.stay import ANSWERED, PROCESSING_S

PART = int(os.environ.get("SPOE_GUARD_CONTINUITY_PART", "1"))
AT = ("2.6", "3.2")
# Beyond what the agent was away: of it dropmore, which works on two at a time here, needs up to 0.15 s, the others under 0.1 s.
PROMPT_S = 0.2

pytestmark = pytest.mark.measure


def cases():
    """Return scene, agent, way and HAProxy."""
    return [(name, agent, way, at) for name, scene in SCENES.items() for agent in scene.agents for way in scene.ways for at in AT]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("name", "agent", "way", "at"), cases())
def test_requests_are_answered(name, agent, way, at, stage):
    result = play(stage, name, agent, way, generations.find(at), PART)
    seen.keep(name, agent, way, at, result)
    print(result)
    if way == WITHOUT:
        return
    assert result.seen["another's answer"] == 0
    assert result.seen["no HTTP response"] == 0
    CHECKS[name](result, way)


def killed(result, way):
    # A NOTIFY on its way to the tap when the agent went is in the guard's count alone.
    assert result.beyond == 0 or result.failed <= result.given_up
    assert result.closed == 0
    if way != "redispatch: unanswered":
        return
    none_fails(result, way)
    assert result.slowest <= result.away + PROMPT_S


def none_fails(result, way):
    assert set(result.seen) == {ANSWERED}


def hardly_any_fails(result, way):
    """One NOTIFY may meet two DISCONNECTs where the agent gets no CPU for longer than its idle timeout."""
    assert result.failed <= result.seen.total() / 50


def none_stalls(result, way):
    assert result.seen["st=1"] == 0
    assert result.slowest < PROCESSING_S / 2


def not_mixed_up(result, way):
    if way != "one link":
        none_fails(result, way)
        assert result.anomalies.keys() <= {"hello_capability"}  # this release announces what it was not offered


def measured(result, way):
    assert result.seen[ANSWERED] > 0


def handed_over(result, way):
    none_fails(result, way)
    none_stalls(result, way)


CHECKS = {
    "killed": killed,
    "idle": hardly_any_fails,
    "long": none_stalls,
    "SIGTERM": none_fails,
    "guard started again": measured,
    "guard handed over": handed_over,
    "reload": none_fails,
    "pipelining": not_mixed_up,
}
