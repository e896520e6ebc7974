"""How many reloads succeeded and failed, and whether the last one succeeded."""

import time


class Reloads:
    """Counters of reloads. ``succeeded_at``: Unix seconds of the last successful one, or of the start."""

    __slots__ = ("failures", "last_successful", "succeeded_at", "successes")

    def __init__(self) -> None:
        self.successes = 0
        self.failures = 0
        self.last_successful = True
        self.succeeded_at = _unix_s()

    def succeeded(self) -> None:
        """Count a reload whose settings are in effect."""
        self.successes += 1
        self.last_successful = True
        self.succeeded_at = _unix_s()

    def failed(self) -> None:
        """Count a reload whose settings were refused."""
        self.failures += 1
        self.last_successful = False


def _unix_s() -> float:
    return time.time()  # noqa: TID251  for people and Prometheus; nothing is measured with it
