"""Real agents behind each HAProxy: load, their idle timeout, their stop, and HAProxy's reload."""

import contextlib
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from spoe_guard.settings.profiles import PROFILES
from tests.agents.catalogue import CATALOGUE
from tests.agents.real import AgentProcess
from tests.integration.generations import Generation
from tests.integration.guard import Guard
from tests.integration.haproxy import Haproxy, Options, Seen, free, wait_until
from tests.integration.hazards.road import Road
from tests.integration.load import Load

CLIENTS: Final = 24
CROWD: Final = 96  # clients in the load: so many that HAProxy has several NOTIFYs open on a connection
DELAY_MS: Final = (0, 20)  # of an answer; in the load there is none, so that several are written at the same time
IDLE_MS: Final = 40
IDLE_DELAY_MS: Final = (0, 60)  # longer than the idle timeout: it ends connections on which the agent still has work to do
AROUND: Final = 50  # so many requests before a stop or a reload, and at least so many after it
AWAY_S: Final = 0.4  # between an agent's stop and its successor
REST_S: Final = 0.3  # to see what HAProxy's CPU does when nobody asks for anything
RUN_S: Final = 120.0
STAY_S: Final = 3  # `timeout idle`: what an old HAProxy waits for an agent that does not say goodbye
OPTIONS: Final = Options(processing="2s", spoe=("option continue-on-error",), idle=f"{STAY_S}s")
HOW: Final[dict[str, dict[str, Any]]] = {
    "load": {"delay_ms": (0, 0)},
    "idle": {"delay_ms": IDLE_DELAY_MS, "idle_ms": IDLE_MS},
}
GIVEN_UP: Final = "st=1"  # HAProxy's processing timeout


def fate_of(seen: Seen, path: str) -> str:
    """Say what the client of ``path`` saw."""
    if seen.status == 0:
        return "no HTTP response"
    if seen.echo:
        return "answered" if (seen.echo, seen.allowed) == (path, "1") else "another's answer"
    return f"st={seen.error}" if seen.error else "nothing set, no error"


@dataclass
class Result:
    """What came of one scene.

    ``seen``: what the clients saw, and how often; ``slowest``: the longest that one waited, in seconds. ``given``: how many
    answers the agent wrote to their last byte; ``lost``: how many of them did not reach their client, ``late``: and HAProxy had
    waited for them as long as it does. ``unsent``: requests for which HAProxy sent no NOTIFY. ``haproxy_lives``,
    ``agent_lives``: of the last of each. ``rest_cpu``, ``away_cpu``: HAProxy's share of a core when all is over, and while no
    agent was there. ``gone_s``: how long the old process stayed after a reload, ``stays``: and is still there; ``new_failed``:
    requests to the new one that were not answered.
    """

    seen: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    given: int = 0
    lost: int = 0
    late: int = 0
    unsent: int = 0
    haproxy_lives: bool = True
    agent_lives: bool = True
    rest_cpu: float = 0.0
    away_cpu: float | None = None
    gone_s: float | None = None
    stays: bool = False
    new_failed: int | None = None
    anomalies: Counter[str] = field(default_factory=Counter)


