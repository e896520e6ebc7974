"""The demo without a HAProxy: it speaks HAProxy's side of SPOP itself, and prints what it receives."""

import enum
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from spoe_guard.demo.guard import Guard
from spoe_guard.demo.narration import INDENT, Narrator
from spoe_guard.demo.report import tell_anomalies, tell_bugs, tell_metrics
from spoe_guard.demo.requests import AFTERWARDS, REQUESTS, BuggyAgent, Request, verdict
from spoe_guard.lab import frames
from spoe_guard.lab.engine import Engine
from spoe_guard.wire import frame


class Outcome(enum.Enum):
    """The result of a NOTIFY; the value describes it in a few words."""

    ANSWER = "answer applied"
    DISCONNECT = "no answer, clean end"
    LOST = "answer lost"
    BROKEN = "rubbish, then EOF"


_HEALTHY: Final = (Outcome.ANSWER, Outcome.DISCONNECT)


class EngineSide:
    """HAProxy's side: one connection, reopened when it ends; as in HAProxy, frames after DISCONNECT do not count."""

    def __init__(self, port: int, stack: AsyncExitStack) -> None:
        self._port = port
        self._stack = stack
        self._engine: Engine | None = None

    async def ask(self, request: Request) -> Outcome:
        """Send a NOTIFY and return how HAProxy would treat the response."""
        if self._engine is None:
            self._engine = await self._stack.enter_async_context(await Engine.tcp(self._port))
            await self._engine.hello()
        sent = await self._engine.notify(request.path.encode())
        got = await self._engine.read()
        answer = got if got is not None and got.type == frame.ACK and got.ids == sent.ids else None
        if answer and request.fault is None:
            return _judged(request, answer)
        last = await self._engine.read() if answer else got
        engine, self._engine = self._engine, None
        await engine.close()
        if last is None or last.type != frame.AGENT_DISCONNECT:
            return Outcome.BROKEN
        if answer:
            return _judged(request, answer)
        return Outcome.LOST if request.answered else Outcome.DISCONNECT


def _judged(request: Request, ack: frame.Frame) -> Outcome:
    meant = frames.text_verdict(b"verdict", verdict(request.path).encode())
    return Outcome.ANSWER if ack.payload == meant else Outcome.BROKEN


def introduce(why: str, tell: Narrator) -> None:
    """Print what the demo shows, and what is missing."""
    tell.line("spoe-guard demo: an agent with two bugs, and no HAProxy", "bold")
    tell.say(
        f"No real HAProxy takes part: {why}. The demo plays its side of SPOP itself: you see what the agent sends and what the "
        "guard makes of it, but not HAProxy dying of it. To see that, with Debian 12's: apt-get install haproxy",
    )
    tell.line()
    tell.say("The agent built into this demo answers every NOTIFY, but it has two bugs, both seen in real agents:")
    tell_bugs(tell)


async def tell_story(folder: Path, tell: Narrator) -> list[str]:
    """Run the demo, and return what did not go as announced.

    Raises:
        Failed: the guard does not start or does not answer.
    """
    async with AsyncExitStack() as stack:
        agent = await stack.enter_async_context(BuggyAgent())
        tell.chapter("1. Without the guard:  the demo in HAProxy's place -> agent")
        without = await _play(EngineSide(agent.port, stack), agent, tell, None)
        tell.say("That frame of length 0 kills every HAProxy without the fix for its issue #2490.", indent=INDENT)
        tell.chapter("2. With the guard:  the demo in HAProxy's place -> spoe-guard -> agent")
        guard = stack.enter_context(Guard(folder, agent.port))
        await guard.ready()
        with_it = await _play(EngineSide(guard.port, stack), agent, tell, guard)
        metrics = guard.metrics()
        tell_table(without, with_it, tell)
        tell_metrics(metrics, tell)
    return judge(without, with_it)


async def _play(engine: EngineSide, agent: BuggyAgent, tell: Narrator, guard: Guard | None) -> list[Outcome]:
    outcomes = []
    for request in (*REQUESTS, AFTERWARDS):
        agent.go_wrong(request.fault)
        outcome = await engine.ask(request)
        outcomes.append(outcome)
        tell.result(f"{request.path:<8}{request.agent_does}", outcome.value, _how(outcome))
        if guard and request.fault:
            tell_anomalies(await guard.did(), tell)
    return outcomes


def _how(outcome: Outcome) -> str:
    return "good" if outcome in _HEALTHY else "bad"


def tell_table(without: list[Outcome], with_it: list[Outcome], tell: Narrator) -> None:
    """Print both halves side by side."""
    tell.chapter("What HAProxy would have got")
    rows = [
        [(request.path, ""), (request.agent_does, ""), *((each.value, _how(each)) for each in pair)]
        for request, *pair in zip((*REQUESTS, AFTERWARDS), without, with_it, strict=True)
    ]
    tell.table(("", "the agent", "without the guard", "with the guard"), rows)


def judge(without: list[Outcome], with_it: list[Outcome]) -> list[str]:
    """Return what did not go as announced."""
    wrong = []
    told = [Outcome.ANSWER, Outcome.LOST, Outcome.LOST, Outcome.BROKEN, Outcome.ANSWER]
    if without != told:
        wrong.append(f"without the guard: expected {[each.value for each in told]}")
    told = [Outcome.ANSWER, Outcome.ANSWER, Outcome.ANSWER, Outcome.DISCONNECT, Outcome.ANSWER]
    if with_it != told:
        wrong.append(f"with the guard: expected {[each.value for each in told]}")
    return wrong
