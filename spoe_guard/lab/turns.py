"""When a faulty agent goes wrong: on every so many frames or by chance, within bounds."""

import random
from collections.abc import Callable
from typing import Final

PERIOD_S: Final = 1.0  # that ``rate`` counts in


class Turns:
    """Called once for each frame on which the agent could go wrong; returns whether it does.

    It does on each ``every``-th one, or, where ``probability`` (0 to 1) is given, on each with that probability: on the same ones
    for the same ``seed``. At most ``rate`` times a second, and ``count`` times in all (None: no bound). ``taken`` is how often it
    did, ``left_out`` how often a bound kept it from it. ``clock`` returns seconds that only grow.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        every: int = 1,
        probability: float | None = None,
        seed: int | None = None,
        rate: int = 100,
        count: int | None = None,
    ) -> None:
        self._clock = clock
        self._every = every
        self._probability = probability
        self._random = random.Random(seed)  # noqa: S311  chance, no secret
        self._rate = rate
        self._count = count
        self._asked = 0
        self._began = clock()
        self._in_period = 0
        self.taken = 0
        self.left_out = 0

    def __call__(self) -> bool:
        """Return whether to go wrong on this one."""
        if not self._due():
            return False
        now = self._clock()
        if now - self._began >= PERIOD_S:
            self._began, self._in_period = now, 0
        if self._in_period >= self._rate or self.taken == self._count:
            self.left_out += 1
            return False
        self._in_period += 1
        self.taken += 1
        return True

    def _due(self) -> bool:
        self._asked += 1
        if self._probability is not None:
            return self._random.random() < self._probability
        return self._asked % self._every == 0
