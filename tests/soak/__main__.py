"""``make soak``: an agent that goes wrong in every way it can think of, at real HAProxys through the guard, under load.

In the same HAProxys a second, good agent is asked through the guard's second route.
Asserted: HAProxy never dies, and is idle when nobody asks it anything; every request to the good agent gets its answer within
HAProxy's `timeout processing`; the guard has no error of its own, and in the end holds nothing and has not grown.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.soak.soak import Soak


def main() -> int:
    asked = argparse.ArgumentParser(prog="python -m tests.soak")
    asked.add_argument("--seconds", type=int, default=600)
    asked.add_argument("--seed", type=int, default=int(time.monotonic()))
    asked.add_argument("--mode", default="enforce", help="observe: to see what becomes of HAProxy when the guard does nothing")
    told = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            return Soak(Path(folder), told.seed, told.mode).run(told.seconds)
        except pytest.skip.Exception as reason:
            print(f"skipped: {reason}")
            return 0
        except pytest.fail.Exception as reason:
            print(reason)
            return 1


if __name__ == "__main__":
    sys.exit(main())
