"""One half of the demo: the requests, HAProxy and the other clients' connections, with or without the guard."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

from spoe_guard.demo.client import Client, Seen, ask_once
from spoe_guard.demo.haproxy import OTHER_PATH, Haproxy, Watch
from spoe_guard.demo.narration import INDENT, Narrator
from spoe_guard.demo.requests import AFTERWARDS, REQUESTS, BuggyAgent, Request, verdict

OTHERS: Final = 10
MAX_CPU_SHARE: Final = 0.05
OK: Final = 200
DENIED: Final = 403

AfterEach = Callable[[Request], Awaitable[None]]


@dataclass(frozen=True)
class Act:
    """The result of one half. ``seen`` is in the order of REQUESTS; ``others`` counts the OTHERS that were still served."""

    seen: list[Seen]
    watch: Watch
    others: int
    afterwards: Seen

    @property
    def answers_lost(self) -> int:
        """How many answers the agent gave and HAProxy did not apply."""
        return sum(each.answered and not allowed(each, seen) for each, seen in zip(REQUESTS, self.seen, strict=True))


async def play(haproxy: Haproxy, agent: BuggyAgent, watch_s: float, tell: Narrator, after_each: AfterEach) -> Act:
    """Send each request in turn and print what the client saw; watch HAProxy for ``watch_s`` seconds after the last."""
    async with AsyncExitStack() as stack:
        others = [await stack.enter_async_context(Client(haproxy.port)) for _ in range(OTHERS)]
        await _ask_all(others)
        seen = []
        for request in REQUESTS[:-1]:
            seen.append(await _ask(haproxy, agent, request, tell))
            await after_each(request)
        watching = asyncio.ensure_future(haproxy.watch(watch_s))
        stack.callback(watching.cancel)
        seen.append(await _ask(haproxy, agent, REQUESTS[-1], tell))
        await after_each(REQUESTS[-1])
        if not seen[-1].failure:
            tell.line(f"{INDENT}(watching HAProxy for {watch_s:.0f} s)", "dim")
        watch = await watching
        _tell_watch(haproxy, watch, tell)
        served = await _ask_all(others)
        tell.result(f"the {OTHERS} other clients", *others_outcome(served))
        afterwards = await _ask(haproxy, agent, AFTERWARDS, tell, "then, ")
        return Act(seen, watch, served, afterwards)


async def _ask(haproxy: Haproxy, agent: BuggyAgent, request: Request, tell: Narrator, lead: str = "") -> Seen:
    agent.go_wrong(request.fault)
    seen = await ask_once(haproxy.port, request.path)
    outcome, how = request_outcome(request, seen)
    tell.result(f"{lead}{request.path:<8}{request.agent_does}", outcome, how)
    return seen


async def _ask_all(others: list[Client]) -> int:
    return sum(seen.status == OK for seen in await asyncio.gather(*(each.get(OTHER_PATH) for each in others)))


def allowed(request: Request, seen: Seen) -> bool:
    """Return whether HAProxy applied the agent's answer to this request."""
    return seen.status == OK and seen.verdict == verdict(request.path)


def request_outcome(request: Request, seen: Seen) -> tuple[str, str]:
    """Return the result of a request in a few words, and their style."""
    if seen.failure:
        return seen.failure, "bad"
    if allowed(request, seen):
        return f"{seen.status} {seen.verdict}", "good"
    if seen.status == DENIED and not seen.verdict:
        return (f"{seen.status} answer lost", "bad") if request.answered else (f"{seen.status} no answer", "")
    return f"{seen.status} {seen.verdict or 'no verdict'}", "bad"


def others_outcome(served: int) -> tuple[str, str]:
    """Return the same for the other clients."""
    return (f"{served} served", "good") if served == OTHERS else (f"{OTHERS - served} cut off", "bad")


def haproxy_outcome(watch: Watch) -> tuple[str, str]:
    """Return the same for HAProxy."""
    if watch.died:
        return f"dead in {watch.seconds:.1f} s", "bad"
    return f"alive, {watch.cpu_share:.1%} CPU", "good" if watch.cpu_share < MAX_CPU_SHARE else "bad"


def _tell_watch(haproxy: Haproxy, watch: Watch, tell: Narrator) -> None:
    if not watch.died:
        tell.result(f"HAProxy, {watch.seconds:.0f} s after that frame", *haproxy_outcome(watch))
        return
    tell.result("HAProxy", f"dead after {watch.seconds:.1f} s ({watch.died})", "bad")
    if haproxy.last_words():
        tell.say(f"It spun at {watch.cpu_share:.0%} of a core, until its own watchdog aborted it:", indent=INDENT)
    tell.say(haproxy.last_words(), "dim", indent=INDENT * 2)
