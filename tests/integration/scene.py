"""The scene for runs with and without the guard: a warm-up, a burst of NOTIFYs, and an agent that misbehaves on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pytest

from spoe_guard.lab.agent import Script, ScriptedAgent
from spoe_guard.lab.frames import first_argument
from spoe_guard.lab.misbehaviour import MISBEHAVIOURS
from tests.integration.guard import Guard
from tests.integration.haproxy import Haproxy, Options, Seen, wait_until
from tests.integration.stage import Stage

WARM_UP = 8  # so many NOTIFYs in a second, and HAProxy sends a burst of fewer over the connection that it has
PATHS = ("/0", "/1", "/2")  # open when the agent goes wrong
ATTEMPTS = 3
SYNC = Options(spoe=("no option pipelining", "no option async"))  # one NOTIFY at a time per connection


@dataclass
class Scene:
    """What is on stage after the agent went wrong. ``seen``: what each client saw, in the order of the paths it asked for."""

    haproxy: Haproxy
    agent: ScriptedAgent
    guard: Guard | None
    seen: list[Seen]

    def answered(self) -> set[str]:
        """Return the paths that the agent answered: whatever it had to say about them, it said whole."""
        return {first_argument(notify).decode() for notify in self.agent.answered}


def misbehave(
    stage: Stage,
    name: str,
    *,
    guarded: bool,
    paths: Sequence[str] = PATHS,
    options: Options | None = None,
    give_up: str = "0",
    settings: dict[str, str] | None = None,
) -> Scene:
    """Let the agent go wrong as ``name`` says while ``paths`` are open, all of them on one connection.

    ``settings``: others of the guard's. ``give_up``: its ``links.give_up``; with 0 HAProxy's connection ends with the agent's.
    On a busy machine HAProxy may spread the burst over two connections, on which the agent then waits in vain: that is not
    the scene, and it is set again.
    """
    for _ in range(ATTEMPTS):
        told = {"ROUTES__0__LINKS__GIVE_UP": give_up, **(settings or {})}
        scene = _play(stage, name, told if guarded else None, paths, options)
        if scene.agent.played:
            if guarded:  # without the guard HAProxy may reset the connection before the agent has written them all
                answered = WARM_UP + len(paths) - MISBEHAVIOURS[name].unanswered
                wait_until(partial(_has_answered, scene.agent, answered), f"the agent gave {answered} answers")
            return scene
    pytest.fail(f"HAProxy never sent {len(paths)} NOTIFYs over one connection")


def _has_answered(agent: ScriptedAgent, count: int) -> bool:
    return len(agent.answered) == count


def _play(stage: Stage, name: str, settings: dict[str, str] | None, paths: Sequence[str], options: Options | None) -> Scene:
    agent = stage.agent(Script(MISBEHAVIOURS[name], on_notify=WARM_UP + 1, hold=len(paths)))
    guard = stage.guard(agent.address, settings=settings) if settings else None
    haproxy = stage.haproxy(guard.address if guard else agent.address, options)
    for i in range(WARM_UP):
        assert haproxy.get(f"/warm-up/{i}").verdict == f"/warm-up/{i}"
    return Scene(haproxy, agent.agent, guard, haproxy.get_all(paths))
