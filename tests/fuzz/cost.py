"""The fuzz target whose goal is cost: libFuzzer looks for plays that make core and wire work much for few bytes.

``python -m tests.fuzz --cost`` starts it, and shows what it found with ``python -m tests.fuzz.cost FILE``; other arguments are
libFuzzer's. What a play costs is counted, so it is the same each time. Each level of cost is a branch of its own: a play that
reaches a higher one is kept and mutated.
"""

import random
import sys
from pathlib import Path

import atheris
from atheris.instrument_bytecode import patch_code

from tests.cost.work import COPIED, counting

WORK = counting(lambda code: patch_code(code, trace_dataflow=True))

from tests.fuzz.case import Case, decode, encode  # noqa: E402  core and wire are counted from here on
from tests.fuzz.corpus import seeds  # noqa: E402
from tests.fuzz.finding import shown, shrunk  # noqa: E402
from tests.fuzz.mutator import Mutator, scramble  # noqa: E402
from tests.fuzz.price import Price, price  # noqa: E402

LEVELS = 200  # of the share of what is allowed


def _levels() -> str:
    return "def reached(level):\n    seen = 0\n" + "".join(f"    if level > {at}:\n        seen = {at}\n" for at in range(LEVELS))


_made: dict = {}
exec(_levels(), _made)
reached = atheris.instrument_func(_made["reached"])


def priced(case: Case) -> Price:
    return price(case, WORK.spent, COPIED)


def fault(case: Case) -> str:
    """What is wrong with what it costs, "" where nothing is."""
    found = priced(case)
    return f"too dear: {found}" if found.share > 1 else ""


def one_input(data: bytes) -> None:
    found = priced(decode(data))
    reached(int(LEVELS * found.share))
    assert found.share <= 1, f"too dear: {found}"


def main() -> int:
    files = [Path(name) for name in sys.argv[1:] if Path(name).is_file()]
    for path in files:
        case = decode(path.read_bytes())
        print(f"--- {path}: {priced(case)}")
        if fault(case):
            small = shrunk(case, fault)
            print(f"--- in short: {priced(small)}\n{shown(small)}")
    if files:
        return 0
    if sys.argv[1:] == ["--seeds"]:
        prices = sorted(((priced(case), name) for name, case in seeds().items()), key=lambda each: each[0].share)
        print("\n".join(f"{found.share:5.2f}  {name}: {found}" for found, name in prices[-10:]))
        return int(prices[-1][0].share > 1)
    mutator = Mutator(list(seeds().values()), scramble)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        return encode(mutator.mutate(decode(data), random.Random(seed), most=most))[:most]

    atheris.Setup(sys.argv, one_input, custom_mutator=mutate)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
