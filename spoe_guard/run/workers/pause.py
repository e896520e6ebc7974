"""How soon a worker that died is started again."""

from typing import Final

SHORTEST_S: Final = 0.1
LONGEST_S: Final = 5.0
STEADY_S: Final = 30.0  # who lived as long did not die of its start


class Pause:
    """The deaths of one worker, in a row: each is followed by twice the pause of the one before, at most ``LONGEST_S``."""

    def __init__(self) -> None:
        self._last_s = 0.0

    def after(self, lived_s: float) -> float:
        """Return for how long to wait, the last one having lived ``lived_s`` seconds."""
        if lived_s >= STEADY_S:
            self._last_s = 0.0
        self._last_s = min(2 * self._last_s, LONGEST_S) or SHORTEST_S
        return self._last_s