class Scene:
    """One agent, one HAProxy, and what happens to them while clients ask."""

    def __init__(self, cast: "Cast", generation: Generation, *, guarded: bool, requests: int) -> None:
        self._cast = cast
        self._options = replace(OPTIONS, program=generation.program)
        self._target = cast.guard.address if guarded else cast.road.address
        self._requests = requests
        self.result = Result()
        self._stack = ExitStack()

    def play(self, kind: str) -> Result:
        """Play it; ``kind`` is a key of KINDS."""
        with self._stack:
            self._web = self._stack.enter_context(free())
            self._agent(**HOW.get(kind, {}))
            self._haproxy = self._new_haproxy()
            KINDS[kind](self)
            self._judge()
        return self.result

    def _agent(self, **how: Any) -> None:
        cast = self._cast
        agent = AgentProcess(CATALOGUE[cast.name], cast.folder(), **({"delay_ms": DELAY_MS} | how))
        self._process = self._stack.enter_context(agent)
        cast.road.up(self._process.address)

    def _new_haproxy(self, finishes: int | None = None) -> Haproxy:
        options = replace(self._options, web=self._web, finishes=finishes)
        return self._stack.enter_context(Haproxy(self._cast.folder(), self._target, options))

    def _load(self, clients: int = CLIENTS, most: int | None = None) -> Load:
        self.load = Load(self._haproxy, clients, most)
        return self.load

    def _wait(self, more: int) -> None:
        """Wait until so many more requests have been made."""
        self._wait_for(len(self.load.seen) + more)

    def _wait_for(self, enough: int) -> None:
        wait_until(lambda: len(self.load.seen) >= enough or not self._haproxy.alive(), f"{enough} requests", RUN_S)

    def only_load(self, clients: int) -> None:
        with self._load(clients, self._requests):
            self._wait_for(self._requests)

    def stop(self, how: signal.Signals) -> None:
        with self._load():
            self._wait(AROUND)
            self._cast.road.down()
            self._process.process.send_signal(how)
            self._process.process.wait(RUN_S)
            used, began = self._haproxy.cpu_s(), time.monotonic()
            time.sleep(AWAY_S)  # this is the measurement
            self.result.away_cpu = (self._haproxy.cpu_s() - used) / (time.monotonic() - began)
            self._agent()
            self._wait(AROUND)

    def reload(self) -> None:
        with self._load():
            self._wait(AROUND)
            old, began = self._haproxy, time.monotonic()
            self._haproxy = self._new_haproxy(old.process.pid)
            with contextlib.suppress(subprocess.TimeoutExpired):
                old.wait_dead(STAY_S + 1)
            self.result.gone_s, self.result.stays = time.monotonic() - began, old.alive()
            self._wait(AROUND)
        mine = str(self._haproxy.process.pid)
        new = [path for path, seen in self.load.seen.items() if seen.process == mine]
        self.result.new_failed = sum(fate_of(self.load.seen[path], path) != "answered" for path in new)

    def _judge(self) -> None:
        result, seen = self.result, self.load.seen
        result.seen = Counter(fate_of(each, path) for path, each in seen.items())
        result.slowest = max(each.seconds for each in seen.values())
        used, began = self._haproxy.cpu_s(), time.monotonic()
        time.sleep(REST_S)  # this is the measurement
        result.rest_cpu = (self._haproxy.cpu_s() - used) / (time.monotonic() - began)
        given = self._cast.road.answers()
        result.given = len(given)
        missed = Counter(fate_of(seen[path], path) for path in given)
        result.lost, result.late = result.given - missed["answered"], missed[GIVEN_UP]
        result.haproxy_lives, result.agent_lives = self._haproxy.alive(), self._process.alive()


KINDS: Final[dict[str, Callable[[Scene], None]]] = {
    "load": lambda scene: scene.only_load(CROWD),
    "idle": lambda scene: scene.only_load(CLIENTS),
    "SIGTERM": lambda scene: scene.stop(signal.SIGTERM),
    "SIGKILL": lambda scene: scene.stop(signal.SIGKILL),
    "reload": Scene.reload,
}


class Cast:
    """The way to one agent, and the guard in front of it, for many scenes: each has the agent's process and HAProxy anew."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._folder = folder
        self._scenes = 0
        self._stack = ExitStack()
        self.road = self._stack.enter_context(Road())
        family = CATALOGUE[name].family
        settings = {"ROUTES__0__HELLO__PROFILE": family if family in PROFILES else "none"}
        settings["ROUTES__0__HAPROXY__SET_ON_ERROR"] = "error"
        self.guard = self._stack.enter_context(Guard(self.folder(), self.road.address, settings=settings))

    def folder(self) -> Path:
        """Return a new folder."""
        self._scenes += 1
        made = self._folder / str(self._scenes)
        made.mkdir(parents=True)
        return made

    def close(self) -> None:
        """End all of it; the guard's books are checked."""
        self._stack.close()

    def play(self, kind: str, generation: Generation, *, guarded: bool, requests: int) -> Result:
        """Play one scene; ``kind`` is a key of KINDS."""
        self.road.forget()
        before, sent = self.guard.anomalies(), self._received()
        result = Scene(self, generation, guarded=guarded, requests=requests).play(kind)
        if guarded:
            wait_until(lambda: self.guard.metric("spoe_guard_connections_active") == 0, "every session ended")
            result.anomalies = self.guard.anomalies() - before
        result.unsent = result.seen.total() - (self._received() - sent if guarded else len(self.road.asked()))
        return result

    def _received(self) -> int:
        """Return how many NOTIFYs the guard has received so far."""
        return int(self.guard.metric("spoe_guard_frames_total", direction="to_agent", type="notify"))


def kinds(name: str) -> list[str]:
    """Return what is played with that agent."""
    return [kind for kind in KINDS if kind != "idle" or CATALOGUE[name].idle_timeout]


def as_json(result: Result) -> dict[str, Any]:
    """Return it as results.keep takes it."""
    return {**vars(result), "seen": dict(result.seen), "anomalies": dict(result.anomalies)}
