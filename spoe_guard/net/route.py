"""A route: the listening address and its agents."""

from dataclasses import dataclass, field

from spoe_guard.address import Address
from spoe_guard.core.terms.config import SessionConfig


@dataclass(frozen=True, slots=True)
class Route:
    """``name`` is the metric label. ``agent``: the agent's addresses; the first that can be dialled is used.

    ``connections``: most sessions at a time, one more is accepted and closed at once.

    ``splice_on_error``: a bug of ours turns the session into a plain TCP proxy instead of ending it. ``listen_while_away``: if
    not, nobody can connect while the agent is away (``health: listen``).
    """

    name: str
    listen: Address
    agent: tuple[Address, ...]
    connections: int = 4096
    splice_on_error: bool = False
    listen_while_away: bool = True
    config: SessionConfig = field(default_factory=SessionConfig)
