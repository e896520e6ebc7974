"""A session at one moment, for tests and debugging. The code that serves frames does not use it."""

from dataclasses import dataclass

from spoe_guard.core.conversation.outlet import ByteCounts
from spoe_guard.core.terms.family import Family
from spoe_guard.core.terms.states import LinkState, SessionState


@dataclass(slots=True)
class LinkSnapshot:
    """One agent link. ``open``: the ids of the NOTIFYs its agent has, in order. ``fast``: ordinary ACKs are not parsed."""

    state: LinkState
    open: list[bytes]
    connect_by: float
    fast: bool


@dataclass(slots=True)
class Snapshot:
    """One session.

    ``parked``: the ids of NOTIFYs that wait for a link, in order. ``queued``: bytes that HAProxy cannot take yet. ``links`` by
    number. ``to_haproxy`` and ``to_agent``: the byte counts of that direction, without what passed on the lane since the last
    step. ``next_deadline``: the exact next deadline. ``fast``: ordinary NOTIFYs are not parsed.
    """

    state: SessionState
    family: Family
    parked: list[bytes]
    queued: int
    links: dict[int, LinkSnapshot]
    to_haproxy: ByteCounts
    to_agent: ByteCounts
    next_deadline: float
    fast: bool
