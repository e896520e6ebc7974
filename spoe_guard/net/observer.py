"""The interface through which the network ring reports; it knows nothing of metrics or logs."""

from collections.abc import Sequence
from typing import Protocol

from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.events import DialFailure, Event, GaveWay
from spoe_guard.core.terms.tally import Tally


class Observer(Protocol):
    """Receives what sessions report. No method may raise or block."""

    def tally(self, route: str) -> Tally:
        """Return the counters the sessions of ``route`` add to."""

    def session_opened(self, route: str, session: int, peer: str) -> None:
        """HAProxy, or another client, connected. ``session`` counts up from 1 in this process; ``peer`` is in readable form."""

    def peer_named(self, route: str, session: int, peer: str) -> None:
        """The session's PROXY header says who really connected."""

    def seen(self, route: str, session: int, events: Sequence[Event]) -> None:
        """A step of a session reported these events, in order."""

    def wants(self, route: str, anomaly: Anomaly) -> bool:
        """Whether an anomaly of this kind is to be reported; otherwise ``counted`` is enough."""

    def counted(self, route: str, side: Side, anomaly: Anomaly, action: Action, *, applied: bool) -> None:
        """There was an anomaly that is not reported."""

    def session_closed(self, route: str, session: int) -> None:
        """Both connections of the session are gone."""

    def agent_dialled(self, route: str, agent: str, reason: DialFailure | None, detail: str) -> None:
        """``agent``, an address, was dialled; ``reason``: why that failed, None if it did not. ``detail``: for people."""

    def agent_silent(self, route: str, agent: str, detail: str) -> None:
        """``agent``, one address of several, let NOTIFYs pass their deadline: it is passed over. ``detail``: for people."""

    def agent_moved(self, route: str, before: str, after: str, why: str) -> None:
        """With `balance: first` new links go to the address ``after`` from now on; ``why``: empty if it is back."""

    def link_opened(self, route: str, agent: str) -> None:
        """A connection to ``agent``, an address, is up."""

    def link_closed(self, route: str, agent: str) -> None:
        """A connection to ``agent`` is gone."""

    def accept_failed(self, route: str, why: str) -> None:
        """Connections of HAProxy wait because the guard is short of something; ``why`` says of what, and what to raise."""

    def gave_way(self, route: str, session: int, reason: GaveWay, kept: int) -> None:
        """The guard ended ``session``, or stopped to judge it, in favour of others; it kept ``kept`` bytes."""

    def internal_error(self, route: str, session: int, error: BaseException) -> None:
        """A bug of ours, caught once, in the leg."""
