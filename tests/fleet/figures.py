"""What was measured of a fleet, as rows of a table.

Of each thing ``cpu`` and ``longest`` are pairs of milliseconds, one each time: of the loop, and what the garbage collector took
of it, which looks at all that there is in the process, sessions too, whoever happens to set it off.
"""

import statistics
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, Final

LOOKS: Final = ("/metrics", "/api/status")
BUILDS: Final = ("pure", "compiled")
HEAD: Final = ("", *(f"{what}, {build}" for build in BUILDS for what in ("in all", "longest turn")), "bytes")


def in_all_ms(told: Mapping[str, Any]) -> float:
    """Return what it took of the loop: the median, without the garbage collector."""
    return statistics.median(took - collecting for took, collecting in told["cpu"])


def longest_ms(told: Mapping[str, Any]) -> float:
    """Return the longest turn of all, without the garbage collector."""
    return max(took - collecting for took, collecting in told["longest"])


def looks_ms(told: Mapping[str, Any]) -> float:
    """Return what both looks take together, of what a build took for each thing."""
    return sum(in_all_ms(told[look]) for look in LOOKS)


def collecting_ms(fleet: Mapping[str, Any]) -> float:
    """Return what the garbage collector took at most at a time while sessions came and went, of all builds."""
    return max(longest for collections in fleet["collections"].values() for _count, longest in collections.values())


def rows(fleet: Mapping[str, Any]) -> Iterator[list[str]]:
    """Return the rows below HEAD; a build that was not measured has none."""
    seen = {build: fleet[build] for build in BUILDS if build in fleet}
    for what in next(iter(seen.values())):
        row = [what]
        for build in BUILDS:
            told = seen.get(build, {}).get(what)
            row += ["-", "-"] if told is None else [f"{in_all_ms(told):.0f} ms", f"{longest_ms(told):.1f} ms"]
        sizes = [told[what]["bytes"] for told in seen.values() if "bytes" in told[what]]
        yield [*row, f"{sizes[-1]:,}" if sizes else "-"]
    together = [[f"{looks_ms(seen[build]):.0f} ms", "-"] if build in seen else ["-", "-"] for build in BUILDS]
    yield ["both looks together", *chain.from_iterable(together), "-"]
