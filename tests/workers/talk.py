"""Requests to a guard with several workers, and a look at its processes."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from spoe_guard.lab.agent import Script, ScriptedAgent
from spoe_guard.lab.engine import Engine
from spoe_guard.wire import frame
from tests.running import START_S, Running

NOTIFYS = 'spoe_guard_frames_total{direction="to_agent",type="notify"}'
ENGINES = 16  # that the kernel gives one of two workers none of them has a chance of 1 in 2^15


def with_agent(talk: Callable[[ScriptedAgent, int], Awaitable[None]], script: Script | None = None) -> None:
    async def main() -> None:
        agent = ScriptedAgent(script)
        port = await agent.listen_tcp()
        try:
            await talk(agent, port)
        finally:
            await agent.stop()

    asyncio.run(main())


async def dial(address: str) -> Engine:
    """Connect where a guard says that it listens."""
    path = address.removeprefix("unix:")
    if path != address:
        return await Engine.unix(path, deadline_s=START_S)
    return await Engine.tcp(int(address.rpartition(":")[2]), deadline_s=START_S)


@contextlib.asynccontextmanager
async def engines(address: str, count: int = ENGINES) -> AsyncIterator[list[Engine]]:
    async with contextlib.AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(await dial(address)) for _ in range(count)]
        hellos = await asyncio.gather(*(engine.hello() for engine in opened))
        assert [hello and hello.type for hello in hellos] == [frame.AGENT_HELLO] * count
        yield opened


async def answered(engine: Engine) -> bool:
    """Whether one NOTIFY more gets its ACK; False where the connection is gone."""
    try:
        sent = await engine.notify(b"/x")
        ack = await engine.read()
    except OSError:
        return False
    assert ack is None or (ack.type, ack.ids) == (frame.ACK, sent.ids)
    return ack is not None


def address_of(guard: Running) -> str:
    return str(guard.wait_for("listening")["routes"]["default"])


def workers_of(guard: Running) -> dict[str, int]:
    return dict(guard.wait_for("listening")["workers"])


def alive(pid: int) -> bool:
    """Whether it runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(condition: Callable[[], object], seconds: float = START_S) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def metrics(guard: Running) -> dict[str, float]:
    """By name and labels, without the route."""
    text = guard.ask("/metrics")[1].replace(',route="default"', "").replace('{route="default"}', "")
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


async def until_it_is(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + START_S
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
