"""How long the guard delays a refusal of HAProxy while there is no agent: longer each time, until an agent sends HELLO.

If HAProxy up to 3.0 is refused while a stream waits, it reconnects at once, thousands of times a second, until the stream's own
timeout, which expires either way. HAProxy 3.1 and later tries once and fails the stream, so there each delay delays the stream.
"""

from typing import Final

SHORTEST_S: Final = 0.25
LONGEST_S: Final = 5.0
MOST_HELD: Final = 256  # refusals delayed for longer than the shortest time; each keeps a connection of HAProxy idle


class Refusals:
    """The refusals of one route, over all its sessions. Times in seconds, ``now`` monotonic.

    The delay doubles once per round: refusals during a round share its delay, so ten HAProxy threads refused at once count as
    one refusal.
    """

    __slots__ = ("_hold_s", "_round_over", "waiting")

    def __init__(self) -> None:
        self.waiting = 0  # refusals in progress: ``hold`` was called, ``ended`` not yet
        self._hold_s = 0.0
        self._round_over = 0.0

    def hold(self, now: float, *, patient: bool) -> float:
        """Return when to refuse HAProxy; ``ended`` must follow, once.

        ``patient``: this HAProxy is known to reconnect at once. Others are refused after the shortest time, and so are those
        beyond ``MOST_HELD``: refused without any delay they would storm.
        """
        self.waiting += 1
        if now >= self._round_over:
            self._hold_s = min(2 * self._hold_s, LONGEST_S) or SHORTEST_S
            self._round_over = now + self._hold_s
        return now + (self._hold_s if patient and self.waiting <= MOST_HELD else SHORTEST_S)

    def ended(self) -> None:
        """HAProxy was refused, or is gone."""
        self.waiting -= 1

    def succeeded(self) -> None:
        """The agent sent HELLO: the next refusal starts again with the shortest delay."""
        self._hold_s = self._round_over = 0.0
