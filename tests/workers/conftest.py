"""Guards with two workers; each ends with its test, and none may write to standard error."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.running import Running, end_all


@pytest.fixture
def run_guard(tmp_path) -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def start(agent: str = "127.0.0.1:9", *options: str, **named: Any) -> Running:
        folder = tmp_path / str(len(running))
        folder.mkdir()
        running.append(Running(folder, agent, "--workers", "2", *options, **named))
        return running[-1]

    yield start
    end_all(running)
