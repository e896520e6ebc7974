"""What a relay knows of the guard it is one of."""

from typing import TYPE_CHECKING, Protocol

from spoe_guard.net.witness import Witness

if TYPE_CHECKING:
    from spoe_guard.net.relay import Relay


class Home(Protocol):
    """Where relays come from and go to."""

    def witness(self, route: str, number: int) -> Witness | None:
        """Return who is told what the session ``number``, which begins, carries."""

    def gone(self, relay: "Relay") -> None:
        """The last connection of ``relay`` is gone; called once."""

    def hand_over(self, number: int, raw: bytes) -> None:
        """``raw`` is an ACK for the session ``number``, of the same route."""
