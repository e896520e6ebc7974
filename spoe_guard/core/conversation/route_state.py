"""What the sessions of one route share."""

from dataclasses import dataclass, field

from spoe_guard.core.conversation.agent_state import AgentState
from spoe_guard.core.conversation.engines import Engines
from spoe_guard.core.conversation.refusal import Refusals


@dataclass(frozen=True, slots=True)
class RouteState:
    """What the sessions of one route share, and the ``number`` by which the shell knows this one.

    ``spread``, 0 to 1, is different for each session, so that they do not dial in step.

    A session created without one shares nothing.
    """

    number: int = 0
    refusals: Refusals = field(default_factory=Refusals)
    engines: Engines = field(default_factory=Engines)
    agent: AgentState = field(default_factory=AgentState)
    spread: float = 0.0
