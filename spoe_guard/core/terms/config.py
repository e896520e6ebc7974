"""A route's settings for its sessions. Plain values: the settings package reads them."""

import enum
from dataclasses import dataclass, field
from typing import Final

from spoe_guard.core.terms.policy import Policy

KNOWN_CAPABILITIES: Final = frozenset(("fragmentation", "pipelining", "async"))  # SPOE.txt 3.2.4
# Capabilities the agent may be offered although HAProxy does not: one NOTIFY at a time is valid pipelining, too, and HAProxy up
# to 3.0 sends fragments to whoever announces that it takes them; an agent's own are put together. With async it would send ACKs
# on another connection.
OFFERABLE: Final = frozenset(("pipelining", "fragmentation"))


@enum.unique
class Redispatch(enum.Enum):
    """Which NOTIFYs of a lost link go to the next one; the others count as unanswered."""

    OFF = "off"
    UNSENT = "unsent"  # those that were never written to it
    UNANSWERED = "unanswered"  # also, once, those that were written and not answered: the agent may do their work twice


@enum.unique
class Unanswered(enum.Enum):
    """What HAProxy gets for a NOTIFY that no agent will answer."""

    TELL = "tell"  # the end of its connection, in order: HAProxy then fails the request itself
    SET = "set"  # an ACK that sets the variable of `option set-on-error` to the code of the error: that request alone fails
    EMPTY_ACK = "empty-ack"  # an ACK without effect: the request goes on unchecked (fail open)
    LEAVE = "leave"  # nothing: HAProxy waits for its `timeout processing`


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """One route's settings for its sessions.

    ``max_frame_size``: bytes, clamps what HAProxy offers to the agent; None leaves it. ``always_offer``: capabilities offered to
    the agent even if HAProxy does not offer them. ``engine_id``: sent to the agent if HAProxy names none. ``exact_keys``: the
    agent gets only the keys of SPOE.txt in HAPROXY-HELLO, each with its type. ``unanswered``: what HAProxy gets for a
    NOTIFY that no agent will answer; ``error_name``: the variable for ``Unanswered.SET``, as in `option set-on-error`.
    ``answer_deadline_s``: a NOTIFY open longer counts as unanswered; None never. ``park_s``: a NOTIFY that waits longer for an
    agent link counts as unanswered; None: ``give_up_s`` is the bound. Times in seconds. ``hello_s``: for HAPROXY-HELLO;
    ``agent_hello_s``: for AGENT-HELLO, None: as long as this HAProxy may be kept waiting. ``give_up_s``: how long the agent may
    be away before NOTIFYs no longer wait for it; 0: a session ends with its agent link. ``max_links``: most agent links at a
    time. ``in_flight``: most NOTIFYs open on one link, 0: any number. ``retire_s``: the guard closes a
    link that was idle for so long; None never. ``open_notifies``: most NOTIFYs open at a time. ``held_bytes``: most bytes a
    session may buffer. ``glitches``: most anomalies of a side within ``glitches_s``, unless they are few for each NOTIFY.
    """

    observe: bool = False
    policy: Policy = field(default_factory=Policy)
    max_frame_size: int | None = None
    capabilities: frozenset[str] = frozenset(("pipelining",))
    always_offer: frozenset[str] = frozenset()
    engine_id: str | None = None
    exact_keys: bool = False
    disconnect_hold_s: float = 0.5
    unanswered: Unanswered = Unanswered.LEAVE
    error_name: bytes = b""
    answer_deadline_s: float | None = None
    park_s: float | None = None
    connect_s: float = 1.0
    hello_s: float = 2.0
    agent_hello_s: float | None = None
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
    glitches: int = 1000
    glitches_s: float = 60.0
