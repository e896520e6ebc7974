"""What a relay knows of the guard it is one of."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from spoe_guard.net.leg import Leg
    from spoe_guard.net.relay import Relay


class Home(Protocol):
    """Where relays come from and go to."""

    def met(self, relay: "Relay", leg: "Leg") -> None:
        """A connection of ``relay`` is there."""

    def gone(self, relay: "Relay") -> None:
        """The last connection of ``relay`` is gone; called once."""

    def hand_over(self, number: int, raw: bytes) -> None:
        """``raw`` is an ACK for the session ``number``, of the same route."""
