"""How often the settings were taken in again, and whether those in effect are those of the file."""

import time


class Reloads:
    """Counts. ``succeeded_at``: when the settings in effect were taken in, in Unix seconds; a start counts as one there."""

    __slots__ = ("failures", "last_successful", "succeeded_at", "successes")

    def __init__(self) -> None:
        self.successes = 0
        self.failures = 0
        self.last_successful = True
        self.succeeded_at = _unix_s()

    def succeeded(self) -> None:
        """Count new settings that are in effect."""
        self.successes += 1
        self.last_successful = True
        self.succeeded_at = _unix_s()

    def failed(self) -> None:
        """Count new settings that were refused."""
        self.failures += 1
        self.last_successful = False


def _unix_s() -> float:
    return time.time()  # noqa: TID251  told to people and Prometheus; nothing is measured by it
