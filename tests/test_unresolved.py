"""``spoe-guard run`` with an agent whose name does not resolve at the start: that route is down, and the others serve."""

import asyncio
import json
import math
import signal
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from spoe_guard.address import Address
from spoe_guard.core.terms.events import DialFailure
from spoe_guard.lab.agent import ScriptedAgent
from spoe_guard.lab.engine import Engine
from spoe_guard.net.resolver import of_this_process
from spoe_guard.net.route import Route
from spoe_guard.observe.logs import Log
from spoe_guard.observe.stats import RouteStats
from spoe_guard.run import names
from spoe_guard.run.names import Names, look_up
from spoe_guard.run.process import Process
from spoe_guard.settings import load
from spoe_guard.threads import NO_THREAD, NoThreadError
from spoe_guard.wire import frame
from tests.hosts import Hosts
from tests.running import START_S, Running, until

ROUTES = """
routes:
- {{name: lost, listen: "127.0.0.1:0", agent: "{lost}"}}
- {{name: served, listen: "127.0.0.1:0", agent: "127.0.0.1:{port}"}}
admin: {{listen: "127.0.0.1:0"}}
"""


class Guard:
    """Its two routes, by name: of the one the agent's name does not resolve, behind the other there is an agent."""

    def __init__(self, folder: Path, running: Running, agent_port: int) -> None:
        self.file, self.running, self.agent_port = folder / "guard.yaml", running, agent_port
        self.ports = {name: int(listen.rpartition(":")[2]) for name, listen in running.wait_for("listening")["routes"].items()}

    def metric(self, name: str, **labels: str) -> float | None:
        """Return a sample; None where there is none, or it is NaN."""
        for line in self.running.ask("/metrics")[1].splitlines():
            if line.startswith(f"spoe_guard_{name}{{") and all(f'{key}="{value}"' in line for key, value in labels.items()):
                value = float(line.rpartition(" ")[2])
                return None if math.isnan(value) else value
        return None

    def told(self, route: str) -> dict[str, Any]:
        routes = json.loads(self.running.ask("/api/status")[1])["routes"]
        return next(each for each in routes if each["name"] == route)


async def answers(port: int) -> list[int | None]:
    async with await Engine.tcp(port, deadline_s=START_S) as engine:
        hello = await engine.hello()
        await engine.notify(b"/x")
        ack = await engine.read()
        return [each.type if each else None for each in (hello, ack)]


def play(
    folder: Path, talk: Callable[[Guard], Awaitable[None]], *options: str, lost: str = "agent.test:9000", **named: Any
) -> None:
    """Play ``talk`` with a guard, whose end and standard error are checked. ``lost``: the agent of the route of that name."""

    async def main() -> None:
        agent = ScriptedAgent()
        port = await agent.listen_tcp()
        (folder / "guard.yaml").write_text(ROUTES.format(lost=lost.replace("AGENT", str(port)), port=port))
        running = Running(folder, None, "--config", str(folder / "guard.yaml"), *options, **named)
        try:
            await talk(await asyncio.to_thread(Guard, folder, running, port))
            assert (await asyncio.to_thread(running.stop))[0] == 0
            assert running.process.stderr
            assert running.process.stderr.read() == b""
        finally:
            running.process.kill()
            running.process.wait()
            assert running.process.stderr
            running.process.stderr.close()
            await agent.stop()

    asyncio.run(main())


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["alone", "workers"])
def test_a_name_that_does_not_resolve_takes_down_its_route_alone(tmp_path, options):
    hosts = Hosts(tmp_path)

    async def talk(guard: Guard) -> None:
        def seen() -> bool:
            return guard.metric("agent_up", route="lost") == 0

        await asyncio.to_thread(until, seen)
        assert await answers(guard.ports["served"]) == [frame.AGENT_HELLO, frame.ACK]
        [line] = guard.running.log("agent_unreachable")  # of one process alone
        fault = "'agent.test:AGENT': the name does not resolve: ".replace("AGENT", str(guard.agent_port))
        assert (line["level"], line["route"], line["reason"]) == ("warning", "lost", "unresolved")
        assert line["detail"].startswith(fault)
        status, why = await asyncio.to_thread(guard.running.ask, "/readyz")
        assert status == 503
        assert why.startswith(f"lost: the agent is unreachable: unresolved: {fault}")
        assert "\nserved: ready" in why
        lost = await asyncio.to_thread(guard.told, "lost")
        assert (lost["state"], lost["agent_up"]) == ("down", False)
        assert f"unresolved: {fault}" in lost["sentence"]
        assert (await asyncio.to_thread(guard.told, "served"))["state"] == "ok"
        failures = await asyncio.to_thread(guard.metric, "agent_connect_failures_total", route="lost", reason="unresolved")
        assert failures is not None
        assert failures >= 1

        hosts.know("agent.test")
        await asyncio.to_thread(guard.running.wait_for, "agent_resolved")
        await asyncio.to_thread(until, lambda: guard.metric("agent_up", route="lost") is None)
        assert "lost: ready, the agent was not dialled yet\n" in (await asyncio.to_thread(guard.running.ask, "/readyz"))[1]
        assert await answers(guard.ports["lost"]) == [frame.AGENT_HELLO, frame.ACK]
        assert (await asyncio.to_thread(guard.running.ask, "/readyz"))[0] == 200
        assert [line["route"] for line in guard.running.log("agent_resolved")] == ["lost"]

    play(tmp_path, talk, *options, lost="agent.test:AGENT", by=hosts.by)


