"""Threads beside the event loop."""

import asyncio
import sys
from pathlib import Path

import pytest

from spoe_guard import threads


def test_a_thread_that_computes_keeps_the_loop_waiting_for_a_millisecond() -> None:
    """And not for Python's own 5 ms, each time that the loop has slept."""

    async def main() -> float:
        return await threads.in_thread(sys.getswitchinterval, "test")

    before = sys.getswitchinterval()
    try:
        sys.setswitchinterval(0.005)
        assert asyncio.run(main()) == pytest.approx(threads.SWITCH_S)
    finally:
        sys.setswitchinterval(before)
    assert threads.SWITCH_S <= 0.001


def test_no_thread_beside_the_loop_is_started_elsewhere() -> None:
    package = Path(threads.__file__).parent
    starting = {str(path.relative_to(package)) for path in package.rglob("*.py") if "threading.Thread(" in path.read_text()}
    assert starting == {"threads.py"}
