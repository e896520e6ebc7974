"""The fuzz target: libFuzzer looks for plays that reach new branches of spoe_guard.core and wire, and judge() judges each.

``python -m tests.fuzz`` starts it; its arguments are libFuzzer's.
"""

import random
import sys
import time

import atheris

with atheris.instrument_imports(include=["spoe_guard.core", "spoe_guard.wire"]):
    from tests.fuzz.case import decode, encode
    from tests.fuzz.corpus import seeds
    from tests.fuzz.judge import judge
    from tests.fuzz.mutator import Mutator, scramble


PLAY_S = 20.0  # of CPU; a play that takes more is a finding too


def one_input(data: bytes) -> None:
    began = time.process_time()
    judge(decode(data))
    took = time.process_time() - began
    assert took < PLAY_S, f"{took:.1f} s of CPU"


def _scramble(data: bytes, chance: random.Random) -> bytes:
    """LibFuzzer knows what the code compared with; half the time it is asked."""
    return atheris.Mutate(data, len(data) + 8) if data and chance.random() < 0.5 else scramble(data, chance)


def main() -> None:
    mutator = Mutator(list(seeds().values()), _scramble)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.1:
            return atheris.Mutate(data, most)
        return encode(mutator.mutate(decode(data), chance, most=most))[:most]

    atheris.Setup(sys.argv, one_input, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
