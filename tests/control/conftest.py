"""Guards with a control socket, alone and with two workers; each ends with its test, and none may write to standard error."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spoe_guard.control import client
from tests.running import Running, end_all

ANSWER_S = 20.0


class Controlled(Running):
    """A guard with a control socket; ``control`` is its path."""

    def __init__(self, folder: Path, agent: str | None, *options: str, **how: Any) -> None:
        self.control = folder / "control"
        settings = {"SPOE_GUARD_ADMIN__CONTROL": f"unix:{self.control}", **how.pop("settings", {})}
        super().__init__(folder, agent, *options, settings=settings, **how)

    def do(self, command: str, **given: Any) -> Any:
        """Ask for something, and return the answer."""
        self.wait_for("listening")
        *_items, (_last, answer) = client.ask(str(self.control), {"do": command, **given}, ANSWER_S)
        return answer

    async def ask(self, command: str, **given: Any) -> Any:
        """The same, beside whatever the test does meanwhile."""
        return await asyncio.to_thread(self.do, command, **given)


@pytest.fixture(params=[1, 2], ids=["alone", "workers"])
def workers(request) -> int:
    return request.param


@pytest.fixture
def run_guard(tmp_path) -> Iterator[Callable[..., Controlled]]:
    running: list[Controlled] = []

    def start(agent: str | None = "127.0.0.1:9", *options: str, **named: Any) -> Controlled:
        folder = tmp_path / str(len(running))
        folder.mkdir()
        running.append(Controlled(folder, agent, *options, **named))
        return running[-1]

    yield start
    end_all(running)
