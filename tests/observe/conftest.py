"""Fixtures for observe/: both event loops, a log kept as lines, a clock that stands still."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from spoe_guard.observe.logs import Log

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
}


@pytest.fixture(params=LOOPS)
def run(request):
    """Run a coroutine to its end on either event loop; what the loop complains about fails the test."""
    complaints: list[dict[str, Any]] = []

    def on_loop(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.get_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
            return runner.run(main)

    yield on_loop
    assert complaints == []


class Lines:
    """A sink that keeps the lines, or has no room for them."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.room = True

    def write(self, line: str) -> bool:
        if self.room:
            self.lines.append(line)
        return self.room

    @property
    def logged(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]

    def log(self, form: str = "json", level: str = "debug", payload: str = "full") -> Log:
        return Log(self, form, level, payload)  # type: ignore[arg-type]


class Clock:
    """Monotonic seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def clock() -> Clock:
    return Clock()
