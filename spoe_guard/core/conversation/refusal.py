"""How long HAProxy waits for the news that there is no agent for it: longer each time, until an agent sends HELLO.

HAProxy up to 3.0 that is refused while a stream waits connects again at once, thousands of times a second, for as long as
that stream has patience; and that stream sees its own timeout either way. From 3.1 on it asks once and fails the stream, so
there every moment of a refusal held back is the stream's.
"""

from typing import Final

SHORTEST_S: Final = 0.25
LONGEST_S: Final = 5.0
MOST_HELD: Final = 256  # held longer than the shortest time; as many connections of HAProxy's wait idle


class Refusals:
    """The refusals of one route, over all its sessions. Times in seconds, ``now`` monotonic.

    The time doubles once per round: what is refused while the last round is still held back waits as long as that did, so
    that ten threads of HAProxy refused at once count as one refusal.
    ``away``: a session gave the agent up, and none has met it since; the next one need not try for as long again.
    """

    __slots__ = ("_hold_s", "_round_over", "away", "waiting")

    def __init__(self) -> None:
        self.away = False
        self.waiting = 0  # right now, by ``hold`` and not yet ``ended``
        self._hold_s = 0.0
        self._round_over = 0.0

    def hold(self, now: float, *, patient: bool) -> float:
        """Return when HAProxy is to be told; ``ended`` must follow, once.

        ``patient``: it is known to connect again at once. One that may not is told after the shortest time, and so is one
        more than are held at most: told at once it would storm, and the shortest time is what keeps it from that.
        """
        self.waiting += 1
        if now >= self._round_over:
            self._hold_s = min(2 * self._hold_s, LONGEST_S) or SHORTEST_S
            self._round_over = now + self._hold_s
        return now + (self._hold_s if patient and self.waiting <= MOST_HELD else SHORTEST_S)

    def ended(self) -> None:
        """HAProxy was told, or is gone."""
        self.waiting -= 1

    def gave_up(self) -> None:
        """A session gave the agent up."""
        self.away = True

    def succeeded(self) -> None:
        """The agent sent HELLO: the next refusal is the first again."""
        self._hold_s = self._round_over = 0.0
        self.away = False
