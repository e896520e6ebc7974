"""Events at the agent, the guard and HAProxy while clients send requests, and the paths between HAProxy and the agent."""

import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from spoe_guard.settings.profiles import PROFILES
from tests.agents.catalogue import CATALOGUE
from tests.integration.continuity.stay import Result, Settings, Stay
from tests.integration.generations import Generation
from tests.integration.load import Load
from tests.integration.stage import Stage

PER_SECOND: Final = 200
PATIENT: Final = 100  # clients: so many may wait at a time
CLIENTS: Final = 8
CROWD: Final = 64
EVERY_S: Final = 1.0
AWAY_S: Final = 0.3
AROUND: Final = 100  # requests before and after what happens once
DELAY_MS: Final = (
    0,
    2,
)  # of an answer: at 2.5 ms on average two CPUs could give 800 in a second (dropmore works on two at a time)
IDLE_MS: Final = 15
IDLE_DELAY_MS: Final = (0, 12)
LONG_DELAY_MS: Final = (0, 40)
LINKS: Final = {"LINKS__MAX": "20", "LINKS__IN_FLIGHT": "1"}
UNSENT: Final = {"REDISPATCH": "unsent"}
UNANSWERED: Final = {"REDISPATCH": "unanswered"}


@dataclass(frozen=True)
class Scene:
    """``ways``: by what they are called, the settings beside the profile, None without the guard. ``size``: the least
    that tells anything, and the whole, seconds or requests. ``how``: the agent's.
    """

    agents: tuple[str, ...]
    ways: Mapping[str, Settings | None]
    play: Callable[[Stay, int], Result]
    size: tuple[int, int]
    how: Mapping[str, Any] = field(default_factory=dict)
    profile: bool = True


def _killed(stay: Stay, seconds: int) -> Result:
    with Load(stay.haproxy, PATIENT, None, PER_SECOND) as load:
        stay.wait_seen(load, PER_SECOND)
        before, opened_before = stay.connections()
        for _ in range(seconds):
            began = time.monotonic()
            stay.be_away(AWAY_S)
            # Beside other tests an agent may need longer than EVERY_S for what had waited, and the guard, which gives no NOTIFY
            # to a third agent, would have to give up what meets the next kill as well.
            stay.wait_answered(load)
            time.sleep(max(0.0, EVERY_S - (time.monotonic() - began)))
        stay.wait_seen(load, AROUND)
        after, opened_after = stay.connections()
    stay.result.connections, stay.result.opened = (before, after), opened_after - opened_before
    return stay.judge(load)


def _asked(clients: int) -> Callable[[Stay, int], Result]:
    def play(stay: Stay, requests: int) -> Result:
        with Load(stay.haproxy, clients, requests) as load:
            stay.wait_all(load, requests)
        return stay.judge(load)

    return play


def _told_to_stop(stay: Stay, times: int) -> Result:
    with Load(stay.haproxy, CLIENTS) as load:
        for _ in range(times):
            stay.wait_seen(load, AROUND)
            stay.be_away(AWAY_S, signal.SIGTERM)
        stay.wait_seen(load, AROUND)
    return stay.judge(load)


def _reloaded(stay: Stay, times: int) -> Result:
    with Load(stay.haproxy, CLIENTS) as load:
        for _ in range(times):
            stay.wait_seen(load, AROUND)
            old = stay.haproxy
            stay.haproxy = stay.new_haproxy(old.process.pid)
            load.turn_to(stay.haproxy)
            with suppress(subprocess.TimeoutExpired):
                old.wait_dead(1)
        stay.wait_seen(load, AROUND)
    return stay.judge(load)


def _handed_over(stay: Stay, times: int) -> Result:
    """The successor listens before the guard is told to stop."""
    with Load(stay.haproxy, CLIENTS) as load:
        for _ in range(times):
            stay.wait_seen(load, AROUND)
            old = stay.guard
            assert old is not None
            stay.guard = stay.new_guard(old.address)
            old.terminate()
            assert old.wait_stopped() == 0
        stay.wait_seen(load, AROUND)
    return _over(stay, load)


def _started_again(stay: Stay, times: int) -> Result:
    """The successor listens when the guard is gone."""
    with Load(stay.haproxy, CLIENTS) as load:
        for _ in range(times):
            stay.wait_seen(load, AROUND)
            old = stay.guard
            assert old is not None
            old.terminate()
            assert old.wait_stopped() == 0
            stay.guard = stay.new_guard(old.address)
        stay.wait_seen(load, AROUND)
    return _over(stay, load)


def _over(stay: Stay, load: Load) -> Result:
    stay.haproxy.kill()  # it is older than the last guard, whose sessions have to end before it does
    return stay.judge(load)


WITHOUT: Final = "without the guard"
SCENES: Final = {
    "killed": Scene(
        ("negasus-1.0.7", "criteo-1.0.8", "dropmore-0.1.1"),
        {WITHOUT: None, "redispatch: unsent": UNSENT, "redispatch: unanswered": UNANSWERED},
        _killed,
        (4, 60),
        {"delay_ms": DELAY_MS},
    ),
    "idle": Scene(
        ("criteo-1.0.8",),
        {WITHOUT: None, "redispatch: unanswered": UNANSWERED | {"LINKS__RETIRE": "8ms"}},
        _asked(CLIENTS),
        (1000, 10_000),
        {"delay_ms": IDLE_DELAY_MS, "idle_ms": IDLE_MS},
    ),
    "long": Scene(
        ("criteo-1.0.8",),
        {WITHOUT: None, "redispatch: unanswered, unanswered: empty-ack": UNANSWERED | {"UNANSWERED": "empty-ack"}},
        _asked(CLIENTS),
        (200, 1000),
        {"delay_ms": LONG_DELAY_MS, "idle_ms": IDLE_MS},
    ),
    "SIGTERM": Scene(
        ("criteo-1.0.8",),
        {WITHOUT: None, "redispatch: unanswered": UNANSWERED},
        _told_to_stop,
        (2, 10),
        {"delay_ms": DELAY_MS},
    ),
    "guard started again": Scene(("criteo-1.0.8",), {"as before": {}}, _started_again, (1, 5), {"delay_ms": DELAY_MS}),
    "guard handed over": Scene(("criteo-1.0.8",), {"share_listen: true": {}}, _handed_over, (2, 5), {"delay_ms": DELAY_MS}),
    "reload": Scene(("criteo-1.0.8",), {WITHOUT: None, "with the guard": {}}, _reloaded, (2, 5), {"delay_ms": DELAY_MS}),
    "pipelining": Scene(
        ("dropmore-0.0.6",),
        {WITHOUT: None, "one link": {}, "links: {max: 20, in_flight: 1}": LINKS},
        _asked(CROWD),
        (2000, 100_000),
        {"delay_ms": (0, 0)},
        profile=False,
    ),
}


def play(stage: Stage, name: str, agent: str, way: str, generation: Generation, part: int) -> Result:
    """Play one scene one way. ``part``: of the whole, the n-th."""
    scene = SCENES[name]
    settings = scene.ways[way]
    family = CATALOGUE[agent].family
    if settings is not None and scene.profile:
        settings = {"HELLO__PROFILE": family if family in PROFILES else "none", **settings}
    short, whole = scene.size
    size = max(short, whole // part)
    result = scene.play(Stay(stage, agent, generation, settings, **scene.how), size)
    result.size = size
    return result
