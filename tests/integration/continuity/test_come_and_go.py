"""Agents, guards and HAProxys come and go under load: with the guard no request fails that need not.

Without the guard nothing is asserted: it is a measurement. SPOE_GUARD_CONTINUITY names the folder for what the long version
saw (``make continuity``), SPOE_GUARD_CONTINUITY_PART=4 makes it a quarter; an ordinary run plays a short one, with the guard.
"""

import os

import pytest

from tests.integration import generations
from tests.integration.continuity import seen
from tests.integration.continuity.scenes import SCENES, WITHOUT, play
from tests.integration.continuity.stay import ANSWERED, PROCESSING_S

WHOLE = seen.folder() is not None
PART = int(os.environ.get("SPOE_GUARD_CONTINUITY_PART", "1")) if WHOLE else None
AT = ("2.6", "3.2")
# Beyond what the agent was away: of it dropmore, which works on two at a time here, needs up to 0.15 s, the others under 0.1 s.
PROMPT_S = 0.2 if WHOLE else 1.0  # beside an ordinary run other tests take the CPU: only what stalls is told from it


def cases():
    """Return scene, agent, way and HAProxy."""
    return [
        (name, agent, way, at)
        for name, scene in SCENES.items()
        for agent in scene.agents
        for way, settings in scene.ways.items()
        for at in AT
        if WHOLE or settings is not None
    ]


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
    none_is_lost(result, way)
    if not result.failed:
        assert result.slowest <= result.away + PROMPT_S


def none_fails(result, way):
    assert set(result.seen) == {ANSWERED}


def none_is_lost(result, way):
    """Beside other tests the ends of one agent's links may be read further apart than DOUBT_S, and a NOTIFY is given up."""
    if WHOLE:
        none_fails(result, way)
    else:
        assert result.failed <= min(result.given_up, result.seen.total() / 100)


def hardly_any_fails(result, way):
    """One NOTIFY may meet two goodbyes where the agent gets no CPU for longer than its idle timeout."""
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
    "SIGTERM": none_is_lost,
    "guard started again": measured,
    "guard handed over": handed_over,
    "reload": none_fails,
    "pipelining": not_mixed_up,
}
