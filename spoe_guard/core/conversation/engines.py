"""The sessions whose agent may answer on any of them: those of one engine of HAProxy that negotiated async.

Source: SPOE.txt 3.2.4 (capability async: "the peer is able to receive ACKs on any connection of the same engine-id").
"""

from typing import Protocol

from spoe_guard.core.conversation.agent_link import AgentLink


class Waiting(Protocol):
    """A session, as far as it matters here."""

    def holder(self, ids: bytes) -> AgentLink | None:
        """Return the link whose agent has the NOTIFY ``ids`` in hand."""


class Engines:
    """One route's sessions by engine-id and number; as many as there are connections, at most."""

    __slots__ = ("_sessions",)

    def __init__(self) -> None:
        self._sessions: dict[bytes, dict[int, Waiting]] = {}

    def join(self, engine: bytes, number: int, session: Waiting) -> None:
        """The session ``number`` may be answered on the links of others, and others on its own."""
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
