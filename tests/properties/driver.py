"""Runs a conversation on a session as net/ would: writes, dials, closes, ticks; it counts the bytes of every step."""

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from spoe_guard.core.conversation.route_state import RouteState
from spoe_guard.core.observed import ObservedSession
from spoe_guard.core.session import Session
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.config import Redispatch, SessionConfig
from spoe_guard.core.terms.events import DialFailure, Event, SessionEnded
from spoe_guard.core.terms.output import Close, Output
from spoe_guard.core.terms.states import SessionState
from spoe_guard.core.terms.tally import Tally
from tests.carrier import carry
from tests.properties import books
from tests.properties.conversations import AGENT, HAPROXY, Drain, Due, Leave, Move, Reach, Say, Wait, agent, link_of, pieces
from tests.properties.transcript import Did, Step, Terms, Transcript

SAID = {HAPROXY: Did.HAPROXY_SAID, AGENT: Did.AGENT_SAID}
GOT = {HAPROXY: Did.HAPROXY_GOT, AGENT: Did.AGENT_GOT}
LEFT = {HAPROXY: Did.HAPROXY_LEFT, AGENT: Did.AGENT_LEFT}
CLOSED = {HAPROXY: Did.HAPROXY_CLOSED, AGENT: Did.AGENT_CLOSED}

NEAR_S = 10.0
MOST_TICKS = 100
TRIES = 200  # ticks more where an agent that stays away is dialled again and again


class Dial(enum.Enum):
    """What becomes of the dial: up at once, before the next move, or at the next wait; refused at once or at the next wait; or
    nothing, ever.
    """

    AT_ONCE = "at once"
    NEXT = "next"
    LATER = "later"
    FAILS = "fails"
    FAILS_LATER = "fails later"
    NEVER = "never"


def terms_of(config: SessionConfig) -> Terms:
    return Terms(
        hold_s=config.disconnect_hold_s,
        connect_s=config.connect_s,
        hello_s=config.hello_s,
        frame_s=config.frame_s,
        idle_s=config.idle_s,
        close_s=config.close_s,
        answer_deadline_s=config.answer_deadline_s,
        park_s=config.park_s,
        agent_hello_s=config.agent_hello_s,
        open_notifies=config.open_notifies,
        held_bytes=config.held_bytes,
        capabilities=config.capabilities,
        always_offer=config.always_offer,
        unanswered=config.unanswered.value,
        error_name=config.error_name,
        max_frame_size=config.max_frame_size,
        engine_id=config.engine_id,
        exact_keys=config.exact_keys,
        give_up_s=0.0 if config.observe else config.give_up_s,  # what is observed ends with its agent link
        in_flight=config.in_flight,
        redispatches=config.redispatch is Redispatch.UNANSWERED,
    )


@dataclass
class Wire:
    """One connection as this end sees it."""

    up: bool = False
    dialling: bool = False
    left: bool = False  # the peer closed
    closed: Close = Close.KEEP  # what the session asked for
    sent: bytes = b""
    got: bytes = b""

    @property
    def speaks(self) -> bool:
        """Whether its peer may say something."""
        return self.up and not self.left and self.closed in (Close.KEEP, Close.HALF)


