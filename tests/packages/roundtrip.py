"""Whether an installed guard works, asked with the Python that it is installed in and with nothing else.

``python roundtrip.py [COMMAND]``: COMMAND is how spoe-guard is called. The exit code is 0 after: a compiled build, usable
defaults, and one NOTIFY through a guard to an agent and its ACK back, byte for byte. cibuildwheel plays it in each environment
that a wheel is for, ``tests/packages`` in bare roots.

``python roundtrip.py --running PORT AGENT_PORT``: the same NOTIFY and ACK through a guard that runs already.
"""

import asyncio
import contextlib
import json
import subprocess
import sys

from spoe_guard.lab import frames
from spoe_guard.lab.agent import ScriptedAgent, echo
from spoe_guard.lab.engine import Engine
from spoe_guard.wire import frame

PATIENCE_S = 30


def said(*command: str) -> str:
    """Return what a command prints."""
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=PATIENCE_S, check=True).stdout


async def through(port: int, agent: ScriptedAgent) -> None:
    """Pass one NOTIFY and its ACK through the guard at ``port`` of this machine, which has ``agent`` behind it."""
    async with await Engine.tcp(port) as engine:
        await engine.hello()
        notify = await engine.notify(b"/hello")
        answer = await engine.read()
    assert answer is not None, "the guard closed the connection"
    expected = frame.parse(frames.ack(notify, echo(notify)))
    assert expected is not None
    assert answer.raw == expected.raw
    assert [got.type for got in agent.received[-1]][:2] == [frame.HAPROXY_HELLO, frame.NOTIFY]


async def through_running(port: int, agent_port: int) -> None:
    """Be the agent of a guard that runs already, and HAProxy."""
    agent = ScriptedAgent()
    await agent.listen_tcp(port=agent_port)
    try:
        await through(port, agent)
    finally:
        await agent.stop()


async def through_started(*command: str) -> None:
    """Start a guard, use it, and stop it."""
    agent = ScriptedAgent()
    addresses = ("--listen", "127.0.0.1:0", "--agent", f"127.0.0.1:{await agent.listen_tcp()}", "--admin", "127.0.0.1:0")
    guard = await asyncio.create_subprocess_exec(*command, "run", *addresses, stdout=asyncio.subprocess.PIPE)
    assert guard.stdout
    try:
        async with asyncio.timeout(PATIENCE_S):
            while (line := json.loads(await guard.stdout.readline()))["event"] != "listening":
                pass
            await through(int(line["routes"]["default"].rpartition(":")[2]), agent)
            guard.terminate()
            await guard.stdout.read()
            assert await guard.wait() == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            guard.kill()
        await agent.stop()


def main(*arguments: str) -> None:
    """Do what the arguments ask for."""
    if arguments[:1] == ("--running",):
        asyncio.run(through_running(int(arguments[1]), int(arguments[2])))
        print("one NOTIFY and its ACK")
        return
    command = arguments or ("spoe-guard",)
    version = said(*command, "version")
    assert "build      compiled" in version.splitlines(), version
    assert said(*command, "check").splitlines()[-1].startswith("OK."), "check"
    asyncio.run(through_started(*command))
    print(f"{version.splitlines()[0]}: compiled, checked, one NOTIFY and its ACK")


if __name__ == "__main__":
    main(*sys.argv[1:])
