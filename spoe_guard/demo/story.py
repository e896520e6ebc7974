"""The demo with a real HAProxy: first without the guard, then with it, then both side by side."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from spoe_guard.demo import act
from spoe_guard.demo.act import Act
from spoe_guard.demo.guard import Guard
from spoe_guard.demo.haproxy import Haproxy, Program
from spoe_guard.demo.narration import INDENT, Narrator
from spoe_guard.demo.report import tell_anomalies, tell_bugs, tell_metrics
from spoe_guard.demo.requests import AFTERWARDS, REQUESTS, BuggyAgent, Request

WATCH_S: Final = 5.0  # how long to watch HAProxy; a crash takes it one or two seconds


def introduce(program: Program, tell: Narrator) -> None:
    """Print what the demo shows."""
    tell.line(f"spoe-guard demo: {program.name}, and an agent with two bugs", "bold")
    tell.say(
        "HAProxy asks an SPOE agent about every HTTP request. If the agent allows it, the client gets a 200 with the agent's "
        "words in a header; without an answer of the agent, a 403. The agent built into this demo allows everything, but it has "
        "two bugs, both seen in real agents:"
    )
    tell_bugs(tell)
    tell.say("Ten other clients are connected all the while, and need nothing of the agent.")


async def tell_story(program: Program, folder: Path, tell: Narrator) -> list[str]:
    """Run the demo, and return what did not go as announced.

    Raises:
        Failed: HAProxy or the guard does not start, or the guard does not answer.
    """
    tell.chapter(f"1. Without the guard:  {program.name} -> agent")
    async with AsyncExitStack() as stack:
        agent = await stack.enter_async_context(BuggyAgent())
        haproxy = stack.enter_context(Haproxy(program, folder, agent.port))
        await haproxy.ready()
        without = await act.play(haproxy, agent, WATCH_S, tell, _nothing)
        last_words = haproxy.last_words()
    tell.chapter(f"2. With the guard:     {program.name} -> spoe-guard -> agent")
    async with AsyncExitStack() as stack:
        agent = await stack.enter_async_context(BuggyAgent())
        guard = stack.enter_context(Guard(folder, agent.port))
        await guard.ready()
        haproxy = stack.enter_context(Haproxy(program, folder, guard.port))
        await haproxy.ready()
        tell.line(f"{INDENT}spoe-guard run --listen 127.0.0.1:{guard.port} --agent 127.0.0.1:{agent.port}", "bold")
        tell.say(f"In haproxy.cfg one line differs: server agent 127.0.0.1:{guard.port}", indent=INDENT)

        async def tell_guard(request: Request) -> None:
            if request.fault:
                tell_anomalies(await guard.did(), tell)

        with_it = await act.play(haproxy, agent, WATCH_S, tell, tell_guard)
        metrics = guard.metrics()
    tell_table(program, without, with_it, tell)
    tell_metrics(metrics, tell)
    if not without.watch.died:  # not a failure of the demo: the rest of it applies to this HAProxy as well
        tell.say(
            f"{program.name} did not die of the frame of length 0: haproxy #2490 is fixed in it. "
            f"Without the guard it still lost {without.answers_lost} of the agent's answers."
        )
    return judge(program, without, last_words, with_it)


async def _nothing(_request: Request) -> None:
    """Print nothing: there is no guard in this half."""


def tell_table(program: Program, without: Act, with_it: Act, tell: Narrator) -> None:
    """Print both halves side by side."""
    tell.chapter("Side by side")
    rows = [
        [(request.path, ""), (request.agent_does, ""), *(act.request_outcome(request, seen) for seen in pair)]
        for request, *pair in zip(
            (*REQUESTS, AFTERWARDS), (*without.seen, without.afterwards), (*with_it.seen, with_it.afterwards), strict=True
        )
    ]
    halves = (without, with_it)
    rows.append([("", ""), (f"{act.OTHERS} other clients", ""), *(act.others_outcome(half.others) for half in halves)])
    rows.append([("", ""), (program.name, ""), *(act.haproxy_outcome(half.watch) for half in halves)])
    tell.table(("client", "agent", "without the guard", "with the guard"), rows)


def judge(program: Program, without: Act, last_words: str, with_it: Act) -> list[str]:
    """Return what did not go as announced. ``last_words``: HAProxy's reason for its crash without the guard."""
    return [*_judge_without(program, without, last_words), *_judge_with(with_it)]


def _judge_without(program: Program, without: Act, last_words: str) -> list[str]:
    wrong = []
    if not without.watch.died and without.watch.cpu_share >= act.MAX_CPU_SHARE:
        wrong.append(f"without the guard {program.name} burns CPU, but did not die in {WATCH_S:.0f} s.")
    elif without.watch.died and not last_words:
        wrong.append(f"without the guard {program.name} died, but not of the bug of this story.")
    if not act.allowed(REQUESTS[0], without.seen[0]):
        wrong.append("without the guard not even the healthy request was answered.")
    if not without.answers_lost:
        wrong.append("without the guard no answer was lost.")
    return wrong


def _judge_with(with_it: Act) -> list[str]:
    wrong = []
    if with_it.watch.died:
        wrong.append("with the guard HAProxy died.")
    elif with_it.watch.cpu_share >= act.MAX_CPU_SHARE:
        wrong.append("with the guard HAProxy burns CPU.")
    if with_it.answers_lost or not act.allowed(AFTERWARDS, with_it.afterwards):
        wrong.append("with the guard an answer was lost.")
    if with_it.seen[-1].status != act.DENIED:
        wrong.append("with the guard the client that the agent did not answer was not told so.")
    if with_it.others < act.OTHERS:
        wrong.append("with the guard other clients were cut off.")
    return wrong