@dataclass
class Play:
    """A session, its wires by side, and everything that happened. Links behind the first are sides of their own."""

    config: SessionConfig
    dial: Dial = Dial.AT_ONCE
    fast: bool = True
    sizes: list[int] = field(default_factory=list)
    now: float = 1000.0
    route_state: RouteState | None = None
    waited: bool = False  # something did, until HAProxy had read more

    def __post_init__(self) -> None:
        self.tally = Tally()
        self.wires = {HAPROXY: Wire(up=True), AGENT: Wire()}
        self._written_at, self._read = self.now, 0
        kind = ObservedSession if self.config.observe else Session
        state = replace(self.route_state or RouteState(), read=self._haproxy_read)
        self.session = kind(self.config, self.tally, self.now, state, fast=self.fast)
        self.events: list[Event] = []
        self.transcript: Transcript = []
        self.take(self.session.start(self.now))

    @property
    def links(self) -> dict[int, Wire]:
        """Every agent link there ever was, by number."""
        return {link_of(side): wire for side, wire in self.wires.items() if side != HAPROXY}

    @property
    def dialling(self) -> list[int]:
        return [link for link, wire in self.links.items() if wire.dialling]

    # --- what may happen -----------------------------------------------------------------------------------------

    def play(self, moves: list[Move]) -> "Play":
        for move in moves:
            if self.dial is Dial.NEXT:
                self._dialled(self.connected)
            if isinstance(move, Say):
                for piece in pieces(move.data, self.sizes):
                    self.say(move.side, piece)
            elif isinstance(move, Leave):
                self.leave(move.side, reset=move.reset)
            elif isinstance(move, Wait):
                self.wait(move.seconds)
            elif isinstance(move, Due):
                self.due()
            elif isinstance(move, Drain):
                self.drain()
            elif isinstance(move, Reach) and move.link in self.dialling:
                (self.connected if move.up else self.failed)(move.link)
        return self

    def _haproxy_read(self) -> int:
        """HAProxy reads what it is written, but not before time passes."""
        return self._read if self.now == self._written_at else len(self.wires[HAPROXY].got)

    def say(self, side: str, data: bytes) -> None:
        wire = self.wires.get(side)
        if wire is not None and wire.speaks:
            wire.sent += data
            self._note(SAID, side, data)
            whose = Side.HAPROXY if side == HAPROXY else Side.AGENT
            self.take(carry(self.session, whose, data, self.now, link_of(side)), came=(side, data))

    def leave(self, side: str, *, reset: bool) -> None:
        wire = self.wires.get(side)
        if wire is not None and wire.up and not wire.left:
            wire.left = True
            self._note(LEFT, side)
            link = link_of(side)
            whose = Side.HAPROXY if side == HAPROXY else Side.AGENT
            self.take(self.session.closed(whose, self.now, reset=reset, **({"link_id": link} if link else {})))

    def drain(self) -> None:
        self.transcript.append(Step(self.now, Did.DRAIN))
        self.take(self.session.drain(self.now))

    def wait(self, seconds: float) -> None:
        self._at_a_wait()
        self.until(self.now + seconds)

    def due(self) -> None:
        """Wait for the session's deadline, and not an instant longer; where it is far away or there is none, not at all."""
        self._at_a_wait()
        if self.session.deadline <= self.now + NEAR_S:
            self.until(max(self.now, self.session.deadline))

    def _at_a_wait(self) -> None:
        if self.dial is Dial.LATER:
            self._dialled(self.connected)
        elif self.dial is Dial.FAILS_LATER:
            self._dialled(self.failed)

    def _dialled(self, become: Callable[[int], None]) -> None:
        for link in self.dialling:
            if self.wires[agent(link)].dialling:  # what became of the one before may have ended all
                become(link)

    def until(self, until: float) -> None:
        most = MOST_TICKS + (TRIES if self.config.give_up_s else 0)
        for _ in range(most):
            if self.session.deadline > until:
                break
            self.now = max(self.now, self.session.deadline)
            self.take(self.session.tick(self.now))
        else:
            raise AssertionError(f"{most} ticks and the deadline is still {self.session.deadline - self.now:+.3f} s")
        self.now = until

    def finish(self) -> "Play":
        """Nobody says or does anything more: whatever is left to happen is up to the guard's own deadlines."""
        config = self.config
        for bound in (config.connect_s, config.hello_s, config.frame_s, config.disconnect_hold_s, 0.25, config.give_up_s):
            self.wait(bound)
        self.wait(config.idle_s)
        self.wait(config.close_s)
        if config.observe:  # a plain proxy ends when its peers do
            self.leave(HAPROXY, reset=False)
            self.leave(AGENT, reset=False)
        self.transcript.append(Step(self.now, Did.OVER))
        assert self.session.state is SessionState.CLOSED, f"still {self.session.state}"
        assert self.session.deadline == math.inf
        assert [event for event in self.events if isinstance(event, SessionEnded)] == self.events[-1:], (
            "the end is said once, last"
        )
        assert self.session.held == self.tally.held_bytes == 0
        assert self.session.open_notifies == self.tally.open_notifies == 0
        assert self.tally.parked_notifies == self.tally.arriving_notifies == 0
        return self

    # --- what the session asks for -------------------------------------------------------------------------------

    def take(self, out: Output, came: tuple[str, bytes] | None = None) -> None:
        assert self.tally.any_waiting() or self.session.oldest_since == math.inf, "nobody would ask the session"
        self.events += out.events
        orders = {agent(order.link_id): order for order in sorted((out, *out.more), key=lambda order: order.link_id)}
        assert len(orders) == 1 + len(out.more), "two orders for one link"
        self._write(HAPROXY, out.to_haproxy)
        for side, order in orders.items():
            self._write(side, order.to_agent)
        if self.config.observe:
            books.unchanged(self, out, came)
        dialled = [side for side, order in orders.items() if order.dial]
        for side in dialled:
            wire = self.wires.setdefault(side, Wire())
            assert wire == Wire(), f"the {side} is dialled twice"
            wire.dialling = True
            self._note({AGENT: Did.AGENT_DIALLED}, side)
        self._close(HAPROXY, out.close_haproxy)
        for side, order in orders.items():
            self._close(side, order.close_agent)
        self.balance()
        for side in dialled:
            if self.wires[side].dialling and self.dial is Dial.AT_ONCE:
                self.connected(link_of(side))
            elif self.wires[side].dialling and self.dial is Dial.FAILS:
                self.failed(link_of(side))

    def balance(self) -> None:
        """Check the byte counts."""
        books.balance(self)

    def _note(self, what: dict[str, Did], side: str, data: bytes = b"") -> None:
        did = what[side] if side in what else what[AGENT]
        self.transcript.append(Step(self.now, did, data, link_of(side)))

    def _write(self, side: str, data: bytes) -> None:
        if data:
            wire = self.wires.get(side, Wire())
            assert wire.up, f"bytes for the {side}, which is not connected: {data!r}"
            assert wire.closed is Close.KEEP, f"bytes for the {side} behind its close: {data!r}"
            if side == HAPROXY:
                self._written_at, self._read = self.now, self._haproxy_read()
            wire.got += data
            self._note(GOT, side, data)

    def _close(self, side: str, close: Close) -> None:
        if close is Close.KEEP:
            return
        wire = self.wires[side]
        assert self.config.observe or close is not Close.HALF or side == HAPROXY, "the guard half-closes HAProxy's side alone"
        assert wire.closed in (Close.KEEP, Close.HALF), f"the {side} is closed twice"
        assert wire.up or (side != HAPROXY and close is Close.ABORT), f"{close} for the {side}, which is not up"
        if close is not Close.HALF:
            wire.dialling = False
        wire.closed = close
        if close is Close.HALF and not self.config.observe:
            self.transcript.append(Step(self.now, Did.HAPROXY_GOT_FIN))
        if wire.up and close is not Close.HALF:
            self._note(CLOSED, side)

    def connected(self, link: int = 0) -> None:
        wire = self.wires[agent(link)]
        wire.dialling, wire.up = False, True
        self.take(self.session.agent_connected(self.now, *_other(link)))

    def failed(self, link: int = 0) -> None:
        self.wires[agent(link)].dialling = False
        self._note({AGENT: Did.AGENT_FAILED}, agent(link))
        self.take(self.session.agent_failed(DialFailure.REFUSED, "refused", self.now, *_other(link)))


def _other(link: int) -> tuple[int, ...]:
    """The argument that names a link; an observed session has one only and takes none."""
    return (link,) if link else ()
