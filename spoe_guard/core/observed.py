"""Observe mode: every byte passes unchanged, while a shadow session reports what enforce mode would have done.

The shadow runs the same code as enforce mode; only its output is discarded. So the agent is dialled at once, and FIN and RST are
passed on as a plain TCP proxy would.
"""

import math
from dataclasses import replace
from typing import Final

from spoe_guard.core.conversation.ledger import Ledger
from spoe_guard.core.conversation.route_state import RouteState
from spoe_guard.core.lane import Lane
from spoe_guard.core.session import Session
from spoe_guard.core.snapshot import Snapshot
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.config import SessionConfig, Unanswered
from spoe_guard.core.terms.events import (
    AgentReady,
    AgentUnreachable,
    AnomalySeen,
    DialFailure,
    DisconnectSeen,
    EndedBy,
    EndReason,
    Event,
    NotifiesUnanswered,
    SessionEnded,
)
from spoe_guard.core.terms.output import Close, Output
from spoe_guard.core.terms.states import SessionState
from spoe_guard.core.terms.tally import Tally

# Events of the shadow about the peers; its events about its own actions did not happen.
_OBSERVATIONS: Final = (AnomalySeen, DisconnectSeen, AgentReady, AgentUnreachable, NotifiesUnanswered)


class ObservedSession:
    """A session that changes nothing. It has the methods of ``Session``, see there, and only agent link number 0."""

    def __init__(
        self, config: SessionConfig, tally: Tally, now: float, route_state: RouteState | None = None, *, fast: bool = True
    ) -> None:
        self._config = config
        route_state = route_state or RouteState()
        # It delays nobody, so its refusals do not count.
        alone = RouteState(
            route_state.number,
            engines=route_state.engines,
            total=route_state.total,
            met=route_state.met,
            count_only=route_state.count_only,
        )
        # The agent's connection belongs to HAProxy's here: it is neither replaced nor joined by others.
        config = replace(config, give_up_s=0.0, max_links=1, in_flight=0, retire_s=None, unanswered=Unanswered.LEAVE)
        self._shadow = Session(config, tally, now, alone, fast=fast)
        self._shadow_dials = False
        self._connected = False
        self._early = bytearray()  # what HAProxy sent while the agent was being dialled
        self._in_hand = (Side.HAPROXY, b"")  # what is being judged: it must be forwarded even if the judging fails
        self._ended: tuple[EndedBy, EndReason] | None = None
        self._closed: set[Side] = set()
        self._over = False
        self._draining = False
        self._connect_by = math.inf
        self._drain_by = math.inf
        self.deadline = self._shadow.deadline

    @property
    def held(self) -> int:
        """Bytes received and not forwarded yet."""
        return len(self._early)

    @property
    def in_memory(self) -> int:
        """Bytes kept of the peers, most of them by the shadow."""
        return self._shadow.in_memory + len(self._early)

    @property
    def lane(self) -> Lane:
        """The shadow's lane: what may pass without being judged."""
        return self._shadow.lane

    @property
    def oldest_since(self) -> float:
        """When HAProxy sent the oldest NOTIFY that is open; infinity if there is none."""
        return self._shadow.oldest_since

    def ledger(self, link_id: int) -> Ledger | None:
        """Return the ledger of the agent link with that number."""
        return self._shadow.ledger(link_id)

    @property
    def open_notifies(self) -> int:
        """NOTIFYs that the agent has received and not yet answered."""
        return self._shadow.open_notifies

    @property
    def state(self) -> SessionState:
        """The state that a session in enforce mode would have."""
        return self._shadow.state

    def start(self, now: float) -> Output:
        """HAProxy's connection was accepted: dial, as a plain proxy does."""
        self._connect_by = now + self._config.connect_s
        out = self._watch(self._shadow.start(now), now)
        out.dial = True
        return out

    def receive(self, side: Side, data: bytes, now: float, link_id: int = 0) -> Output:  # noqa: ARG002  a session's signature
        """``side`` sent bytes: forward them unchanged."""
        self._in_hand = (side, data)
        shadow = self._shadow.receive(side, data, now)
        out = self._watch(shadow, now)
        self._in_hand = (side, b"")
        if shadow.left:  # forward the rest only after the shadow saw it: otherwise the answer to it could come first
            out.left = shadow.left
            data = data[: -shadow.left]
        if side is Side.AGENT:
            out.to_haproxy = data
        elif self._connected:
            out.to_agent = data
        else:
            self._early += data
        return out

    def turn_away(self, first: bytes, detail: str, now: float) -> Output:
        """``first`` came where the route expects a PROXY header: forward it unchanged."""
        self._in_hand = (Side.HAPROXY, first)
        out = self._watch(self._shadow.turn_away(first, detail, now), now)
        self._in_hand = (Side.HAPROXY, b"")
        if self._connected:
            out.to_agent = first
        else:
            self._early += first
        return out

    def take_foreign(self, raw: bytes, now: float) -> Output:
        """An ACK for a NOTIFY of this session passed unchanged on another session's link."""
        return self._watch(self._shadow.take_foreign(raw, now), now)

    def agent_connected(self, now: float, link_id: int = 0) -> Output:  # noqa: ARG002  a session's signature
        """The agent link is up."""
        self._connected = True
        self._connect_by = math.inf
        early, self._early = bytes(self._early), bytearray()
        shadow = self._shadow.agent_connected(now) if self._shadow_dials else Output()
        out = self._watch(shadow, now)
        out.to_agent = early
        if Side.HAPROXY in self._closed and not self._over:
            out.close_agent = Close.HALF
        return out

    def agent_failed(self, reason: DialFailure, detail: str, now: float, link_id: int = 0) -> Output:  # noqa: ARG002  a session's signature
        """The agent could not be dialled: close HAProxy's connection, as a plain proxy would."""
        if self._shadow_dials:
            out = self._watch(self._shadow.agent_failed(reason, detail, now), now)
        else:
            out = Output()
            out.events = [AgentUnreachable(reason, detail)]
        self._end(EndedBy.AGENT, EndReason.UNREACHABLE)
        return self._close_both(out, now, Close.FLUSH, Close.ABORT)

    def closed(self, side: Side, now: float, *, reset: bool, link_id: int = 0) -> Output:  # noqa: ARG002  a session's signature
        """``side`` sent FIN, or its connection broke: do the same to the other side."""
        if side in self._closed or self._over:
            return Output()
        self._closed.add(side)
        by = EndedBy.AGENT if side is Side.AGENT else EndedBy.HAPROXY
        self._end(by, EndReason.RESET if reset else EndReason.CLOSED)
        out = self._watch(self._shadow.closed(side, now, reset=reset), now)
        if out.close_haproxy is not Close.KEEP:  # the drain was waiting for this
            return out
        if reset:
            return self._close_both(out, now, Close.ABORT, Close.ABORT)
        if len(self._closed) == len(Side) or (not self._connected and not self._early):
            return self._close_both(out, now, Close.FLUSH, Close.FLUSH if self._connected else Close.ABORT)
        if side is Side.AGENT:
            out.close_haproxy = Close.HALF
        elif self._connected:
            out.close_agent = Close.HALF
        return out

    def drain(self, now: float) -> Output:
        """The guard is stopping: wait a while for answers to open NOTIFYs, then close both connections."""
        if self._over:
            return Output()
        self._draining = True
        self._drain_by = now + self._config.disconnect_hold_s
        return self._watch(self._shadow.drain(now), now)

    def tick(self, now: float) -> Output:
        """Time has passed."""
        if now >= self._connect_by:
            detail = f"no connection within {self._config.connect_s:g} s"
            return self.agent_failed(DialFailure.TIMEOUT, detail, now)
        return self._watch(self._shadow.tick(now), now)

    def release(self) -> tuple[bytes, bytes]:
        """Return the raw buffered bytes (to_agent, to_haproxy), as ``Session.release`` does."""
        self._shadow.release()
        self._over = True
        self.deadline = math.inf
        side, in_hand = self._in_hand
        early = bytes(self._early)
        return (early, in_hand) if side is Side.AGENT else (early + in_hand, b"")

    def snapshot(self) -> Snapshot:
        """Return the state that a session in enforce mode would have, for tests."""
        return self._shadow.snapshot()

    # --- inside ------------------------------------------------------------------------------------------------------

    def _end(self, by: EndedBy, reason: EndReason) -> None:
        self._ended = self._ended or (by, reason)

    def _watch(self, shadow: Output, now: float) -> Output:
        """Return an output with what the shadow observed, but without its orders."""
        out = Output()
        out.foreign = shadow.foreign
        events: list[Event] = []
        if shadow.events:
            events = [event for event in shadow.events if isinstance(event, _OBSERVATIONS)]
        if shadow.dial:
            self._shadow_dials = True
            if self._connected:
                connected = self._shadow.agent_connected(now)
                events += [event for event in connected.events if isinstance(event, _OBSERVATIONS)]
        if events:
            out.events = events
        if self._draining and not self._over and (now >= self._drain_by or not self._shadow.open_notifies):
            self._end(EndedBy.GUARD, EndReason.DRAIN)
            return self._close_both(out, now, Close.FLUSH, Close.FLUSH if self._connected else Close.ABORT)
        self.deadline = min(self._shadow.deadline, self._connect_by, self._drain_by)
        return out

    def _close_both(self, out: Output, now: float, haproxy: Close, agent: Close) -> Output:
        """Close both connections, end the shadow, and report the session's end."""
        if self._over:
            return out
        self._over = True
        self._early.clear()  # the agent they were for was never connected
        events = list(out.events)
        for side in (Side.AGENT, Side.HAPROXY):
            last = self._shadow.closed(side, now, reset=True)
            events += [event for event in last.events if isinstance(event, NotifiesUnanswered)]
        self._shadow.tick(math.inf)
        events.append(SessionEnded(*(self._ended or (EndedBy.GUARD, EndReason.CLOSED))))
        out.events = events
        out.close_haproxy, out.close_agent = haproxy, agent
        self.deadline = self._connect_by = self._drain_by = math.inf
        return out


def open_session(config: SessionConfig, tally: Tally, now: float, route_state: RouteState) -> Session | ObservedSession:
    """Return a new session of the mode ``config`` names."""
    return ObservedSession(config, tally, now, route_state) if config.observe else Session(config, tally, now, route_state)
