"""The real guard, with the settings of the manifests, answers the kubelet and Prometheus, whatever the agent does."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from spoe_guard.lab.agent import Script, ScriptedAgent
from spoe_guard.lab.engine import Engine
from spoe_guard.wire import frame
from tests.deploy.bundle import Bundle, bundle
from tests.running import RUN_S, Running

SILENT = Script(delay_s=60.0)  # it reads NOTIFYs and answers none
# No agent is given up soon, and an answer late: what is asked in the meantime is asked in the meantime on any machine.
PATIENCE = {"SPOE_GUARD_ROUTES__0__LINKS__GIVE_UP": "100ms", "SPOE_GUARD_ROUTES__0__DISCONNECT_HOLD": "9s"}


class Pod:
    """A guard with the settings of the manifest; only its addresses are others. Its agent is at ``agent``, once it is."""

    def __init__(self, way: Bundle, folder: Path) -> None:
        path = folder / "guard.yaml"
        path.write_text(way.settings)
        self._paths = [probe["path"] for probe in way.probes.values()]
        self.agent = folder / "agent"
        self.guard = Running(folder, f"unix:{self.agent}", "--config", str(path), settings=PATIENCE)
        self.port = int(self.guard.wait_for("listening")["routes"]["default"].rpartition(":")[2])

    async def ask(self, path: str) -> int:
        return (await asyncio.to_thread(self.guard.ask, path))[0]

    async def probes(self) -> set[int]:
        """What the kubelet gets, and Prometheus."""
        return {await self.ask(path) for path in [*self._paths, "/metrics"]}

    async def refuse(self) -> None:
        """Have HAProxy ask while there is no agent."""
        async with await Engine.tcp(self.port) as engine:
            answer = await engine.hello()
            assert answer is not None
            assert answer.type == frame.AGENT_HELLO  # the guard's own
        assert await self.ask("/readyz") == 503

    async def until(self, metric: str) -> None:
        deadline = time.monotonic() + RUN_S
        while metric not in (await asyncio.to_thread(self.guard.ask, "/metrics"))[1].splitlines():
            assert time.monotonic() < deadline, metric


@asynccontextmanager
async def pod(way: Bundle, folder: Path) -> AsyncIterator[Pod]:
    made = Pod(way, folder)
    try:
        yield made
    finally:
        made.guard.process.kill()
        made.guard.process.communicate()


@asynccontextmanager
async def agent_at(path: Path, script: Script | None = None) -> AsyncIterator[None]:
    agent = ScriptedAgent(script)
    await agent.listen_unix(str(path))
    try:
        yield
    finally:
        await agent.stop()


@pytest.mark.parametrize("name", ["sidecar", "deployment"])  # the chart's are those of deployment.yaml
def test_probes_answer_without_an_agent_with_one_and_while_draining(name, tmp_path):
    way = bundle(name)

    async def main() -> None:
        async with pod(way, tmp_path) as running:
            assert await running.probes() == {200}
            await running.refuse()
            assert await running.probes() == {200}
            async with agent_at(running.agent, SILENT):
                async with await Engine.tcp(running.port) as engine:
                    await engine.hello()
                    await engine.notify(b"/x")
                    await running.until('spoe_guard_open_notifies{route="default"} 1.0')
                    stopping = asyncio.get_running_loop().run_in_executor(None, running.guard.stop)
                    await asyncio.to_thread(running.guard.wait_for, "draining")
                    assert await running.probes() == {200}
                code, _seconds = await stopping
            assert code == 0

    asyncio.run(main())


def test_readyz_would_keep_a_guard_out_of_its_service_for_good(tmp_path):
    """It says what came of the last try, and without a connection of HAProxy there is no other: why no probe asks it."""

    async def main() -> None:
        async with pod(bundle("deployment"), tmp_path) as running:
            await running.refuse()
            await running.until('spoe_guard_connections_active{route="default"} 0.0')
            async with agent_at(running.agent):
                assert await running.ask("/readyz") == 503
                async with await Engine.tcp(running.port) as engine:
                    await engine.hello()
                    assert await running.ask("/readyz") == 200

    asyncio.run(main())
