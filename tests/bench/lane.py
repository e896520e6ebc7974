"""What the session's own code takes without any socket: ``python -m tests.bench.lane`` writes it as JSON.

The two functions are the one place that knows the inside of the guard. They run in the build that is measured, which has nothing
of the tests' beside itself: nothing of tests/ may be imported here.
"""

import json
import sys
from typing import Any, Final

IN_FLIGHT: Final = (1, 64, 10_000)
SESSIONS: Final = (1, 1024)


def pair_ns(in_flight: int) -> float:
    """Return what the scanner takes for a NOTIFY and its ACK with so many NOTIFYs in flight, in nanoseconds.

    Raises:
        ImportError: this build has no such module.
    """
    from spoe_guard.core import lane

    raise NotImplementedError(lane.__name__, in_flight)  # HERE


def step_us(sessions: int) -> float:
    """Return what a round trip takes in the session's own code, in microseconds, where so many sessions have their turns.

    Raises:
        ImportError: this build has no such module.
    """
    from spoe_guard.core import lane

    raise NotImplementedError(lane.__name__, sessions)  # HERE


def measured() -> dict[str, Any]:
    """Return both for all there is to ask, or under ``lacks`` why this build cannot be asked."""
    from spoe_guard.about import about

    try:
        pairs = {str(number): pair_ns(number) for number in IN_FLIGHT}
        steps = {str(number): step_us(number) for number in SESSIONS}
    except (ImportError, NotImplementedError) as error:
        return {"lacks": f"{type(error).__name__}: {error}"}
    return {"compiled": about()["compiled"] == "true", "pair_ns": pairs, "step_us": steps}


if __name__ == "__main__":
    json.dump(measured(), sys.stdout)
