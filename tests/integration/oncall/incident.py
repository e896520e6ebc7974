"""One incident: how it is caused and cured, and what the guard has to say of it."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Protocol, Self

from tests.hosts import Hosts
from tests.integration.guard import Guard
from tests.integration.haproxy import Haproxy
from tests.integration.load import Load
from tests.integration.silence.quiet import QuietAgent
from tests.integration.silence.surfaces import Says

PER_SECOND: Final = 8
CLIENTS: Final = 10  # each of those requests takes a second at most
CROWD: Final = 22  # clients that ask again as soon as they are answered
LONG: Final = 400 * "x"  # in a path: it does not fit into a frame of 256 bytes

SEEN_S: Final = 10.0  # within so many seconds the page names it
AGREED_S: Final = 20.0  # and the others with it: an alert waits for what stands in its `for`, in seconds for minutes
OVER_S: Final = 30.0  # within so many seconds of the cure it is over


class Agent(Protocol):
    """``with`` it, it listens at ``address``."""

    address: str

    def __enter__(self) -> Self:
        """Start."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Stop."""


class Cast:
    """Who plays one incident: its agent, the guard before it, HAProxy, and the clients. ``odd``: some requests are too long."""

    def __init__(self, name: str, agent: Agent, hosts: Hosts | None) -> None:
        self.name = name
        self.agent = agent
        self.hosts = hosts
        self.odd = False
        self.guard: Guard | None = None
        self.haproxy: Haproxy | None = None
        self._more = ExitStack()

    def path(self, number: int) -> tuple[str, Mapping[str, str]]:
        """Return what a client asks for."""
        return f"/{self.name}/{LONG if self.odd and number % 2 else ''}{number}", {}

    def load(self) -> Load:
        """Return the clients that ask all the time."""
        assert self.haproxy is not None
        return Load(self.haproxy, CLIENTS, None, PER_SECOND, self.path)

    def crowd_comes(self) -> None:
        """Many more clients ask."""
        assert self.haproxy is not None
        self._more.enter_context(Load(self.haproxy, CROWD, None, None, lambda number: (f"/{self.name}/more/{number}", {})))

    def crowd_leaves(self) -> None:
        """They do so no more."""
        self._more.close()

    @property
    def process(self) -> QuietAgent:
        """The agent, where it is a process of its own."""
        assert isinstance(self.agent, QuietAgent)
        return self.agent


@dataclass(frozen=True)
class Incident:
    """What happens to one route.

    ``agent`` makes its agent, which behaves at first; ``cause`` and ``cure`` are what happens then. ``cause_words``: a regular
    expression for the cause, in the headline. ``share``: the least and the most that the share of failed NOTIFYs may be, 0 to 1.
    ``side``: who can change it; ``runbook``: the entry that says how. ``metrics``, ``log``, ``alerts``: as in ``Says``;
    ``severity``: of the worst alert, empty: there is none. ``at``: which HAProxy connects;
    ``processing``, ``idle``: its timeouts. ``settings``: of the route;
    ``spoe``: lines of HAProxy's spoe-agent section. ``named``: the guard knows the agent by a name. ``alone``: it has a guard of
    its own, as all routes would feel it.
    """

    name: str
    what: str
    agent: Callable[[], Agent]
    cause: Callable[[Cast], None]
    cure: Callable[[Cast], None]
    state: str
    cause_words: str
    share: tuple[float, float]
    side: str
    runbook: str
    log: Mapping[str, str]
    alerts: frozenset[str] = frozenset()
    severity: str = ""
    metrics: tuple[str, ...] = ()
    at: str = "2.6"
    processing: str = "1s"
    idle: str = "10s"
    settings: Mapping[str, str] = field(default_factory=dict)
    spoe: tuple[str, ...] = ()
    named: bool = False
    alone: bool = False

    def says(self) -> Says:
        """Return what the guard has to say, in each voice."""
        return Says(
            self.state,
            ready=True,  # one of many routes says nothing of the guard's readiness
            within=AGREED_S,
            sentence=self.cause_words,
            metrics=self.metrics,
            log=self.log,
            alerts=self.alerts,
        )
