"""The interface through which the data path feeds the flight recorder all that a session's connections carry."""

import socket
from typing import TYPE_CHECKING

from spoe_guard.core.terms.anomalies import Action, Anomaly, Side
from spoe_guard.core.terms.output import Output

if TYPE_CHECKING:
    from mypy_extensions import i64


class Track:
    """A connection of the session ``number``: HAProxy's, or the agent's ``link_id``. The other attributes belong to the witness.

    ``book``: where it records the session, if it does; ``noted``: where it stored the last read, 0 nowhere, negative: not for
    that many reads; ``read``: bytes of the reads stored so far; ``settled``: how many of those bytes it has accounted for;
    ``weight``: what they count towards the session's bound.
    """

    __slots__ = ("book", "is_agents", "link_id", "noted", "number", "read", "settled", "side", "weight")

    def __init__(self, number: int, side: Side, link_id: int = 0) -> None:
        self.number = number
        self.side = side
        self.is_agents = side is Side.AGENT
        self.link_id = link_id
        self.book: object = None
        self.noted: i64 = 0
        self.read: i64 = 0
        self.weight: i64 = 0
        self.settled: i64 = 0


class Witness:
    """One object for all sessions of a process: one per session would cost more than the calls.

    It is called after each step, when the output is already written: no peer waits for it.
    """

    __slots__ = ()

    def read(self, track: Track, data: bytes, now: float, out: Output) -> None:
        """``data`` came on the connection at ``now`` and led to ``out``."""
        raise NotImplementedError

    def passed(self, track: Track, data: bytes, now: float, link_id: int) -> None:
        """``data`` passed on the lane and had no other effect: the only method that is called often.

        ``link_id``: the agent link it came from or went to.
        """
        raise NotImplementedError

    def note(  # noqa: PLR0913  a step of any kind
        self, number: int, side: Side, link_id: int, data: bytes, now: float, out: Output, *, reset: bool | None = None
    ) -> None:
        """Another step of that session; ``reset`` None: ``side``'s connection did not end with it."""
        raise NotImplementedError

    def wants(self, number: int, anomaly: Anomaly, action: Action) -> bool:
        """Whether an anomaly of that session has to be in an output; otherwise ``missed`` is enough."""
        raise NotImplementedError

    def missed(self, number: int, anomaly: Anomaly, action: Action) -> None:
        """That session had an anomaly that is in no output."""
        raise NotImplementedError

    def met(self, track: Track, sock: socket.socket) -> None:
        """The connection is there."""
        raise NotImplementedError

    def lost(self, track: Track) -> None:
        """The connection is gone."""
        raise NotImplementedError

    def over(self, number: int) -> None:
        """The session is over: no more calls for it follow."""
        raise NotImplementedError


class Both(Witness):
    """Two witnesses of the same session: ``first`` is the one that the tracks belong to."""

    __slots__ = ("_second", "first")

    def __init__(self, first: Witness, second: Witness) -> None:
        self.first = first
        self._second = second

    def read(self, track: Track, data: bytes, now: float, out: Output) -> None:
        """Tell both."""
        self.first.read(track, data, now, out)
        self._second.read(track, data, now, out)

    def passed(self, track: Track, data: bytes, now: float, link_id: int) -> None:
        """Tell both."""
        self.first.passed(track, data, now, link_id)
        self._second.passed(track, data, now, link_id)

    def note(  # noqa: PLR0913  as a Witness has them
        self, number: int, side: Side, link_id: int, data: bytes, now: float, out: Output, *, reset: bool | None = None
    ) -> None:
        """Tell both."""
        self.first.note(number, side, link_id, data, now, out, reset=reset)
        self._second.note(number, side, link_id, data, now, out, reset=reset)

    def wants(self, number: int, anomaly: Anomaly, action: Action) -> bool:
        """Return whether one of them does."""
        return self.first.wants(number, anomaly, action) or self._second.wants(number, anomaly, action)

    def missed(self, number: int, anomaly: Anomaly, action: Action) -> None:
        """Tell both."""
        self.first.missed(number, anomaly, action)
        self._second.missed(number, anomaly, action)

    def met(self, track: Track, sock: socket.socket) -> None:
        """Tell both."""
        self.first.met(track, sock)
        self._second.met(track, sock)

    def lost(self, track: Track) -> None:
        """Tell both."""
        self.first.lost(track)
        self._second.lost(track)

    def over(self, number: int) -> None:
        """Tell both."""
        self.first.over(number)
        self._second.over(number)
