"""The sessions of one HAProxy engine that negotiated async: their agents may answer on the link of any of them.

Source: SPOE.txt 3.2.4 (capability async: "the peer is able to receive ACKs on any connection of the same engine-id").
"""

from typing import Protocol

from spoe_guard.core.conversation.agent_link import AgentLink


class Waiting(Protocol):
    """The part of a session that is needed here."""

    def holder(self, ids: bytes) -> AgentLink | None:
        """Return the link whose agent has the NOTIFY ``ids``."""


class Engines:
    """One route's sessions by engine-id and number; at most one for each connection."""

    __slots__ = ("_sessions",)

    def __init__(self) -> None:
        self._sessions: dict[bytes, dict[int, Waiting]] = {}

    def join(self, engine: bytes, number: int, session: Waiting) -> None:
        """Register a session: it may be answered on the links of others, and others on its links."""
        self._sessions.setdefault(engine, {})[number] = session

    def leave(self, engine: bytes, number: int) -> None:
        """Unregister a session; a no-op if it was never registered."""
        sessions = self._sessions.get(engine, {})
        sessions.pop(number, None)
        if not sessions:
            self._sessions.pop(engine, None)

    def waiting(self, engine: bytes, ids: bytes) -> list[int]:
        """Return the sessions of ``engine`` in which the NOTIFY ``ids`` is open."""
        return [number for number, session in self._sessions.get(engine, {}).items() if session.holder(ids)]
