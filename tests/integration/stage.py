"""The peers of one test, started in any order and stopped in the reverse one."""

import itertools
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from spoe_guard.lab.agent import Script
from tests.integration.agent import AgentThread
from tests.integration.guard import Guard
from tests.integration.haproxy import Haproxy, Options


class Stage:
    """``with Stage(folder) as stage``: what is started on it is stopped, and its books are checked, at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._stack.close()

    def folder(self) -> Path:
        """Return a new folder."""
        made = self._folder / str(next(self._numbers))
        made.mkdir()
        return made

    def agent(self, script: Script | None = None, *, unix: bool = False) -> AgentThread:
        """Start a scripted agent."""
        return self._stack.enter_context(AgentThread(script, str(self.folder() / "agent.sock") if unix else None))

    def guard(self, agent: str, **how: Any) -> Guard:
        """Start spoe-guard in front of ``agent``; ``how``: see ``Guard``."""
        return self._stack.enter_context(Guard(self.folder(), agent, **how))

    def haproxy(self, agent: str, options: Options | None = None) -> Haproxy:
        """Start HAProxy with the agent, or the guard, at ``agent``."""
        return self._stack.enter_context(Haproxy(self.folder(), agent, options))
