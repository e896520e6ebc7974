"""What the relay knows of a session: core's ``Session``, the ``Splice`` that may take its place, or a test's."""

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
    """Bytes, time and news of connections in; ``Output`` out. Every ``now`` and ``deadline`` is monotonic seconds.

    ``link``: which agent link it is about, by the number its dial was asked for with; 0 for HAProxy's side.
    """

    deadline: float

    @property
    def lane(self) -> Lane | None:
        """What may pass without a step; None where nothing may."""

    def ledger(self, link: int) -> Ledger | None:
        """Return what the lane knows of the agent link of that number, which is up; None where it is gone."""

    def start(self, now: float) -> Output:
        """HAProxy is connected."""

    def receive(self, side: Side, data: bytes, now: float, link: int = 0) -> Output:
        """``side`` wrote ``data``; what the output calls ``left`` is to be given again."""

    def take_foreign(self, raw: bytes, now: float) -> Output:
        """An ACK for this session came on another one's link."""

    def agent_connected(self, now: float, link: int = 0) -> Output:
        """The dial that was asked for worked."""

    def agent_failed(self, reason: DialFailure, detail: str, now: float, link: int = 0) -> Output:
        """It did not."""

    def closed(self, side: Side, now: float, *, reset: bool, link: int = 0) -> Output:
        """``side`` sent FIN, or its connection broke."""

    def tick(self, now: float) -> Output:
        """``deadline`` has come."""

    def drain(self, now: float) -> Output:
        """The guard is stopping."""

    def release(self) -> tuple[bytes, bytes]:
        """Give up: return what is held back, (to_agent, to_haproxy)."""


@runtime_checkable
class Lasting(AnySession, Protocol):
    """A session that the next guard may go on with: see ``Session``."""

    def to_hand_over(self) -> Handed | None:
        """What the next guard needs."""

    def handed_over(self, now: float) -> Output:
        """It has HAProxy's connection."""

    def take_over(self, handed: Handed, now: float) -> Output:
        """The guard before has served it; NotTakenError where it cannot be resumed."""


SessionFactory = Callable[[SessionConfig, Tally, float, RouteState], AnySession]
