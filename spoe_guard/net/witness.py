"""Who may be told of all that a session's connections carry: the flight recorder, as the data path sees it."""

import socket
from typing import TYPE_CHECKING

from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.output import Output

if TYPE_CHECKING:
    from mypy_extensions import i64


class Track:
    """A connection of the session ``number``: HAProxy's, or the agent's ``link``. The rest is the witness's own.

    ``book``: where it keeps what the session does, if it does; ``noted``: where it has put the last read, 0 nowhere, less than 0:
    not for so many reads; ``read``: bytes of those that it has put somewhere so far; ``settled``: of how many of them it has
    taken account; ``weight``: what they count towards the session's bound.
    """

    __slots__ = ("book", "is_agents", "link", "noted", "number", "read", "settled", "side", "weight")

    def __init__(self, number: int, side: Side, link: int = 0) -> None:
        self.number = number
        self.side = side
        self.is_agents = side is Side.AGENT
        self.link = link
        self.book: object = None
        self.noted: i64 = 0
        self.read: i64 = 0
        self.weight: i64 = 0
        self.settled: i64 = 0


class Witness:
    """One object for all sessions of a process: one per session would cost more than the calls.

    It is told behind each step, when what was to be written is written: no peer waits for it.
    """

    __slots__ = ()

    def read(self, track: Track, data: bytes, now: float, out: Output) -> None:
        """``data`` came on the connection at ``now``, of which came ``out``."""
        raise NotImplementedError

    def passed(self, track: Track, data: bytes, now: float, link: int) -> None:
        """The same of ``data`` that went on as it came, and nothing else came of it: the only call that is made often.

        ``link``: which agent link it came from, or went to.
        """
        raise NotImplementedError

    def note(  # noqa: PLR0913  a step of any kind
        self, number: int, side: Side, link: int, data: bytes, now: float, out: Output, *, reset: bool | None = None
    ) -> None:
        """Another step of that session; ``reset`` None: ``side``'s connection did not end with it."""
        raise NotImplementedError

    def met(self, track: Track, sock: socket.socket) -> None:
        """The connection is there."""
        raise NotImplementedError

    def lost(self, track: Track) -> None:
        """It is gone."""
        raise NotImplementedError

    def over(self, number: int) -> None:
        """Of that session nothing more is told."""
        raise NotImplementedError
