"""One agent that comes and goes, HAProxy with clients that keep sending requests, and the path between the two."""

import signal
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from tests.agents.catalogue import CATALOGUE
from tests.agents.real import AgentProcess
from tests.integration.generations import Generation
from tests.integration.guard import Guard
from tests.integration.haproxy import Haproxy, Options, free, wait_until
from tests.integration.hazards.crowd import fate_of
from tests.integration.hazards.road import Road
from tests.integration.load import Load
from tests.integration.stage import Stage

PROCESSING_S: Final = 2  # what HAProxy waits for an answer
OPTIONS: Final = Options(processing=f"{PROCESSING_S}s", idle="30s", spoe=("option continue-on-error",))
STOP_S: Final = 10.0
RUN_S: Final = 600.0
ANSWERED: Final = "answered"

Settings = Mapping[str, str]  # of the only route, in words of the environment


@dataclass
class Result:
    """What came of it. Times in seconds.

    ``size``: how long the scene was, in what it is counted in. ``seen``: what the clients saw, and how often; ``slowest``: the
    longest that one waited. ``away``: how long no agent was there, at most. ``in_hands``: requests whose NOTIFY an agent had
    and never answered; ``beyond``: those that failed and were not among them. ``connections``: of HAProxy, when the load was
    under way and at its end; ``opened`` in between. ``links``: connections to the agent. ``closed``: connections of HAProxy
    that the agent or the guard ended. ``redispatched``: NOTIFYs that went to a second agent. ``given_up``: those that the guard
    counted as lost with a link, or found no agent for.
    """

    size: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    away: float = 0.0
    in_hands: int = 0
    beyond: int = 0
    connections: tuple[int, int] = (0, 0)
    opened: int = 0
    links: int = 0
    closed: int = 0
    redispatched: int = 0
    given_up: int = 0
    anomalies: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> int:
        """Requests that were not answered."""
        return self.seen.total() - self.seen[ANSWERED]


class Stay:
    """``settings`` None: without the guard. ``how``: of the agent, as AgentProcess takes it; ``options``: of HAProxy."""

    def __init__(
        self,
        stage: Stage,
        agent: str,
        generation: Generation,
        settings: Settings | None,
        options: Options = OPTIONS,
        **how: Any,
    ) -> None:
        self.stage = stage
        self.result = Result()
        self._kind, self._how = CATALOGUE[agent], how
        self._web = stage.enter(free())
        self._options = replace(options, program=generation.program, web=self._web)
        self._settings = settings
        self.road = stage.enter(Road())
        self.come()
        self.guard: Guard | None = None if settings is None else self.new_guard()
        self.haproxy = self.new_haproxy()

    def new_guard(self, listen: str = "127.0.0.1:0") -> Guard:
        """Start a guard in front of the agent."""
        settings = {f"ROUTES__0__{key}": value for key, value in (self._settings or {}).items()}
        return self.stage.guard(self.road.address, listen=listen, settings=settings | {"SHARE_LISTEN": "true"})

    def new_haproxy(self, finishes: int | None = None) -> Haproxy:
        """Start an HAProxy, which takes over from the process ``finishes``."""
        target = self.guard.address if self.guard else self.road.address
        return self.stage.haproxy(target, replace(self._options, finishes=finishes))

    def come(self) -> None:
        """Start the agent."""
        self.agent = self.stage.enter(AgentProcess(self._kind, self.stage.folder(), **self._how))
        self.road.up(self.agent.address)

    def leave(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End the agent. From here on its address refuses connections."""
        self.road.down()
        self.agent.process.send_signal(how)
        self.agent.process.wait(STOP_S)

    def be_away(self, seconds: float, how: signal.Signals = signal.SIGKILL) -> None:
        """End the agent, and start it again when it has been gone for about ``seconds``."""
        began = time.monotonic()
        self.leave(how)
        time.sleep(seconds)  # this is what the scene is about
        self.come()
        self.result.away = max(self.result.away, time.monotonic() - began)

    def connections(self) -> tuple[int, int]:
        """Return HAProxy's connections to the guard, or to the agent: those there are, and how many there were in all."""
        text = self.haproxy.stat()
        return int(text["scur"]), int(text["stot"])

    def wait_seen(self, load: Load, more: int) -> None:
        """Wait until so many more requests have been made."""
        self.wait_all(load, len(load.seen) + more)

    def wait_all(self, load: Load, count: int) -> None:
        """Wait until so many requests have been made."""
        wait_until(lambda: len(load.seen) >= count or not self.haproxy.alive(), f"{count} requests", RUN_S)

    def wait_answered(self, load: Load) -> None:
        """Wait until all that waits now has been answered."""
        waiting = load.waiting()
        wait_until(lambda: waiting <= load.seen.keys() or not self.haproxy.alive(), f"{len(waiting)} answers", RUN_S)

    def judge(self, load: Load) -> Result:
        """Say what came of the load, which is over."""
        result = self.result
        saw = {path: fate_of(each, path) for path, each in load.seen.items()}
        result.seen = Counter(saw.values())
        result.slowest = max(each.seconds for each in load.seen.values())
        in_hands = self.road.in_hands()
        result.in_hands = len(in_hands)
        result.beyond = sum(what != ANSWERED and path not in in_hands for path, what in saw.items())
        result.links = len(self.road.to_agent)
        if self.guard is not None and self.guard.process.poll() is None:
            self._ask_guard(self.guard)
        return result

    def _ask_guard(self, guard: Guard) -> None:
        self.result.anomalies = guard.anomalies()
        self.result.redispatched = int(guard.metric("spoe_guard_redispatched_notifies_total", kind="unanswered"))
        lost = (guard.metric("spoe_guard_unanswered_notifies_total", reason=reason) for reason in ("agent_gone", "agent_away"))
        self.result.given_up = int(sum(lost))
        closed = (guard.metric("spoe_guard_connections_closed_total", by=by) for by in ("agent", "guard"))
        self.result.closed = int(sum(closed))
