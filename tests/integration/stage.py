"""The peers of one test, started in any order and stopped in reverse."""

import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from spoe_guard.lab.agent import Script
from tests.integration.agent import AgentThread, Tap
from tests.integration.guard import Guard
from tests.integration.haproxy import Haproxy, Options, free
from tests.integration.load import AgentProcess

P = TypeVar("P")


class Stage:
    """``with Stage(folder) as stage``: what is started on it is stopped, and its books are checked, at the end.

    ``text`` is then what HAProxy and the guard logged.
    """

    def __init__(self, folder: Path) -> None:
        self.output = ""
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

    def enter(self, peer: AbstractContextManager[P]) -> P:
        """Start any other peer."""
        return self._stack.enter_context(peer)

    def agent(self, script: Script | None = None, *, unix: bool = False) -> AgentThread:
        """Start a scripted agent."""
        return self._stack.enter_context(AgentThread(script, str(self.folder() / "agent.sock") if unix else None))

    def agent_process(self, *how: str, port: int = 0) -> AgentProcess:
        """Start an agent that can be killed; ``how`` as on its command line. Its port stays free for a successor."""
        port = port or self.enter(free()).getsockname()[1]
        return self._stack.enter_context(AgentProcess(*how, port=port))

    def tap(self, beyond: str) -> Tap:
        """Start a tap on the way to ``beyond``."""
        return self._stack.enter_context(Tap(beyond))

    def guard(self, agent: str | None, **how: Any) -> Guard:
        """Start spoe-guard in front of ``agent``; ``how``: see ``Guard``."""
        guard = Guard(self.folder(), agent, **how)
        self._stack.callback(self._note, "spoe-guard", guard.log)
        return self._stack.enter_context(guard)

    def haproxy(self, agent: str, options: Options | None = None) -> Haproxy:
        """Start HAProxy with the agent, or the guard, at ``agent``."""
        haproxy = Haproxy(self.folder(), agent, options)
        self._stack.callback(self._note, "haproxy", haproxy.log)
        return self._stack.enter_context(haproxy)

    def _note(self, who: str, log: Callable[[], str]) -> None:
        self.output += f"--- {who} ---\n{log()}"
