"""What a session is told by its route. Plain values: where they come from is the settings' business."""

from dataclasses import dataclass, field
from typing import Final

from spoe_guard.core.policy import Policy

KNOWN_CAPABILITIES: Final = frozenset(("fragmentation", "pipelining", "async"))  # SPOE.txt 3.2.4
# What an agent may be offered that HAProxy does not: one NOTIFY at a time is pipelining too. With one of the others the agent
# would send ACKs in pieces, or on another connection.
OFFERABLE: Final = frozenset(("pipelining",))


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """One route's rules for its sessions.

    ``max_frame_size``: bytes, clamps what HAProxy offers to the agent; None leaves it. ``always_offer``: capabilities
    the agent is offered even where HAProxy does not. ``engine_id``: sent to the agent when HAProxy names none.
    ``exact_keys``: of HAPROXY-HELLO the agent gets the keys SPOE.txt has, each of its type, and no others.
    ``answer_unanswered``: an ACK without effect is authored for a NOTIFY the agent will not answer.
    ``answer_deadline_s``: a NOTIFY open longer counts as unanswered; None never. Times in seconds.
    ``open_notifies``: most NOTIFYs open at a time. ``held_bytes``: most bytes a session may hold back.
    """

    observe: bool = False
    policy: Policy = field(default_factory=Policy)
    max_frame_size: int | None = None
    capabilities: frozenset[str] = frozenset(("pipelining",))
    always_offer: frozenset[str] = frozenset()
    engine_id: str | None = None
    exact_keys: bool = False
    disconnect_hold_s: float = 0.5
    answer_unanswered: bool = False
    answer_deadline_s: float | None = None
    connect_s: float = 1.0
    hello_s: float = 2.0
    frame_s: float = 2.0
    idle_s: float = 600.0
    close_s: float = 1.0
    open_notifies: int = 65536
    held_bytes: int = 1048576
