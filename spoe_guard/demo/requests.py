"""The requests of the demo, and the agent that gets some of them wrong."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from spoe_guard.lab import frames
from spoe_guard.lab.agent import Script, ScriptedAgent
from spoe_guard.lab.misbehaviour import MISBEHAVIOURS, Misbehaviour, Step
from spoe_guard.wire import frame


@dataclass(frozen=True)
class Request:
    """One request of HAProxy's client: ``fault`` names the agent's mistake on its NOTIFY; None: no mistake."""

    path: str
    fault: str | None
    agent_does: str  # a few words
    answered: bool = True  # whether the agent writes its answer at all


REQUESTS: Final = (
    Request("/home", None, "answers"),
    Request("/login", "disconnect_then_acks", "DISCONNECT, then its answer"),
    Request("/cart", "acks_inside_disconnect", "answer inside its DISCONNECT"),
    Request("/pay", "zero_length_frame", "frame of length 0, closes", answered=False),
)
LAST_TASKS_S: Final = 1.0
AFTERWARDS: Final = Request("/home", None, "answers")


def verdict(path: str) -> str:
    """Return the agent's answer for ``path``: always yes, with the path, so that a mixed-up answer is recognizable."""
    return f"allow {path}"


class BuggyAgent:
    """``async with BuggyAgent() as agent``: listens on ``agent.port``, and misbehaves once after each ``go_wrong``."""

    def __init__(self) -> None:
        # All connections share one script, which looks up the current fault at its turn.
        script = Script(Misbehaviour("of the story", "what go_wrong named", self._play), answer=_allow)
        self._agent = ScriptedAgent(script)
        self._agent.played = True  # behaves at first
        self._fault = ""
        self.port = 0

    async def __aenter__(self) -> Self:
        self.port = await self._agent.listen_tcp()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._agent.stop()
        # The agent does not know a connection accepted a moment ago; its peer is dead, so it ends by itself.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_TASKS_S):
                while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
                    await asyncio.wait(tasks)

    def go_wrong(self, fault: str | None) -> None:
        """Commit ``fault`` on the next NOTIFY; None: behave."""
        self._fault = fault or ""
        self._agent.played = fault is None

    def _play(self, acks: Sequence[frame.Frame]) -> Sequence[Step]:
        return MISBEHAVIOURS[self._fault].play(acks)


def _allow(notify: frame.Frame) -> bytes:
    return frames.text_verdict(b"verdict", verdict(frames.first_argument(notify).decode()).encode())
