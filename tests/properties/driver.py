"""Plays a conversation over a session as net/ would: writes, dials, closes, ticks, and keeps the books of every step."""

import enum
import math
from dataclasses import dataclass, field

from spoe_guard.core.anomalies import Side
from spoe_guard.core.config import SessionConfig
from spoe_guard.core.events import DialFailure, Event, SessionEnded
from spoe_guard.core.hello import MAX_HELLO
from spoe_guard.core.observing import ObservedSession
from spoe_guard.core.output import Close, Output
from spoe_guard.core.session import Session
from spoe_guard.core.states import BEFORE_HELLO, State
from spoe_guard.core.tally import Tally
from tests.properties.conversations import AGENT, HAPROXY, Drain, Due, Leave, Move, Say, Wait, pieces
from tests.properties.transcript import Did, Step, Terms, Transcript

SIDES = {HAPROXY: Side.HAPROXY, AGENT: Side.AGENT}
SAID = {HAPROXY: Did.HAPROXY_SAID, AGENT: Did.AGENT_SAID}
GOT = {HAPROXY: Did.HAPROXY_GOT, AGENT: Did.AGENT_GOT}
LEFT = {HAPROXY: Did.HAPROXY_LEFT, AGENT: Did.AGENT_LEFT}
CLOSED = {HAPROXY: Did.HAPROXY_CLOSED, AGENT: Did.AGENT_CLOSED}

NEAR_S = 10.0


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
        open_notifies=config.open_notifies,
        held_bytes=config.held_bytes,
        capabilities=config.capabilities,
        always_offer=config.always_offer,
        answer_unanswered=config.answer_unanswered,
        max_frame_size=config.max_frame_size,
        engine_id=config.engine_id,
    )


@dataclass
class Wire:
    """One connection as this end sees it."""

    up: bool = False
    left: bool = False  # the peer closed
    closed: Close = Close.KEEP  # what the session asked for
    said: bytes = b""
    got: bytes = b""


