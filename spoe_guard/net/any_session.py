"""The interface of a session to its relay: core's ``Session``, the ``Splice`` that may replace it, or a test's."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from spoe_guard.core.conversation.ledger import Ledger
from spoe_guard.core.conversation.route_state import RouteState
from spoe_guard.core.handed import Handed
from spoe_guard.core.lane import Lane
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.events import DialFailure
from spoe_guard.core.terms.output import Output
from spoe_guard.core.terms.tally import Tally


class AnySession(Protocol):
    """Takes bytes, time and the events of connections; returns ``Output``. Every ``now`` and ``deadline`` is monotonic seconds.

    ``link_id``: the number of the agent link, as in the order to dial it; 0 for HAProxy's side.
    """

    deadline: float

    @property
    def in_memory(self) -> int:
        """Bytes kept of the peers."""

    @property
    def open_notifies(self) -> int:
        """NOTIFYs that an agent has received and not yet answered."""

    @property
    def oldest_since(self) -> float:
        """When HAProxy sent the oldest NOTIFY that is open or parked; infinity if there is none."""

    @property
    def lane(self) -> Lane | None:
        """What may pass without a step; None where nothing may."""

    def ledger(self, link_id: int) -> Ledger | None:
        """Return the ledger of the agent link with that number; None if the link is gone."""

    def start(self, now: float) -> Output:
        """HAProxy is connected."""

    def receive(self, side: Side, data: bytes, now: float, link_id: int = 0) -> Output:
        """``side`` sent ``data``; the bytes that the output counts as ``left`` have to be passed in again."""

    def turn_away(self, first: bytes, detail: str, now: float) -> Output:
        """HAProxy sent ``first`` where the route expects a PROXY header; ``detail`` says what is wrong with it."""

    def take_foreign(self, raw: bytes, now: float) -> Output:
        """An ACK for this session came on another one's link."""

    def agent_connected(self, now: float, link_id: int = 0) -> Output:
        """The requested dial succeeded."""

    def agent_failed(self, reason: DialFailure, detail: str, now: float, link_id: int = 0) -> Output:
        """The requested dial failed."""

    def closed(self, side: Side, now: float, *, reset: bool, link_id: int = 0) -> Output:
        """``side`` sent FIN, or its connection broke."""

    def tick(self, now: float) -> Output:
        """``deadline`` has come."""

    def drain(self, now: float) -> Output:
        """The guard is stopping."""

    def release(self) -> tuple[bytes, bytes]:
        """Give up the session: return the buffered bytes, (to_agent, to_haproxy)."""


@runtime_checkable
class Lasting(AnySession, Protocol):
    """A session that the next guard may resume: see ``Session``."""

    @property
    def stood_in(self) -> bool:
        """Whether HAProxy got AGENT-HELLO from the guard."""

    def give_way(self, now: float) -> Output:
        """End, and keep nothing: all sessions together hold back too much."""

    def to_hand_over(self) -> Handed | None:
        """Return what the next guard needs; see ``Session``."""

    def handed_over(self, now: float) -> Output:
        """The next guard has HAProxy's connection."""

    def take_over(self, handed: Handed, now: float) -> Output:
        """Resume a session of the previous guard; NotTakenError if that is not possible."""


SessionFactory = Callable[[SessionConfig, Tally, float, RouteState], AnySession]
