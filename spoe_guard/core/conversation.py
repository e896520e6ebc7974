"""What both sides of a session share: its state, its two ways out, its open NOTIFYs, and how it ends."""

import enum
import math
from typing import Final

from spoe_guard.core import goodbye
from spoe_guard.core.anomalies import Action, Anomaly, Side
from spoe_guard.core.config import SessionConfig
from spoe_guard.core.events import (
    SAMPLE_BYTES,
    AnomalySeen,
    AuthoredReason,
    Direction,
    DisconnectHeld,
    EndedBy,
    EndReason,
    Event,
    FrameAuthored,
    NotifiesUnanswered,
    SessionEnded,
    UnansweredReason,
)
from spoe_guard.core.goodbye import Goodbye
from spoe_guard.core.hello import Offer
from spoe_guard.core.ledger import Ledger
from spoe_guard.core.outlet import Outlet
from spoe_guard.core.output import Close, Output
from spoe_guard.core.states import State
from spoe_guard.core.tally import Tally
from spoe_guard.wire import actions, frame

ENDING: Final = frozenset((State.CLOSING, State.CLOSED))


# A refusal is held back this long: HAProxy <= 3.0 that is refused at once reconnects thousands of times a second.
REFUSAL_HOLD_S: Final = 0.25


@enum.unique
class LastWord(enum.Enum):
    """How HAProxy learns that the session is over."""

    SAY = "say"  # AGENT-DISCONNECT, then HAProxy closes
    ANSWER = "answer"  # AGENT-DISCONNECT in answer to HAProxy's own, then close at once
    NONE = "none"  # nothing is said, HAProxy closes: the end of a health check
    CLOSE = "close"  # nothing is said, close at once


