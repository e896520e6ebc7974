"""What both sides of a session share while it lasts: its state, its two ways out, its open NOTIFYs."""

import math

from spoe_guard.core.anomalies import Action, Anomaly, Side
from spoe_guard.core.config import SessionConfig
from spoe_guard.core.events import (
    SAMPLE_BYTES,
    AnomalySeen,
    AuthoredReason,
    Direction,
    Event,
    FrameAuthored,
    NotifiesUnanswered,
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


class Exchange:
    """State and means of one session. ``FromHAProxy`` and ``FromAgent`` decide; this, and ``Conversation`` at the end, carry out.

    ``haproxy_done`` and ``agent_done``: that connection is closed, was asked to close, or never was.
    ``hello_given``: the link is connected and the agent has HAPROXY-HELLO.
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

    def tell_agent(self, data: bytes, reason: AuthoredReason) -> None:
        """Author a whole frame for the agent, unless it is too late."""
        if self.to_agent.author(data):
            self.events.append(FrameAuthored(Direction.TO_AGENT, data[4], reason))

    # --- NOTIFYs that will have no ACK of the agent -----------------------------------------------------------------

    def give_up(self, ids: bytes, now: float, reason: UnansweredReason) -> None:
        """Count one NOTIFY, open or just arrived, as unanswered, and answer it if the route says so."""
        if ids in self.ledger.open:
            self.tally.open_notifies -= 1
        self._settle([ids], now, reason)

    def abandon(self, now: float, reason: UnansweredReason) -> None:
        """Count every open NOTIFY as unanswered."""
        waiting = list(self.ledger.open)
        if waiting:
            self.tally.open_notifies -= len(waiting)
            self._settle(waiting, now, reason)

    def _settle(self, waiting: list[bytes], now: float, reason: UnansweredReason) -> None:
        answer = self.config.answer_unanswered and reason is not UnansweredReason.HAPROXY_GONE
        action = Action.ANSWER if answer else Action.PASS
        if reason is not UnansweredReason.HAPROXY_GONE:  # that HAProxy leaves is not the agent's doing (F5)
            detail = f"{len(waiting)} NOTIFY(s): {reason.value}"
            self.judge(Side.AGENT, Anomaly.NOTIFY_UNANSWERED, b"", 0, action=action, detail=detail)
        self.events.append(NotifiesUnanswered(reason, len(waiting)))
        for ids in waiting:
            answered = answer and self.tell_haproxy(no_effect_ack(ids), AuthoredReason.ANSWERED)
            self.ledger.give_up(ids, now, answered=answered)

    # --- closing ---------------------------------------------------------------------------------------------------

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


def no_effect_ack(ids: bytes) -> bytes:
    """Return an ACK without effect for the NOTIFY with the raw ``ids``."""
    body = frame.ACK_HEAD + ids + actions.NO_EFFECT
    return len(body).to_bytes(frame.LENGTH_BYTES, "big") + body
