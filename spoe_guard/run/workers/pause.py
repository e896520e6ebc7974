"""How long to wait before a dead worker is started again."""

from typing import Final

SHORTEST_S: Final = 0.1
LONGEST_S: Final = 5.0
STEADY_S: Final = 30.0  # a worker that lived this long did not die of its start


class Pause:
    """The pause after each death of one worker: it doubles with each death in a row, up to ``LONGEST_S``."""

    def __init__(self) -> None:
        self._last_s = 0.0

    def after(self, lived_s: float) -> float:
        """Return how many seconds to wait after a process that lived ``lived_s`` seconds."""
        if lived_s >= STEADY_S:
            self._last_s = 0.0
        self._last_s = min(2 * self._last_s, LONGEST_S) or SHORTEST_S
        return self._last_s