def test_it_is_looked_up_again_and_again_until_it_resolves(tmp_path):
    hosts = Hosts(tmp_path)

    def failures(guard: Guard) -> float:
        return guard.metric("agent_connect_failures_total", route="lost", reason="unresolved") or 0

    async def talk(guard: Guard) -> None:
        await asyncio.to_thread(until, lambda: failures(guard) >= 3)
        assert guard.metric("agent_up", route="lost") == 0

    play(tmp_path, talk, by=hosts.by)


def test_one_address_that_resolves_is_enough_for_a_route(tmp_path):
    hosts = Hosts(tmp_path)

    async def talk(guard: Guard) -> None:
        [line] = guard.running.log("agent_unreachable")
        assert line["reason"] == DialFailure.UNRESOLVED.value
        assert (await asyncio.to_thread(guard.running.ask, "/readyz"))[0] == 200
        assert await answers(guard.ports["lost"]) == [frame.AGENT_HELLO, frame.ACK]

    play(tmp_path, talk, lost="agent.test:9000,127.0.0.1:AGENT", by=hosts.by)


def test_a_reload_may_give_the_route_another_agent(tmp_path):
    hosts = Hosts(tmp_path)

    async def talk(guard: Guard) -> None:
        text = guard.file.read_text()
        guard.file.write_text(text.replace("agent.test:9000", f"127.0.0.1:{guard.agent_port}"))
        guard.running.process.send_signal(signal.SIGHUP)
        line = await asyncio.to_thread(guard.running.wait_for, "reloaded")
        assert line["changed"] == ["routes[0].agent"]
        assert (await asyncio.to_thread(guard.running.ask, "/readyz"))[0] == 200
        assert await answers(guard.ports["lost"]) == [frame.AGENT_HELLO, frame.ACK]
        guard.file.write_text(text)
        guard.running.process.send_signal(signal.SIGHUP)
        [problem] = (await asyncio.to_thread(guard.running.wait_for, "reload_failed"))["problems"]
        assert problem.startswith("routes[0].agent: 'agent.test:9000': the name does not resolve: ")
        assert await answers(guard.ports["lost"]) == [frame.AGENT_HELLO, frame.ACK]

    play(tmp_path, talk, by=hosts.by)


LOCAL = [(socket.AF_INET, ("127.0.0.1", 9))]


def route(name: str, *hosts: str) -> Route:
    return Route(name, Address("127.0.0.1", 0), tuple(Address(host, 9) for host in hosts))


def test_a_resolver_that_hangs_delays_the_start_once_for_all_names(monkeypatch):
    async def resolve(address: Address) -> list[Any]:
        if address.host.startswith("slow"):
            await asyncio.Event().wait()
        return LOCAL

    monkeypatch.setattr(names, "resolve", resolve)
    monkeypatch.setattr(names, "LOOK_UP_S", 0.2)
    routes = [route("a", "slow"), route("b", "slower", "quick"), route("c", "slowest"), route("d", "quick")]
    began = time.monotonic()
    found = asyncio.run(look_up(routes))
    assert time.monotonic() - began < 0.4
    assert found.unresolved(routes) == {
        "a": {"slow:9": "'slow:9': no answer from the resolver in 0.2 s"},
        "c": {"slowest:9": "'slowest:9': no answer from the resolver in 0.2 s"},
    }
    assert found.places == {Address("quick", 9): LOCAL}


def noted(monkeypatch, resolve: Callable[[Address], Awaitable[list[Any]]], *routes: Route) -> tuple[Names, dict[str, RouteStats]]:
    """Return names of routes that are noted as unresolved, to be looked up again at once with ``resolve``."""
    monkeypatch.setattr(names, "resolve", resolve)
    monkeypatch.setattr(names, "AGAIN_S", 0.001)
    states = {each.name: RouteStats() for each in routes}
    for each in routes:
        states[each.name].serve(map(str, each.agent))
    made = Names(routes, states, None)
    made.note({each.name: {str(address): "gone" for address in each.agent} for each in routes})
    return made, states


