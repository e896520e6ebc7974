"""A route: the listening address and its agents."""

from dataclasses import dataclass, field

from spoe_guard.address import Address
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.options import Balance


@dataclass(frozen=True, slots=True)
class SocketRights:
    """What the file of a Unix socket gets before anybody can connect. None: left as the kernel makes it.

    ``mode``: permission bits. ``owner``, ``group``: a name, or a number.
    """

    mode: int | None = None
    owner: str | int | None = None
    group: str | int | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """``name`` is the metric label. ``agent``: the agent's addresses; ``balance``: which of them a new link goes to.

    ``rights``: of the Unix socket that ``listen`` names.

    ``connections``: most sessions at a time; one more waits for a place, and is closed after a while. ``proxy_header``: each
    connection begins with a PROXY header, which names the peer.

    ``splice_on_error``: a bug of ours turns the session into a plain TCP proxy instead of ending it. ``listen_while_away``: if
    not, nobody can connect while the agent is away (``health: listen``).
    """

    name: str
    listen: Address
    agent: tuple[Address, ...]
    rights: SocketRights = SocketRights()
    balance: Balance = "first"
    connections: int = 4096
    proxy_header: bool = False
    splice_on_error: bool = False
    listen_while_away: bool = True
    config: SessionConfig = field(default_factory=SessionConfig)
