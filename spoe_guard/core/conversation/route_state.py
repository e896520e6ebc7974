"""What the sessions of one route share."""

from collections.abc import Callable
from dataclasses import dataclass, field

from spoe_guard.core.conversation.agent_state import AgentState
from spoe_guard.core.conversation.engines import Engines
from spoe_guard.core.conversation.pacing import Crowd
from spoe_guard.core.conversation.refusal import LONGEST_S, Refusals
from spoe_guard.core.conversation.to_haproxy import Lingering
from spoe_guard.core.conversation.total_bytes import TotalBytes
from spoe_guard.core.terms.anomalies import CountOnly


def _nobody() -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class RouteState:
    """What the sessions of one route share, and the ``number`` by which the shell knows this one.

    ``refusals``: of HAProxys, by an agent. ``strangers``: of whoever connects and does not speak SPOP.
    ``spread``, 0 to 1, is different for each session, so that they do not dial in step.

    ``lingering``: whether its HAProxys close behind AGENT-DISCONNECT.

    ``read`` returns how many of the bytes written to this session's HAProxy it has read: a negative number if bytes of the guard
    before are unread, None if that cannot be known. None instead of it: HAProxy reads at once, as in tests.

    ``total``: of all sessions of the process. ``met`` is called once, when HAPROXY-HELLO was taken, in the middle of a step.

    ``count_only`` returns whether the shell has counted an anomaly of this session, and nobody wants to be told more of it: in a
    flood the counter is enough. None instead of it: each is told.

    A session created without one shares nothing.
    """

    number: int = 0
    refusals: Refusals = field(default_factory=Refusals)
    engines: Engines = field(default_factory=Engines)
    agent: AgentState = field(default_factory=AgentState)
    strangers: Refusals = field(default_factory=lambda: Refusals(quiet_s=LONGEST_S))
    crowd: Crowd = field(default_factory=Crowd)
    lingering: Lingering = field(default_factory=Lingering)
    spread: float = 0.0
    read: Callable[[], int | None] | None = None
    total: TotalBytes = field(default_factory=TotalBytes)
    met: Callable[[], object] = _nobody
    count_only: CountOnly | None = None
