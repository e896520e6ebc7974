"""``python -m tests.cost``: the work of each kind of frame, repair and search at four sizes, and what is not in proportion."""

import argparse
import json
import sys

from tests.cost.work import COPIED, counting


def main() -> int:
    asked = argparse.ArgumentParser(prog="python -m tests.cost")
    asked.add_argument("names", nargs="*", help="parts of names: only those")
    asked.add_argument("--few", action="store_true", help="at the sizes of every test run")
    asked.add_argument("--json", action="store_true")
    told = asked.parse_args()
    work = counting()
    from tests.cost.table import SHAPES, SIZES, faults, few, line, played

    wrong, rows = [], {}
    for name, shape in SHAPES.items():
        if told.names and not any(part in name for part in told.names):
            continue
        costs = [played(shape, size, work.spent, COPIED) for size in (few(name) if told.few else SIZES)]
        wrong += faults(name, costs)
        rows[name] = [(cost.size, cost.total, cost.step) for cost in costs]
        if not told.json:
            print(line(name, costs), flush=True)
    print(json.dumps({"costs": rows, "faults": wrong}) if told.json else "\n".join(wrong))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
