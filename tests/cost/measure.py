"""``make cost-measured``: how long a byte of each shape takes on this machine; joins docs/benchmarks.*.

What must hold is judged by counted work (``python -m tests.cost``). Time says what a unit of it is worth.
"""

import json
import sys
from pathlib import Path
from typing import Any

from spoe_guard.about import about
from tests.bench import __main__ as bench
from tests.cost.table import SHAPES, SIZES, Cost, measured


def rows(sizes: tuple[int, ...] = SIZES, rounds: int = 3) -> dict[str, list[list[float]]]:
    """Of each shape and size: bytes, nanoseconds for a byte, milliseconds of the dearest step."""
    return {name: [_row(measured(shape, size, rounds)) for size in sizes] for name, shape in SHAPES.items()}


def _row(cost: Cost) -> list[float]:
    return [cost.size, round(cost.a_byte, 1), round(cost.step / 1e6, 3)]


def join(cost: dict[str, Any], docs: Path) -> None:
    """Write it beside the figures of the bench, and the page anew."""
    data = json.loads((docs / bench.JSON).read_text()) | {"cost": cost}
    bench.write(docs, data)


def main() -> None:
    cost = {"build": "compiled" if about()["compiled"] == "true" else "pure", "rows": rows()}
    for name, row in cost["rows"].items():
        print(f"{name:54}" + "".join(f"{ns:9.1f}" for _, ns, _ in row) + f"{max(step for *_, step in row):10.2f} ms", flush=True)
    join(cost, Path(sys.argv[1]) if len(sys.argv) > 1 else bench.DOCS)


if __name__ == "__main__":
    main()
