"""Writes the chapter of docs/hazards.md on agents that are silent: ``python -m tests.integration.silence.page FOLDER``."""

import re
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
- `defaults`: the guard as it comes, with `unanswered: tell`, knows nothing of HAProxy's timeouts. `told`: `haproxy:` says what
  spoe.conf does (`timeout_processing`, `timeout_hello`, `set_on_error: error`), from which follows `unanswered: {{set: error}}`.
  The guard says the code then, and HAProxy's own log has st=0.
- Without this the run fails: with the guard no request takes 20 ms longer, on the median and at most, and none goes on unchecked
  that was refused. Three exceptions: it may wait for an agent that went away less than `links.give_up` ago, for as long as
  HAProxy waits, and not at all with `give_up: 0`; it may wait `disconnect_hold` for an ACK behind the agent's DISCONNECT (F4);
  and `unanswered: empty-ack` lets it go on, which F3 is there to show.
- What the guard said, and after how many seconds on the HAProxys of that line: page (state and sentence of the route in
  `/api/status`), `/readyz`, `/metrics`, log, and the alerts that are pending or fire in a Prometheus that scrapes and judges
  every 0.5 s, with each minute of the rules shortened to a second. A scrape interval of 15 s makes alerts that much later.
  The words are those of the first HAProxy; counts differ a little. "-" is nothing.
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
        said = list(_surfaces(results))
        parts += [SURFACES, *said] if said else []
    return "".join(parts)


def _requests(at: str, way: str, told: dict[str, Any]) -> str:
    got = ", ".join(f"{count} {what}" for what, count in sorted(told["got"].items()))
    logged = ", ".join(f"{count} {code}" for code, count in sorted(told["logged"].items()))
    figures = "; ".join(f"{name}: {value:.3g}" for name, value in told["figures"].items())
    times = (statistics.median(told["seconds"]), max(told["seconds"]))
    return line(at, way, str(len(told["seconds"])), *(f"{1000 * time:.0f} ms" for time in times), got, figures, logged)


def _surfaces(results: dict[tuple[str, str], dict[str, Any]]) -> Iterator[str]:
    """One line for each way and moment, and for each group of HAProxys on which page and log used the same words."""
    groups: dict[tuple[str, ...], dict[str, dict[str, tuple[float, str]]]] = {}
    for (at, way), told in results.items():
        for moment, said in told["said"].items():
            words = (re.sub(r"[\d.]+", "", said[name][1]) for name in ("page", "log"))
            groups.setdefault((way, moment, *words), {})[at] = said
        for moment in told["unsaid"]:
            groups.setdefault((way, moment, "", ""), {})[at] = dict.fromkeys(ORDER, (0.0, "**not yet**"))
    for (way, moment, *_), by_version in groups.items():
        yield line(", ".join(by_version), way, moment, *(_when_and_what(by_version, name) for name in ORDER))


def _when_and_what(by_version: dict[str, dict[str, tuple[float, str]]], name: str) -> str:
    [text, *_] = [said[name][1] for said in by_version.values()]
    times = sorted({f"{said[name][0]:.1f}" for said in by_version.values()}, key=float)
    when = times[0] if len(times) == 1 else f"{times[0]} to {times[-1]}"
    return f"{when} s: {text}" if text and "not yet" not in text else text


if __name__ == "__main__":
    try:
        PAGE.write_text(chapters.put(PAGE.read_text(), chapter(Path(sys.argv[1]))))
    except OSError as error:
        sys.exit(f"docs/hazards.md is left as it was: {error}")
