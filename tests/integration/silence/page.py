"""Writes the chapter of docs/hazards.md on agents that are silent: ``python -m tests.integration.silence.page FOLDER``."""

import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tests.integration.hazards import chapters
from tests.integration.hazards.results import line
from tests.integration.silence import seen
from tests.integration.silence.table import TABLE
from tests.peers import ROOT

PAGE: Final = ROOT / "docs" / "hazards.md"
INTRO: Final = f"""{chapters.SILENCE}
Written by `make silence`. The agent hangs, is slow, is gone, or loses one answer. Each row was played without the guard and with
it, at each HAProxy that it concerns, with the rule of Coraza's sample: a request whose check failed (`txn.<prefix>.error`
is set) is refused.

- `answered`: the agent's answer reached the client. `failed closed (N)`: it was refused, N being the code that was set; the
  last column has the codes of HAProxy's own log. `unchecked`: it went on with nothing set.
- Times are what a client waited: the median, and the longest.
- What the guard said, and after how many seconds: page (level and sentence of the route in `/api/status`), `/readyz`,
  `/metrics`, log, and the alerts that are pending or fire in a Prometheus that scrapes and judges every 0.5 s, with each minute
  of the rules shortened to a second. A scrape interval of 15 s makes alerts that much later.
"""
REQUESTS: Final = (
    "\n| HAProxy | way | requests | median | longest | what clients got | measured | HAProxy's log |\n" + "|---" * 8 + "|\n"
)
SURFACES: Final = "\n| HAProxy | way | when | page | /readyz | /metrics | log | alert |\n" + "|---" * 8 + "|\n"
ORDER: Final = ("page", "readyz", "metrics", "log", "alert")


def chapter(where: Path) -> str:
    """Return the chapter.

    Raises:
        OSError: a row was not played.
    """
    parts = [INTRO]
    for row in TABLE.values():
        results = {(at, way.name): seen.read(where, row.id, at)[way.name] for at in row.on for way in row.ways}
        parts += [f"\n### {row.id}: {row.title}\n\n{row.does}\n", REQUESTS]
        parts += [_requests(at, way, told) for (at, way), told in results.items()]
        said = [each for (at, way), told in results.items() for each in _surfaces(at, way, told)]
        parts += [SURFACES, *said] if said else []
    return "".join(parts)


def _requests(at: str, way: str, told: dict[str, Any]) -> str:
    got = ", ".join(f"{count} {what}" for what, count in sorted(told["got"].items()))
    logged = ", ".join(f"{count} {code}" for code, count in sorted(told["logged"].items()))
    figures = "; ".join(f"{name}: {value:.3g}" for name, value in told["figures"].items())
    times = (statistics.median(told["seconds"]), max(told["seconds"]))
    return line(at, way, str(len(told["seconds"])), *(f"{1000 * time:.0f} ms" for time in times), got, figures, logged)


def _surfaces(at: str, way: str, told: dict[str, Any]) -> Iterator[str]:
    for moment, said in told["said"].items():
        yield line(at, way, moment, *(f"{said[name][0]:.1f} s: {said[name][1] or 'nothing'}" for name in ORDER))
    for moment in told["unsaid"]:
        yield line(at, way, moment, "**not yet**", *[""] * 4)


if __name__ == "__main__":
    try:
        PAGE.write_text(chapters.put(PAGE.read_text(), chapter(Path(sys.argv[1]))))
    except OSError as error:
        sys.exit(f"docs/hazards.md is left as it was: {error}")
