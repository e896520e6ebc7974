"""When to dial again: a try after a sixteenth of the time that was spent trying, so that waiting is bounded by what it is for."""

import math
from typing import Final

SHORTEST_S: Final = 0.005
LONGEST_S: Final = 0.25
_SHARE: Final = 16


class Backoff:
    """The tries of one session to have an agent link again. ``spread`` in 0..1 keeps sessions from trying in step.

    ``since``: when the trouble began, infinity while there is none. ``retry_at``: not before. Monotonic seconds.
    """

    __slots__ = ("_spread", "retry_at", "since")

    def __init__(self, spread: float = 0.0) -> None:
        self._spread = spread
        self.since = math.inf
        self.retry_at = -math.inf

    def failed(self, now: float) -> None:
        """A try failed, or what it brought died of the first work it was given."""
        self.since = min(self.since, now)
        self.pause(now)

    def pause(self, now: float) -> None:
        """Dial again, but not at once."""
        delay = min(max((now - self.since) / _SHARE, SHORTEST_S), LONGEST_S)
        self.retry_at = now + delay * (1 - self._spread / 4)

    def worked(self) -> None:
        """There was a link that was of use."""
        self.since = math.inf
        self.retry_at = -math.inf
