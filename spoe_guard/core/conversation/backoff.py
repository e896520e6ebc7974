"""When to dial again: each pause is a sixteenth of the time spent trying so far, within bounds."""

import math
from typing import Final

SHORTEST_S: Final = 0.005
LONGEST_S: Final = 0.25
_SHARE: Final = 16


def pause_s(trying_s: float, spread: float, shortest_s: float = SHORTEST_S, longest_s: float = LONGEST_S) -> float:
    """Return the pause before the next dial after ``trying_s`` of failures; ``spread``, 0 to 1, takes up to a quarter off."""
    return min(max(trying_s / _SHARE, shortest_s), longest_s) * (1 - spread / 4)


class Backoff:
    """The dials of one session whose links end early. ``spread`` in 0..1 keeps sessions from dialling in step.

    ``since``: when the failures began, infinity if there are none. ``retry_at``: earliest time of the next dial. Monotonic
    seconds.
    """

    __slots__ = ("_spread", "retry_at", "since")

    def __init__(self, spread: float = 0.0) -> None:
        self._spread = spread
        self.since = math.inf
        self.retry_at = -math.inf

    def failed(self, now: float) -> None:
        """A link died on the NOTIFYs that it got first, and they go to the next."""
        self.since = min(self.since, now)
        self.pause(now)

    def pause(self, now: float) -> None:
        """Dial again, but not at once."""
        self.retry_at = now + pause_s(max(now - self.since, 0.0), self._spread)

    def worked(self) -> None:
        """A link did useful work: forget the failures."""
        self.since = math.inf
        self.retry_at = -math.inf