class Conversation:
    """State and means of one session. ``FromHAProxy`` and ``FromAgent`` decide; this carries out.

    ``haproxy_done`` and ``agent_done``: that connection is closed, was asked to close, or never was.
    ``agent_up``: the link is connected. ``hello_given``: the agent has HAPROXY-HELLO.
    The ``*_by`` times are deadlines, infinity when not armed.
    """

    def __init__(self, config: SessionConfig, tally: Tally) -> None:
        self.config = config
        self.policy = config.policy
        self.tally = tally
        self.ledger = Ledger()
        self.state = State.HAPROXY_HELLO
        self.to_agent = Outlet()
        self.to_haproxy = Outlet()
        self.out = Output()
        self.events: list[Event] = []
        self.offer: Offer | None = None
        self.agent_size = frame.DEFAULT_MAX_FRAME_SIZE  # negotiated: most bytes behind the length prefix, both ways
        self.fragments = False  # negotiated
        self.agent_up = False
        self.hello_given = False
        self.haproxy_done = False
        self.agent_done = True
        self.draining = False
        self.agent_said_hello = False
        self.agent_said_goodbye = False
        self.hello_raw = b""  # HAPROXY-HELLO as it came, while the agent is dialled
        self.held: Goodbye | None = None
        self.held_since = 0.0
        self.connect_by = math.inf
        self.hello_by = math.inf
        self.hold_by = math.inf
        self.close_by = math.inf
        self._leaving_as = (EndedBy.AGENT, EndReason.DISCONNECT, goodbye.STATUS_NORMAL, "")
        self._ended = (EndedBy.GUARD, EndReason.CLOSED)

    # --- reporting -----------------------------------------------------------------------------------------------

    def judge(  # noqa: PLR0913 - what is reported has this many sides
        self,
        side: Side,
        anomaly: Anomaly,
        raw: bytes,
        offset: int,
        *,
        parsed: frame.Frame | None = None,
        detail: str = "",
        action: Action | None = None,
    ) -> Action:
        """Report ``anomaly`` and return what is done about it: ``action`` where it is given, else what the policy says."""
        action = action or self.policy.action(side, anomaly)
        known = len(raw) >= frame.LENGTH_BYTES
        self.events.append(
            AnomalySeen(
                anomaly=anomaly,
                side=side,
                action=action,
                state=self.state.value,
                type=parsed.type if parsed else raw[4] if len(raw) > frame.LENGTH_BYTES else None,
                stream_id=parsed.stream_id if parsed else None,
                frame_id=parsed.frame_id if parsed else None,
                length=frame.length_at(raw, 0) if known else len(raw),
                offset=offset,
                open_notifies=len(self.ledger.open),
                detail=detail,
                sample=bytes(raw[:SAMPLE_BYTES]),
                applied=not self.config.observe,
            )
        )
        return action

    # --- writing -------------------------------------------------------------------------------------------------

    def tell_haproxy(self, data: bytes, reason: AuthoredReason) -> bool:
        """Author a whole frame for HAProxy; False when it is too late."""
        if self.haproxy_done or not self.to_haproxy.author(data):
            return False
        self.events.append(FrameAuthored(Direction.TO_HAPROXY, data[4], reason))
        return True

    def tell_agent(self, data: bytes, reason: AuthoredReason) -> bool:
        """Author a whole frame for the agent; False when it is too late."""
        if self.agent_done or not self.to_agent.author(data):
            return False
        self.events.append(FrameAuthored(Direction.TO_AGENT, data[4], reason))
        return True

    # --- NOTIFYs that will have no ACK of the agent -----------------------------------------------------------------

    def give_up(self, ids: bytes, reason: UnansweredReason) -> None:
        """Count one NOTIFY, open or just arrived, as unanswered, and answer it if the route says so."""
        if ids in self.ledger.open:
            self.tally.open_notifies -= 1
        self._settle([ids], reason)

    def abandon(self, reason: UnansweredReason) -> None:
        """Count every open NOTIFY as unanswered."""
        waiting = list(self.ledger.open)
        if waiting:
            self.tally.open_notifies -= len(waiting)
            self._settle(waiting, reason)

    def _settle(self, waiting: list[bytes], reason: UnansweredReason) -> None:
        answer = self.config.answer_unanswered and reason is not UnansweredReason.HAPROXY_GONE
        action = Action.ANSWER if answer else Action.PASS
        if reason is not UnansweredReason.HAPROXY_GONE:  # that HAProxy leaves is not the agent's doing (F5)
            detail = f"{len(waiting)} NOTIFY(s): {reason.value}"
            self.judge(Side.AGENT, Anomaly.NOTIFY_UNANSWERED, b"", 0, action=action, detail=detail)
        self.events.append(NotifiesUnanswered(reason, len(waiting)))
        for ids in waiting:
            answered = answer and self.tell_haproxy(no_effect_ack(ids), AuthoredReason.ANSWERED)
            self.ledger.give_up(ids, answered=answered)

    # --- the end -------------------------------------------------------------------------------------------------

    def hold(self, said: Goodbye | None, now: float, by: EndedBy, reason: EndReason, status: int) -> None:
        """Hold back the agent's last word, or the guard's in its place, until open NOTIFYs are answered."""
        self.state = State.LEAVING
        self.held = said
        self.held_since = now
        self.hold_by = now + self.config.disconnect_hold_s
        self._leaving_as = (by, reason, status, "")

    def refuse(self, now: float, by: EndedBy, reason: EndReason, status: int, message: str) -> None:
        """Hold back the news that there is no agent to talk to."""
        self.state = State.REFUSING
        self.connect_by = self.hello_by = math.inf
        self.hold_by = now + REFUSAL_HOLD_S
        self._leaving_as = (by, reason, status or goodbye.STATUS_RESOURCES, message)

    def leave(self, now: float) -> None:
        """Let the held last word go: everything is answered, or will not be any more."""
        by, reason, status, message = self._leaving_as
        self.finish(now, by, reason, status=status, message=message)

    def finish(
        self,
        now: float,
        by: EndedBy,
        reason: EndReason,
        *,
        status: int = goodbye.STATUS_NORMAL,
        message: str = "",
        word: LastWord = LastWord.SAY,
    ) -> None:
        """End the session the clean way: open NOTIFYs, the last word to each side, then wait for them to close.

        ``status`` and ``message`` are what HAProxy is told where the agent's own DISCONNECT is not at hand.
        """
        if self.state in ENDING:
            return
        gone = UnansweredReason.HAPROXY_GONE if by is EndedBy.HAPROXY else UnansweredReason.AGENT_GONE
        self.abandon(gone)
        if self.state is State.LEAVING:
            self.events.append(DisconnectHeld(now - self.held_since))
        if word in (LastWord.SAY, LastWord.ANSWER) and not self.haproxy_done:
            self._say(status, message, AuthoredReason.ANSWERED if word is LastWord.ANSWER else AuthoredReason.LAST_WORD)
        elif self.held is not None:
            self.to_haproxy.drop(len(self.held.frame.raw))
        self.held = None
        self.to_haproxy.seal()
        if word in (LastWord.ANSWER, LastWord.CLOSE):
            self.close_haproxy()
        self._dismiss_agent(status, message)
        self.state = State.CLOSING
        self.connect_by = self.hello_by = self.hold_by = math.inf
        self.close_by = now + self.config.close_s
        self._ended = (by, reason)
        self.conclude()

    def _say(self, status: int, message: str, reason: AuthoredReason) -> None:
        """Tell HAProxy goodbye: the agent's own word if one is held, else one authored."""
        lost = self.ledger.lost > 0
        said = self.held
        if said is None:
            if lost and status == goodbye.STATUS_NORMAL and reason is AuthoredReason.LAST_WORD:
                status = goodbye.STATUS_RESOURCES
            self.tell_haproxy(goodbye.encode(frame.AGENT_DISCONNECT, status, message), reason)
            return
        raw = said.frame.raw
        status = goodbye.clamp(said.status)
        wrong = status != said.status or (lost and status == goodbye.STATUS_NORMAL)
        if said.status is not None and wrong:
            detail = f"status {said.status}, {self.ledger.lost} NOTIFY(s) unanswered"
            action = self.judge(Side.AGENT, Anomaly.DISCONNECT_STATUS, raw, 0, parsed=said.frame, detail=detail)
            wrong = action is Action.REPAIR
        if said.fit and not wrong:
            self.to_haproxy.forward(raw)
            return
        if wrong and status == goodbye.STATUS_NORMAL:
            status = goodbye.STATUS_RESOURCES
        self.to_haproxy.drop(len(raw))
        self.tell_haproxy(goodbye.encode(frame.AGENT_DISCONNECT, status, said.message), AuthoredReason.REPAIRED)

    def _dismiss_agent(self, status: int, message: str) -> None:
        """Tell the agent goodbye, if it was ever told hello (promise A3), or give up the dial."""
        if self.hello_raw:
            self.to_agent.drop(len(self.hello_raw))
            self.hello_raw = b""
        if self.agent_done:
            return
        if self.hello_given:
            if status == goodbye.STATUS_RESOURCES:  # that is how HAProxy learns of the agent's end, which is no news to it
                status = goodbye.STATUS_NORMAL
            said = goodbye.encode(frame.HAPROXY_DISCONNECT, goodbye.clamp(status), message)
            self.tell_agent(said, AuthoredReason.LAST_WORD)
            self.to_agent.seal()
        else:
            self.close_agent(Close.FLUSH if self.agent_up else Close.ABORT)

    def close_haproxy(self, how: Close = Close.FLUSH) -> None:
        """Close HAProxy's connection behind what is queued for it."""
        if not self.haproxy_done:
            self.out.close_haproxy = how
            self.haproxy_done = True
            self.to_haproxy.seal()

    def close_agent(self, how: Close = Close.FLUSH) -> None:
        """Close the agent link behind what is queued for it."""
        if not self.agent_done:
            self.out.close_agent = how
            self.agent_done = True
            self.to_agent.seal()

    def conclude(self) -> None:
        """Report the end, once, when both connections are."""
        if self.state is State.CLOSING and self.haproxy_done and self.agent_done:
            self.state = State.CLOSED
            self.close_by = math.inf
            self.events.append(SessionEnded(*self._ended))


def no_effect_ack(ids: bytes) -> bytes:
    """Return an ACK without effect for the NOTIFY with the raw ``ids``."""
    body = bytes((frame.ACK, 0, 0, 0, frame.FLAG_FIN)) + ids + actions.NO_EFFECT
    return len(body).to_bytes(frame.LENGTH_BYTES, "big") + body
