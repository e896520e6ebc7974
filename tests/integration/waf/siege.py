"""A shop behind a WAF that is attacked all the time, while the WAF is killed, stopped, told to end and slow."""

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from tests.agents.catalogue import WAF
from tests.agents.real import AgentProcess
from tests.integration.generations import Generation
from tests.integration.guard import Guard
from tests.integration.haproxy import Options, free, wait_until
from tests.integration.load import Load
from tests.integration.silence import seen
from tests.integration.stage import Stage
from tests.integration.waf import visitors
from tests.integration.waf.coraza import Coraza, Logged

REQUESTS: Final = 2000
ATTACKS: Final = REQUESTS // visitors.EVERY
MANY: Final = ATTACKS // 20  # so many have their verdict at least, else a test would say nothing; a starved WAF gives few in time
STOCK_MS: Final = 500  # `timeout processing` in the documentation of coraza-spoa
LONG_MS: Final = 20_000  # longer than the WAF needs to load its rules and to answer what has waited meanwhile
PER_SECOND: Final = 150
CLIENTS: Final = 250  # so many may wait at a time
STOP_S: Final = 10.0
RUN_S: Final = 50.0

ON: Final = ("2.6", "3.2")
WHOLE: Final = seen.folder() is not None  # `make silence`

Settings = Mapping[str, str]  # of the only route, in words of the environment


def on(quickly: str) -> tuple[str, ...]:
    """Return the HAProxys that a siege is played at; ``quickly``: the one of a short run."""
    return ON if WHOLE else (quickly,)


class Firewall:
    """The WAF, at an address that stays its own while it is away."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.address = "{}:{}".format(*stage.enter(free()).getsockname())
        self.longest_start = 0.0
        self.start()

    def start(self, delay_ms: tuple[int, int] = (0, 0)) -> None:
        """Start it and wait until it listens, which is when its rules are loaded."""
        began = time.monotonic()
        process = AgentProcess(WAF, self._stage.folder(), delay_ms=delay_ms, listen=self.address)
        self.longest_start = max(self.longest_start, time.monotonic() - began)
        self._agent = self._stage.enter(process)

    def end(self, how: signal.Signals) -> None:
        """End it and wait until it is gone."""
        self._agent.process.send_signal(how)
        self._agent.process.wait(STOP_S)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """It stands still meanwhile: its kernel accepts connections, and nobody reads them."""
        agent = self._agent
        agent.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            agent.process.send_signal(signal.SIGCONT)  # nothing is sent to one that was ended meanwhile


@dataclass
class Result:
    """``attacks``, ``others``: how many got which HTTP status. ``errors``: how often HAProxy logged which code.

    ``unchecked``: requests that HAProxy let pass on nobody's word, and ``unchecked_attacks`` of them. ``slowest``: in seconds;
    ``longest_start``: of the WAF, too.
    """

    attacks: Counter[int] = field(default_factory=Counter)
    others: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    unchecked: int = 0
    unchecked_attacks: int = 0
    slowest: float = 0.0
    longest_start: float = 0.0

    @property
    def failed(self) -> int:
        """Requests that got neither the WAF's verdict nor the page."""
        return self.attacks.total() - self.attacks[403] - self.attacks[200] + self.others.total() - self.others[200]


class Siege:
    """``settings`` None: without the guard. ``processing_ms``: of HAProxy's `timeout processing`."""

    def __init__(self, stage: Stage, generation: Generation, settings: Settings | None, processing_ms: int) -> None:
        self.processing_ms = processing_ms
        self.firewall = Firewall(stage)
        self.guard: Guard | None = None
        if settings is not None:
            given = {f"ROUTES__0__{key}": value for key, value in settings.items()}
            self.guard = stage.guard(self.firewall.address, settings=given)
        options = Options(processing=f"{processing_ms}ms", idle="2m", program=generation.program)
        self.haproxy = stage.enter(Coraza(stage.folder(), (self.guard or self.firewall).address, options))

    def play(self, trouble: Callable[["Siege", Load], None]) -> Result:
        """Play all requests, with ``trouble`` meanwhile, and say what came of them."""
        with Load(self.haproxy, CLIENTS, REQUESTS, PER_SECOND, visitors.request) as load:
            trouble(self, load)
            wait_until(lambda: len(load.seen) == REQUESTS, "all requests", RUN_S)
        wait_until(lambda: len(self.haproxy.logged()) == REQUESTS, "HAProxy's log of all requests", STOP_S)
        print(result := self._judge(load))  # pytest shows it where the test failed
        return result

    def _judge(self, load: Load) -> Result:
        result = Result(longest_start=self.firewall.longest_start)
        logged = self.haproxy.logged()
        for number in range(1, REQUESTS + 1):
            path, _ = visitors.request(number)
            line: Logged = logged[path]
            seen = load.seen[path]
            assert line.status == seen.status, path
            (result.attacks if visitors.is_attack(number) else result.others)[seen.status] += 1
            result.errors[line.error] += 1
            result.unchecked += line.unchecked
            result.unchecked_attacks += line.unchecked and visitors.is_attack(number)
            result.slowest = max(result.slowest, seen.seconds)
        del result.errors[""]
        return result


def wait_asked(load: Load, more: int) -> None:
    """Wait until so many more requests were asked, or all."""
    count = min(load.asked() + more, REQUESTS)
    wait_until(lambda: load.asked() >= count, f"{more} more requests", RUN_S)


def _first(count: int) -> set[str]:
    """Return the paths of the first so many requests."""
    return {visitors.request(number)[0] for number in range(1, count + 1)}


def restarts(siege: Siege, load: Load) -> None:
    """Told to end twice, and killed twice as it stands still with NOTIFYs in its hands; started again at once.

    Each time what the one before had in hand has been answered: a NOTIFY goes to a second agent, and not to a third.
    """
    for hangs in (True, False, True, False):
        asked = load.asked()
        wait_asked(load, 300)
        wait_until(lambda asked=asked: _first(asked) <= load.seen.keys(), "what was asked before is answered", RUN_S)
        if hangs:
            with siege.firewall.stopped():
                wait_asked(load, 30)
                siege.firewall.end(signal.SIGKILL)
        else:
            siege.firewall.end(signal.SIGTERM)
        siege.firewall.start()


def all_kinds(siege: Siege, load: Load) -> None:
    """Killed, stopped, told to end, slow (every second answer comes later than HAProxy waits), and away for a while."""
    wait_asked(load, 200)
    siege.firewall.end(signal.SIGKILL)
    siege.firewall.start()
    wait_asked(load, 200)
    with siege.firewall.stopped():
        wait_asked(load, 250)
    wait_asked(load, 200)
    siege.firewall.end(signal.SIGTERM)
    siege.firewall.start(delay_ms=(0, 2 * siege.processing_ms))
    wait_asked(load, 150)
    siege.firewall.end(signal.SIGKILL)
    wait_asked(load, 100)
    siege.firewall.start()