def test_names_are_looked_up_again_until_they_resolve(monkeypatch):
    tries: Counter[str] = Counter()

    async def resolve(address: Address) -> list[Any]:
        tries[address.host] += 1
        if tries[address.host] < 3:
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        return LOCAL

    kept, states = noted(monkeypatch, resolve, route("a", "one"), route("b", "two"))
    asyncio.run(asyncio.wait_for(kept.keep(), START_S))
    assert tries == {"one": 3, "two": 3}
    for state in states.values():
        assert (state.agent_up, state.failures(DialFailure.UNRESOLVED)) == (None, 3)


def test_a_name_whose_look_up_hangs_keeps_no_other_route_down(monkeypatch):
    async def resolve(address: Address) -> list[Any]:
        if address.host == "hangs":
            await asyncio.Event().wait()
        return LOCAL

    async def main() -> None:
        keeping = asyncio.ensure_future(kept.keep())
        async with asyncio.timeout(START_S):
            while states["b"].agent_up is False:  # noqa: ASYNC110  what is waited for has no event
                await asyncio.sleep(0.001)
        assert states["a"].agent_up is False
        keeping.cancel()

    monkeypatch.setattr(names, "LOOK_UP_S", 2 * START_S)
    kept, states = noted(monkeypatch, resolve, route("a", "hangs"), route("b", "quick"))
    asyncio.run(main())


def test_without_threads_it_says_why_no_name_is_looked_up(monkeypatch):
    async def resolve(_address: Address) -> list[Any]:
        raise NoThreadError

    monkeypatch.setattr(names, "resolve", resolve)
    found = asyncio.run(look_up([route("a", "agent")]))
    assert found.faults == {Address("agent", 9): f"'agent:9': the name cannot be looked up: {NO_THREAD}"}


@pytest.mark.parametrize("resolves", [False, True])
def test_what_is_found_out_too_late_says_nothing_of_the_new_agent(monkeypatch, resolves):
    async def resolve(_address: Address) -> list[Any]:
        await kept.use([route("a", "new")])
        states["a"].serve(["new:9"])
        states["a"].agent("new:9").tried(time.monotonic(), up=False, detail="refused: by the new one")
        if not resolves:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return LOCAL

    kept, states = noted(monkeypatch, resolve, route("a", "old"))
    asyncio.run(asyncio.wait_for(kept.keep(), START_S))
    assert (states["a"].agent_up, states["a"].agent_detail) == (False, "refused: by the new one")


def test_what_a_dial_found_out_stays_when_the_name_resolves(monkeypatch):
    async def resolve(_address: Address) -> list[Any]:
        return LOCAL

    for up, detail in ((True, ""), (False, "refused: it does not listen")):
        kept, states = noted(monkeypatch, resolve, route("a", "agent"))
        states["a"].agent("agent:9").tried(time.monotonic(), up=up, detail=detail)
        asyncio.run(asyncio.wait_for(kept.keep(), START_S))
        assert (states["a"].agent_up, states["a"].agent_detail) == (up, detail)


def test_a_silent_resolver_is_logged_once_a_minute_for_a_name(monkeypatch):
    lines: list[dict[str, Any]] = []

    class Sink:
        def write(self, line: str) -> bool:
            lines.append(json.loads(line))
            return True

    def silent(*_args: Any, **_named: Any) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    def known(*_args: Any, **_named: Any) -> list[Any]:
        return [(*LOCAL[0][:1], socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    async def main() -> None:
        process = Process(load().settings, Log(Sink(), "json", "info"))
        for _ in range(2):
            for answer in (known, silent):
                with monkeypatch.context() as patch:
                    patch.setattr(socket, "getaddrinfo", answer)
                    assert await of_this_process().look_up("agent") == [(socket.AF_INET, ("127.0.0.1", 0))]
        process.close()

    asyncio.run(main())
    assert [(line["event"], line["level"], line["name"]) for line in lines] == [("resolver_silent", "warning", "agent")]


def test_many_names_are_looked_up_together_but_begin_in_turns(monkeypatch):
    """A turn in which a thousand begin would be one of tens of milliseconds."""
    begun, go_on, count = [], asyncio.Event(), 3 * names.BEGUN_AT_ONCE + 1
    turn = [0]

    async def resolve(address: Address) -> list[tuple[int, tuple[str, int]]]:
        begun.append(turn[0])
        await go_on.wait()
        return [(socket.AF_INET, (str(address), 1))]

    monkeypatch.setattr(names, "resolve", resolve)
    routes = [Route(name=f"r{at}", listen=Address("127.0.0.1", 0), agent=(Address(f"a{at}", 1),)) for at in range(count)]

    async def main() -> None:
        looking = asyncio.get_running_loop().create_task(look_up(routes))
        while len(begun) < count:  # all wait at the same time
            turn[0] += 1
            await asyncio.sleep(0)
        go_on.set()
        found = await looking
        assert list(found.places) == [route.agent[0] for route in routes]
        assert max(Counter(begun).values()) == names.BEGUN_AT_ONCE

    asyncio.run(main())