@dataclass
class Play:
    """A session, its two wires, and everything that happened."""

    config: SessionConfig
    dial: Dial = Dial.AT_ONCE
    fast: bool = True
    sizes: list[int] = field(default_factory=list)
    now: float = 1000.0

    def __post_init__(self) -> None:
        self.tally = Tally()
        kind = ObservedSession if self.config.observe else Session
        self.session = kind(self.config, self.tally, self.now, fast=self.fast)
        self.wires = {HAPROXY: Wire(up=True), AGENT: Wire()}
        self.events: list[Event] = []
        self.transcript: Transcript = []
        self.dialling = False
        self._take(self.session.start(self.now))

    # --- what may happen -----------------------------------------------------------------------------------------

    def play(self, moves: list[Move]) -> "Play":
        for move in moves:
            if self.dialling and self.dial is Dial.NEXT:
                self._connected()
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
                self.transcript.append(Step(self.now, Did.DRAIN))
                self._take(self.session.drain(self.now))
        return self

    def say(self, side: str, data: bytes) -> None:
        wire = self.wires[side]
        if wire.up and not wire.left and wire.closed in (Close.KEEP, Close.HALF):
            wire.said += data
            self.transcript.append(Step(self.now, SAID[side], data))
            self._take(self.session.receive(SIDES[side], data, self.now), came=(side, data))

    def leave(self, side: str, *, reset: bool) -> None:
        wire = self.wires[side]
        if wire.up and not wire.left:
            wire.left = True
            self.transcript.append(Step(self.now, LEFT[side]))
            self._take(self.session.closed(SIDES[side], self.now, reset=reset))

    def wait(self, seconds: float) -> None:
        self._dialled()
        self._until(self.now + seconds)

    def due(self) -> None:
        """Wait for the session's deadline, and not an instant longer; where it is far away or there is none, not at all."""
        self._dialled()
        if self.session.deadline <= self.now + NEAR_S:
            self._until(max(self.now, self.session.deadline))

    def _dialled(self) -> None:
        if self.dialling and self.dial is Dial.LATER:
            self._connected()
        elif self.dialling and self.dial is Dial.FAILS_LATER:
            self._failed()

    def _until(self, until: float) -> None:
        for _ in range(100):
            if self.session.deadline > until:
                break
            self.now = max(self.now, self.session.deadline)
            self._take(self.session.tick(self.now))
        else:
            raise AssertionError(f"a hundred ticks and the deadline is still {self.session.deadline - self.now:+.3f} s")
        self.now = until

    def finish(self) -> "Play":
        """Nobody says or does anything more: whatever is left to happen is up to the guard's own deadlines."""
        config = self.config
        for bound in (config.connect_s, config.hello_s, config.frame_s, config.disconnect_hold_s, 0.25, config.idle_s):
            self.wait(bound)
        self.wait(config.close_s)
        if config.observe:  # a plain proxy ends when its peers do
            self.leave(HAPROXY, reset=False)
            self.leave(AGENT, reset=False)
        self.transcript.append(Step(self.now, Did.OVER))
        assert self.session.state is State.CLOSED, f"still {self.session.state}"
        assert self.session.deadline == math.inf
        assert [event for event in self.events if isinstance(event, SessionEnded)] == self.events[-1:], (
            "the end is said once, last"
        )
        assert self.session.held == self.tally.held_bytes == 0
        assert self.session.open_notifies == self.tally.open_notifies == 0
        return self

    # --- what the session asks for -------------------------------------------------------------------------------

    def _take(self, out: Output, came: tuple[str, bytes] | None = None) -> None:
        self.events += out.events
        for side, data in ((HAPROXY, out.to_haproxy), (AGENT, out.to_agent)):
            wire = self.wires[side]
            if data:
                assert wire.up, f"bytes for the {side}, which is not connected: {data!r}"
                assert wire.closed is Close.KEEP, f"bytes for the {side} behind its close: {data!r}"
                wire.got += data
                self.transcript.append(Step(self.now, GOT[side], data))
        if self.config.observe:
            self._unchanged(out, came)
        if out.dial:
            assert not self.dialling
            assert not self.wires[AGENT].up, "dialled twice"
            self.dialling = True
        for side, close in ((HAPROXY, out.close_haproxy), (AGENT, out.close_agent)):
            self._close(side, close)
        self.books()
        if out.dial and self.dialling and self.dial is Dial.AT_ONCE:
            self._connected()
        elif out.dial and self.dialling and self.dial is Dial.FAILS:
            self._failed()

    def _close(self, side: str, close: Close) -> None:
        wire = self.wires[side]
        if close is Close.KEEP:
            return
        assert self.config.observe or close is not Close.HALF, "the guard itself never half-closes"
        assert wire.closed in (Close.KEEP, Close.HALF), f"the {side} is closed twice"
        assert wire.up or (side == AGENT and close is Close.ABORT), f"{close} for the {side}, which is not up"
        if side == AGENT and close is not Close.HALF:
            self.dialling = False
        wire.closed = close
        if wire.up and close is not Close.HALF:
            self.transcript.append(Step(self.now, CLOSED[side]))

    def _connected(self) -> None:
        self.dialling = False
        self.wires[AGENT].up = True
        self._take(self.session.agent_connected(self.now))

    def _failed(self) -> None:
        self.dialling = False
        self.transcript.append(Step(self.now, Did.AGENT_FAILED))
        self._take(self.session.agent_failed(DialFailure.REFUSED, "refused", self.now))

    # --- the books -----------------------------------------------------------------------------------------------

    def books(self) -> None:
        """Bytes in = out + held + dropped + authored, to the byte."""
        haproxy, agent = self.wires[HAPROXY], self.wires[AGENT]
        assert self.tally.held_bytes >= 0
        assert self.tally.bytes_to_agent == len(haproxy.said)
        assert self.tally.bytes_to_haproxy == len(agent.said)
        if isinstance(self.session, ObservedSession):
            return
        conv = self.session._conv
        held = 0
        for came, books, went in ((haproxy.said, conv.agent_books, agent.got), (agent.said, conv.to_haproxy.books, haproxy.got)):
            queued = conv.queued if books is conv.to_haproxy.books else 0
            assert len(went) == books.forwarded + books.authored - books.undelivered - queued
            held += queued
            kept = len(came) - books.forwarded - books.dropped
            assert kept >= 0, f"{-kept} bytes more went or were dropped than came"
            held += kept
        assert held == self.session.held == self.tally.held_bytes
        # The unfinished end of either stream, and the agent's goodbye; a HELLO is read before anything is agreed.
        most = 3 * self.config.held_bytes + (MAX_HELLO if self.session.state in BEFORE_HELLO else 0)
        assert held <= most, f"{held} bytes are held"

    def _unchanged(self, out: Output, came: tuple[str, bytes] | None) -> None:
        """Observe mode: each step passes on the bytes that came, and only while the agent is dialled are they kept."""
        haproxy, agent = self.wires[HAPROXY], self.wires[AGENT]
        assert haproxy.got == agent.said
        kept = haproxy.said[len(agent.got) :]
        assert agent.got + kept == haproxy.said
        over = haproxy.closed is not Close.KEEP or out.close_haproxy is not Close.KEEP
        assert self.session.held == len(kept) or (over and not agent.up and not self.session.held)
        assert not kept or not agent.up
        if came is not None:
            side, data = came
            assert (out.to_haproxy if side == AGENT else out.to_agent) in (data, b"")
