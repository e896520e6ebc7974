"""How far a session has come: its state, and what HAPROXY-HELLO offered."""

import math

from spoe_guard.core.payloads.hello import Offer
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.states import ENDING, SESSION_MOVES, SessionState, move


class Progress:
    """The state of one session. ``offer``: what HAPROXY-HELLO offered; None before it came."""

    def __init__(self, config: SessionConfig, now: float) -> None:
        self.state = SessionState.HAPROXY_HELLO
        self.offer: Offer | None = None
        self._give_up_s = config.give_up_s
        self._hello_by = now + config.hello_s

    def enter(self, state: SessionState) -> None:
        """Move the session to ``state``; the only assignment there is.

        Raises:
            IllegalMoveError: SESSION_MOVES does not have that.
        """
        self.state = move(self.state, state, SESSION_MOVES)

    def offered(self, offer: Offer, state: SessionState) -> None:
        """HAPROXY-HELLO came: ``state`` is DIALLING, or RUNNING where the guard before did the rest."""
        self.offer = offer
        self.enter(state)

    @property
    def hello_by(self) -> float:
        """When HAPROXY-HELLO must be there, monotonic seconds; infinity once it is, or is no longer waited for."""
        return self._hello_by if self.state is SessionState.HAPROXY_HELLO else math.inf

    @property
    def is_check(self) -> bool:
        """Whether the session is a health check of HAProxy's."""
        return self.offer is not None and self.offer.healthcheck

    @property
    def outlives_links(self) -> bool:
        """Whether the session goes on when an agent link is lost."""
        over = self.state in ENDING or self.state is SessionState.REFUSING
        return self._give_up_s > 0 and not over and self.offer is not None and not self.offer.healthcheck
