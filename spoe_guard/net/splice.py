"""A plain TCP proxy with the interface of a session: it takes over when a bug of ours broke the real one.

``on_internal_error: splice`` replaces the broken session by one of these. It has the same methods and returns the same
``Output``, so the relay handles back-pressure, timers and closing as before.
"""

import math

from spoe_guard.core.conversation.ledger import Ledger
from spoe_guard.core.lane import Lane
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.events import DialFailure, EndedBy, EndReason, SessionEnded
from spoe_guard.core.terms.output import Close, Output
from spoe_guard.core.terms.tally import Tally


class Splice:
    """Passes bytes unchanged. ``connected`` and ``dialling``: the state of the agent's side, which is ``link_id``."""

    __slots__ = ("_closed", "_config", "_connected", "_dialling", "_link", "_over", "_tally", "_waiting", "deadline", "lane")

    def __init__(self, config: SessionConfig, tally: Tally, now: float, link_id: int, *, connected: bool, dialling: bool) -> None:
        self.deadline = now + config.idle_s
        self.lane: Lane | None = None  # frames are not inspected
        self._link = link_id
        self._config = config
        self._tally = tally
        self._connected = connected
        self._dialling = dialling
        self._closed: set[Side] = set()
        self._waiting = b""  # for the agent, until it is connected
        self._over = False

    @property
    def in_memory(self) -> int:
        """Bytes that wait for the agent."""
        return len(self._waiting)

    @property
    def open_notifies(self) -> int:
        """Return 0: a splice does not track NOTIFYs."""
        return 0

    @property
    def oldest_since(self) -> float:
        """Return infinity: a splice does not track NOTIFYs."""
        return math.inf

    def ledger(self, link_id: int) -> Ledger | None:  # noqa: ARG002  a session's signature
        """Return None: a splice does not track NOTIFYs."""
        return None

    def resume(self, held: tuple[bytes, bytes], closed: tuple[Side, ...]) -> Output:
        """Continue where the session broke: ``held`` is what it had buffered (to_agent, to_haproxy), ``closed`` who sent FIN."""
        out = self._output()
        out.to_haproxy = held[1]
        if self._connected:
            out.to_agent = held[0]
        else:
            self._waiting = held[0]
            out.dial = not self._dialling
        for side in closed:
            self._half(side, out)
        if len(self._closed) == len(Side):
            self._end(out, Close.FLUSH, EndedBy.GUARD, EndReason.INTERNAL_ERROR)
        return out

    def start(self, now: float) -> Output:
        """Do nothing: a splice begins in mid-session."""
        self.deadline = now + self._config.idle_s
        return self._output()

    def receive(self, side: Side, data: bytes, now: float, link_id: int = 0) -> Output:  # noqa: ARG002  a session's signature
        """Pass ``data`` on."""
        out = self._output()
        if self._over:
            return out
        self.deadline = now + self._config.idle_s
        if side is Side.AGENT:
            self._tally.bytes_to_haproxy += len(data)
            out.to_haproxy = data
            return out
        self._tally.bytes_to_agent += len(data)
        if self._connected:
            out.to_agent = data
            return out
        self._waiting += data
        if len(self._waiting) > self._config.held_bytes:
            self._end(out, Close.ABORT, EndedBy.GUARD, EndReason.LIMIT)
        return out

    def turn_away(self, first: bytes, detail: str, now: float) -> Output:  # noqa: ARG002  a session's signature
        """Pass ``first`` on."""
        return self.receive(Side.HAPROXY, first, now)

    def take_foreign(self, raw: bytes, now: float) -> Output:  # noqa: ARG002  a session's signature
        """Ignore it: the session that waited for it is gone."""
        return self._output()

    def agent_connected(self, now: float, link_id: int = 0) -> Output:  # noqa: ARG002  a session's signature
        """Send the agent what arrived meanwhile."""
        self.deadline = now + self._config.idle_s
        out = self._output()
        self._connected = True
        out.to_agent, self._waiting = self._waiting, b""
        if Side.HAPROXY in self._closed:
            out.close_agent = Close.HALF
        return out

    def agent_failed(self, reason: DialFailure, detail: str, now: float, link_id: int = 0) -> Output:  # noqa: ARG002  a session's signature
        """End the session: there is nobody to pass bytes to."""
        out = self._output()
        self._end(out, Close.ABORT, EndedBy.GUARD, EndReason.UNREACHABLE)
        return out

    def closed(self, side: Side, now: float, *, reset: bool, link_id: int = 0) -> Output:  # noqa: ARG002  a session's signature
        """Pass FIN on as FIN and a reset as a reset."""
        out = self._output()
        if self._over or (side in self._closed and not reset):
            return out
        by = EndedBy.HAPROXY if side is Side.HAPROXY else EndedBy.AGENT
        if reset:
            self._end(out, Close.ABORT, by, EndReason.RESET)
            return out
        self._half(side, out)
        if len(self._closed) == len(Side):
            self._end(out, Close.FLUSH, by, EndReason.CLOSED)
        return out

    def tick(self, now: float) -> Output:
        """End a session without traffic for ``idle_s``."""
        out = self._output()
        if now >= self.deadline:
            self._end(out, Close.FLUSH, EndedBy.GUARD, EndReason.IDLE_TIMEOUT)
        return out

    def drain(self, now: float) -> Output:  # noqa: ARG002  a session's signature
        """End at once: a splice does not know what is still open."""
        out = self._output()
        if not self._over:
            self._end(out, Close.FLUSH, EndedBy.GUARD, EndReason.DRAIN)
        return out

    def release(self) -> tuple[bytes, bytes]:
        """Return the bytes that wait for the agent."""
        return self._waiting, b""

    def _output(self) -> Output:
        out = Output()
        out.link_id = self._link
        return out

    def _half(self, side: Side, out: Output) -> None:
        self._closed.add(side)
        if side is Side.AGENT:
            out.close_haproxy = Close.HALF
        elif self._connected:
            out.close_agent = Close.HALF

    def _end(self, out: Output, how: Close, by: EndedBy, reason: EndReason) -> None:
        self._over = True
        self.deadline = math.inf
        out.close_haproxy = out.close_agent = how
        out.events = [SessionEnded(by, reason)]
