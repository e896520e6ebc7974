"""The progress of a session: its state, and the offer in HAPROXY-HELLO."""

import math

from spoe_guard.core.payloads.hello import Offer
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.states import ENDING, SESSION_MOVES, SessionState, move


class Progress:
    """The state of one session. ``offer``: from HAPROXY-HELLO; None before it came."""

    def __init__(self, config: SessionConfig, now: float) -> None:
        self.state = SessionState.HAPROXY_HELLO
        self.offer: Offer | None = None
        self._give_up_s = config.give_up_s
        self._hello_by = now + config.hello_s

    def enter(self, state: SessionState) -> None:
        """Move the session to ``state``; nothing else assigns it.

        Raises:
            IllegalMoveError: SESSION_MOVES does not allow the move.
        """
        self.state = move(self.state, state, SESSION_MOVES)

    def offered(self, offer: Offer, state: SessionState) -> None:
        """HAPROXY-HELLO came: ``state`` is DIALLING, or RUNNING if the session was taken over from the previous guard."""
        self.offer = offer
        self.enter(state)

    @property
    def hello_by(self) -> float:
        """The deadline for HAPROXY-HELLO, monotonic seconds; infinity once it came or is no longer awaited."""
        return self._hello_by if self.state is SessionState.HAPROXY_HELLO else math.inf

    @property
    def is_check(self) -> bool:
        """Whether the session is a health check of HAProxy."""
        return self.offer is not None and self.offer.healthcheck

    @property
    def outlives_links(self) -> bool:
        """Whether the session continues when an agent link is lost."""
        over = self.state in ENDING or self.state is SessionState.REFUSING
        return self._give_up_s > 0 and not over and self.offer is not None and not self.offer.healthcheck
