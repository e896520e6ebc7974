"""``spoe-guard run`` short of file descriptors: it says so, serves who is there, and goes on by itself once there are some."""

import asyncio
import json
import resource
import socket
import time
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import pytest

from spoe_guard.lab.agent import ScriptedAgent
from spoe_guard.lab.engine import Engine
from spoe_guard.wire import frame
from tests.running import START_S, Running, until

LIMIT = 64  # descriptors: of them 8 are reserved, and 24 for agent links too
MANY = 80
PAUSE_S = 0.1  # between tries to accept


class Short:
    """A running guard, whose processes are left ``LIMIT`` descriptors each by ``run_short``."""

    def __init__(self, guard: Running) -> None:
        self.guard = guard
        line = guard.wait_for("listening")
        self.port = int(line["routes"]["default"].rpartition(":")[2])
        self.processes = list(line.get("workers", {"alone": guard.process.pid}).values())

    def run_short(self) -> None:
        for pid in self.processes:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (LIMIT, LIMIT))

    def metric(self, name: str) -> float:
        lines = self.guard.ask("/metrics")[1].splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"spoe_guard_{name}{{"))

    async def later(self, ask: Any, *arguments: Any) -> Any:
        return await asyncio.to_thread(ask, *arguments)

    async def until_failed(self, times: float) -> None:
        deadline = time.monotonic() + START_S
        while await self.later(self.metric, "accept_failures_total") < times:
            assert time.monotonic() < deadline


async def answered(engine: Engine) -> bool:
    await engine.notify(b"/x")
    ack = await engine.read()
    return ack is not None and ack.type == frame.ACK


@pytest.mark.parametrize(
    ("options", "loop"), [((), "uvloop"), ((), "asyncio"), (("--workers", "2"), "uvloop")], ids=["uvloop", "asyncio", "workers"]
)
def test_without_descriptors_left_sessions_serve_on_and_others_wait(tmp_path, options, loop):
    async def main() -> None:
        async with AsyncExitStack() as at_exit:
            agent = ScriptedAgent()
            at_exit.push_async_callback(agent.stop)
            address = f"127.0.0.1:{await agent.listen_tcp()}"
            guard = Running(tmp_path, address, *options, settings={"SPOE_GUARD_LOOP": loop})
            at_exit.callback(guard.process.wait)
            at_exit.callback(guard.process.kill)
            await talk(at_exit, await asyncio.to_thread(Short, guard))
            assert (await asyncio.to_thread(guard.stop))[0] == 0
            assert guard.process.stderr
            with guard.process.stderr as errors:
                assert errors.read() == b""

    async def talk(at_exit: AsyncExitStack, short: Short) -> None:
        guard = short.guard
        first = await at_exit.enter_async_context(await Engine.tcp(short.port))
        await first.hello()
        short.run_short()
        engines = [await at_exit.enter_async_context(await Engine.tcp(short.port)) for _ in range(MANY)]
        greeting = {asyncio.get_running_loop().create_task(engine.hello()): engine for engine in engines}
        await short.until_failed(3)

        began, failed = time.monotonic(), await short.later(short.metric, "accept_failures_total")
        await short.until_failed(failed + 5)
        if not options:  # a worker has the sockets of the others, too
            assert time.monotonic() - began > 4 * PAUSE_S  # it does not spin
        assert await answered(first)
        line = guard.log("own_limit")[0]
        assert (line["level"], line["route"]) == ("warning", "default")
        assert f"no file descriptor left of {LIMIT} (RLIMIT_NOFILE); raise LimitNOFILE=" in line["detail"]
        assert len(guard.log("own_limit")) <= len(short.processes)  # of dozens of tries within less than 10 s
        assert await short.later(short.metric, "agent_up") == 1
        assert guard.log("agent_unreachable") == []
        assert (await short.later(guard.ask, "/readyz"))[0] == 200
        [route] = json.loads((await short.later(guard.ask, "/api/status"))[1])["routes"]
        assert "short of descriptors, memory or ports" in route["sentence"]

        served = 0
        while greeting:  # as soon as one ends, the next that waited is accepted
            done, _ = await asyncio.wait(greeting, timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
            assert done
            for hello in done:
                engine = greeting.pop(hello)
                assert hello.result().type == frame.AGENT_HELLO
                assert await answered(engine)
                await engine.close()
                served += 1
        assert served == MANY
        assert await short.later(short.metric, "agent_connect_failures_total") == 0  # each had room for its agent link
        assert await answered(first)

    asyncio.run(main())


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_without_descriptors_the_admin_address_recovers_and_says_no_bug(tmp_path, loop):
    with ExitStack() as at_exit:
        guard = Running(tmp_path, "127.0.0.1:9", settings={"SPOE_GUARD_LOOP": loop})
        at_exit.enter_context(guard.process)
        at_exit.callback(guard.process.kill)
        host, _, port = guard.wait_for("listening")["admin"].rpartition(":")
        pid = guard.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        used = 1 + max(int(each.name) for each in Path(f"/proc/{pid}/fd").iterdir())
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used, before[1]))
        with ExitStack() as connected:
            for _ in range(40):
                connected.enter_context(socket.create_connection((host, int(port))))
            if loop == "asyncio":  # libuv closes what it cannot accept, and says nothing
                line = guard.wait_for("own_limit")
                assert (line["level"], line["doing"]) == ("warning", "admin")
                assert f"no file descriptor left of {used} (RLIMIT_NOFILE)" in line["detail"]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        until(lambda: healthy(guard))
        assert guard.log("internal_error") == []
        assert len(guard.log("own_limit")) <= 1
        assert guard.stop()[0] == 0


def healthy(guard: Running) -> bool:
    try:
        return guard.ask("/healthz")[0] == 200
    except OSError:  # connections of before were in front
        return False
