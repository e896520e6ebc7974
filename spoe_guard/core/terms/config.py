"""A route's settings for its sessions. Plain values: the settings package reads them."""

import enum
from dataclasses import dataclass, field
from typing import Final

from spoe_guard.core.terms.policy import Policy

KNOWN_CAPABILITIES: Final = frozenset(("fragmentation", "pipelining", "async"))  # SPOE.txt 3.2.4
# Capabilities the agent may be offered although HAProxy lacks them: one NOTIFY at a time is valid pipelining, too. With one of
# the others the agent would send ACKs in fragments, or on another connection.
OFFERABLE: Final = frozenset(("pipelining",))


@enum.unique
class Redispatch(enum.Enum):
    """Which NOTIFYs of a lost link go to the next one; the others count as unanswered."""

    OFF = "off"
    UNSENT = "unsent"  # those that were never written to it
    UNANSWERED = "unanswered"  # also, once, those that were written and not answered: the agent may do their work twice


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """One route's settings for its sessions.

    ``max_frame_size``: bytes, clamps what HAProxy offers to the agent; None leaves it. ``always_offer``: capabilities offered to
    the agent even if HAProxy does not offer them. ``engine_id``: sent to the agent if HAProxy names none. ``exact_keys``: the
    agent gets only the keys of SPOE.txt in HAPROXY-HELLO, each with its type. ``answer_unanswered``: the guard sends an ACK
    without effect for a NOTIFY that the agent will not answer. ``answer_deadline_s``: a NOTIFY open longer counts as unanswered;
    None never. Times in seconds. ``give_up_s``: how long the agent may be unreachable before the session ends; 0: it ends with
    its agent link. ``max_links``: most agent links at a time. ``in_flight``: most NOTIFYs open on one link, 0: any number.
    ``retire_s``: the guard closes a link that was idle for so long; None never. ``open_notifies``: most NOTIFYs open at a time.
    ``held_bytes``: most bytes a session may buffer.
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
    give_up_s: float = 0.0
    max_links: int = 1
    in_flight: int = 0
    retire_s: float | None = None
    redispatch: Redispatch = Redispatch.UNSENT
    open_notifies: int = 65536
    held_bytes: int = 1048576
