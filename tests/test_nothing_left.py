"""Whatever ends in a guard is freed at its end: Python's garbage collector finds nothing of it."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from spoe_guard.address import Address, parse
from spoe_guard.lab import frames
from spoe_guard.lab.agent import Script, ScriptedAgent
from spoe_guard.lab.engine import Engine
from spoe_guard.lab.faults import FAULTS
from spoe_guard.lab.turns import Turns
from spoe_guard.net.loop import VARIABLE
from tests.running import Running, end_all, until

TIMES = 3


class Uncollected(Running):
    """A guard in which no garbage is collected, with routes to agents that behave, make mistakes, hang, and are not there."""

    def __init__(self, folder: Path, agents: dict[str, str], loop: str) -> None:
        self.file, self.report = folder / "guard.yaml", folder / "report"
        self.report.touch()
        self.control = folder / "control"
        self.agents = agents
        self.captures = folder / "captures"
        self.captures.mkdir(mode=0o700)
        self.write(tuple(agents))
        super().__init__(
            folder,
            None,
            "--config",
            str(self.file),
            settings={VARIABLE: loop},
            by=(sys.executable, "-m", "tests.uncollected", str(self.report)),
        )
        self.routes = {name: parse(where) for name, where in self.wait_for("listening")["routes"].items()}

    def write(self, names: tuple[str, ...]) -> None:
        rows = []
        for name in names:
            row = {"name": name, "listen": "127.0.0.1:0", "agent": self.agents[name].split(), "links": {"give_up": "200ms"}}
            row["mode"] = "observe" if name == "observed" else "enforce"
            row["timeouts"] = {"hello": "100ms"}
            row["answer_deadline"] = "100ms"
            row["limits"] = {"connections": 1 if name == "full" else 100}
            rows.append(row)
        admin = {"listen": "127.0.0.1:0", "control": f"unix:{self.control}"}
        self.file.write_text(json.dumps({"routes": rows, "admin": admin, "capture": {"dir": str(self.captures)}}))

    def sessions(self) -> int:
        return sum(route["now"]["sessions"] for route in json.loads(self.ask("/api/status")[1])["routes"])

    def left(self) -> dict[str, int]:
        """Return what only the collector could free."""
        before = len(self.report.read_text().splitlines())
        self.process.send_signal(signal.SIGUSR1)
        until(lambda: len(self.report.read_text().splitlines()) > before)
        return json.loads(self.report.read_text().splitlines()[-1])


Way = Callable[[Uncollected, ScriptedAgent], Awaitable[None]]


async def asked(address: Address, family: frames.Family = frames.Family.MUX) -> Engine:
    engine = await Engine.to(address, family)
    assert await engine.hello() is not None
    await engine.notify(b"/")
    assert await engine.read() is not None
    return engine


async def haproxy_says_so(guard: Uncollected, _: ScriptedAgent) -> None:
    engine = await asked(guard.routes["well"], frames.Family.APPLET)
    await engine.disconnect()
    await engine.close()


async def haproxy_closes(guard: Uncollected, _: ScriptedAgent) -> None:
    await (await asked(guard.routes["well"])).close()


async def haproxy_resets(guard: Uncollected, _: ScriptedAgent) -> None:
    engine = await asked(guard.routes["well"])
    engine.reset()
    await engine.close()


async def the_agent_goes(guard: Uncollected, agent: ScriptedAgent) -> None:
    engine = await asked(guard.routes["well"])
    agent.drop()
    await engine.notify(b"/")
    await engine.read()
    engine.reset()
    await engine.close()


async def the_agent_makes_mistakes(guard: Uncollected, _: ScriptedAgent) -> None:
    for route in ("wrong", "observed"):
        await (await asked(guard.routes[route])).close()


async def the_agent_hangs(guard: Uncollected, _: ScriptedAgent) -> None:
    engine = await Engine.to(guard.routes["hangs"], frames.Family.MUX)
    await engine.hello()
    await engine.notify(b"/")
    await engine.read()
    await engine.close()


async def no_agent_is_there(guard: Uncollected, _: ScriptedAgent) -> None:
    for route in ("away", "nameless"):
        engine = await Engine.to(guard.routes[route], frames.Family.MUX)
        await engine.hello()
        await engine.close()


async def there_is_no_room(guard: Uncollected, _: ScriptedAgent) -> None:
    first = await asked(guard.routes["full"])
    second = await Engine.to(guard.routes["full"], frames.Family.MUX)
    await second.hello()
    await second.close()
    await first.close()


async def who_connects_is_no_haproxy(guard: Uncollected, _: ScriptedAgent) -> None:
    for said in (b"GET / HTTP/1.1\r\n\r\n", b""):
        engine = await Engine.to(guard.routes["well"])
        await engine.send(said)
        await engine.rest()
        await engine.close()


async def somebody_looks(guard: Uncollected, _: ScriptedAgent) -> None:
    for path in ("/", "/api/status", "/metrics", "/healthz", "/nowhere"):
        await asyncio.to_thread(guard.ask, path)
    admin = parse(guard.wait_for("listening")["admin"])
    with socket.create_connection((admin.host, admin.port)) as silent:
        silent.send(b"GET /metr")
    of_route = {"route": "well"}
    for request in ({"do": "status"}, {"do": "sessions"}, {"do": "drain", **of_route}, {"do": "resume", **of_route}, {}):
        reader, writer = await asyncio.open_unix_connection(str(guard.control))
        writer.write(json.dumps(request).encode() + b"\n")
        await reader.readline()
        writer.close()
        await writer.wait_closed()


async def a_reload_takes_a_route_away(guard: Uncollected, _: ScriptedAgent) -> None:
    engine = await asked(guard.routes["wrong"])
    said = len(guard.log("reloaded"))
    for names in (("wrong",), ()):
        guard.write(tuple(name for name in guard.agents if name not in names))
        guard.process.send_signal(signal.SIGHUP)
        said += 1
        await asyncio.to_thread(until, lambda said=said: len(guard.log("reloaded")) >= said)
        if names:
            await engine.close()
            await asyncio.to_thread(until, lambda: len(guard.log("route_ended")) > 0)
    guard.file.write_text("routes: {")
    guard.process.send_signal(signal.SIGHUP)
    await asyncio.to_thread(until, lambda: len(guard.log("reload_failed")) > 0)


WAYS = (
    haproxy_says_so, haproxy_closes, haproxy_resets, the_agent_goes, the_agent_makes_mistakes, the_agent_hangs, no_agent_is_there,
    there_is_no_room, who_connects_is_no_haproxy, somebody_looks, a_reload_takes_a_route_away,
)  # fmt: skip


@asynccontextmanager
async def agents() -> AsyncIterator[tuple[dict[str, str], ScriptedAgent]]:
    well, hangs = ScriptedAgent(keep=False), ScriptedAgent(Script(delay_s=600), keep=False)
    wrong = ScriptedAgent(Script(fault=FAULTS["missing_fin"], turn=Turns(asyncio.get_running_loop().time, every=1)), keep=False)
    ports = {name: await each.listen_tcp() for name, each in (("well", well), ("hangs", hangs), ("wrong", wrong))}
    where = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    yield where | {
        "observed": where["wrong"], "full": where["well"], "away": "127.0.0.1:9 127.0.0.1:10", "nameless": "agent.invalid:9"
    }, well  # fmt: skip
    for each in (well, hangs, wrong):
        await each.stop()


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_the_collector_finds_nothing_of_what_has_ended(tmp_path, loop):
    async def play() -> dict[str, dict[str, int]]:
        found = {}
        async with agents() as (where, agent):
            guard = await asyncio.to_thread(Uncollected, tmp_path, where, loop)
            try:
                for way in WAYS:
                    for _ in range(TIMES if way is not a_reload_takes_a_route_away else 1):
                        await way(guard, agent)
                    await asyncio.to_thread(until, lambda: guard.sessions() == 0)
                    found[way.__name__] = await asyncio.to_thread(guard.left)
                assert await asyncio.to_thread(guard.stop) == (0, pytest.approx(0, abs=10))
            finally:
                await asyncio.to_thread(end_all, [guard])
        return found

    assert {way: left for way, left in asyncio.run(play()).items() if left} == {}
