"""``spoe-guard run`` whose agent would be the guard itself: refused at the start where that is seen, else when it is dialled."""

import asyncio
import signal
import socket
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from spoe_guard.lab.engine import Engine
from spoe_guard.net.dial import ends
from spoe_guard.wire import frame
from tests.hosts import Hosts
from tests.integration.agent import AgentThread
from tests.integration.haproxy import free
from tests.running import FREE, START_S, Running, spoe_guard, until

WAYS = pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["alone", "workers"])
OWN = "the guard would dial itself; give the agent's own address"


@pytest.fixture
def ports() -> Iterator[tuple[int, int]]:
    """Two ports at which nobody listens."""
    with free() as one, free() as other:
        yield one.getsockname()[1], other.getsockname()[1]


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    [line] = done.stderr.splitlines()
    return line.removeprefix("spoe-guard: ")


def listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@WAYS
def test_a_route_that_is_its_own_agent_by_name_is_refused(ports, options):
    port, _ = ports
    arguments = ("--listen", f"127.0.0.1:{port}", "--agent", f"localhost:{port}", "--admin", FREE)
    line = refusal(spoe_guard("run", *arguments, *options))
    assert line == f"routes[0].agent 'localhost:{port}' is routes[0].listen (127.0.0.1:{port}): {OWN}"
    assert not listens(port)


def test_a_wildcard_stands_for_each_address_of_the_machine(ports):
    port, _ = ports
    way = ends(socket.AF_INET, ("198.51.100.1", 9))
    for own in {"127.0.0.9", way[0][0] if way else "127.0.0.8"}:
        arguments = ("--listen", f"0.0.0.0:{port}", "--agent", f"127.0.0.1:1,{own}:{port}", "--admin", FREE)
        line = refusal(spoe_guard("run", *arguments))
        assert line == f"routes[0].agent '{own}:{port}' is routes[0].listen (0.0.0.0:{port}): {OWN}"


@WAYS
def test_a_unix_socket_by_another_path_is_refused(tmp_path, options):
    (tmp_path / "link").symlink_to(tmp_path)
    arguments = ("--listen", f"unix:{tmp_path}/guard", "--agent", f"unix:{tmp_path}/link/guard", "--admin", FREE)
    line = refusal(spoe_guard("run", *arguments, *options))
    assert line == f"routes[0].agent 'unix:{tmp_path}/link/guard' is routes[0].listen (unix:{tmp_path}/guard): {OWN}"
    assert not (tmp_path / "guard").exists()


TWO = """
routes:
- {{name: a, listen: "127.0.0.1:{a}", agent: "{agent_of_a}"}}
- {{name: b, listen: "127.0.0.1:{b}", agent: "{agent_of_b}"}}
admin: {{listen: "127.0.0.1:0"}}
"""


def file_of_two(folder: Path, ports: tuple[int, int], agent_of_a: str, agent_of_b: str) -> Path:
    file = folder / "guard.yaml"
    file.write_text(TWO.format(a=ports[0], b=ports[1], agent_of_a=agent_of_a, agent_of_b=agent_of_b))
    return file


@WAYS
def test_two_routes_that_are_each_others_agent_are_refused(tmp_path, ports, options):
    a, b = ports
    file = file_of_two(tmp_path, ports, f"localhost:{b}", f"127.0.0.1:{a}")
    line = refusal(spoe_guard("run", "--config", str(file), *options))
    assert line == (
        f"routes[0].agent 'localhost:{b}' is routes[1].listen (127.0.0.1:{b}), "
        f"routes[1].agent '127.0.0.1:{a}' is routes[0].listen (127.0.0.1:{a}): {OWN}"
    )
    assert not listens(a)
    assert not listens(b)


def metric(guard: Running, start: str) -> float:
    """Return the sum of all samples whose lines start so."""
    lines = guard.ask("/metrics")[1].splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"spoe_guard_{start}"))


def play(guard: Running, talk: Callable[[], Awaitable[None]]) -> None:
    """Play ``talk``, and see that the guard stops in order."""

    async def main() -> None:
        try:
            await asyncio.to_thread(guard.wait_for, "listening")
            await talk()
            assert (await asyncio.to_thread(guard.stop))[0] == 0
            assert guard.process.stderr
            assert guard.process.stderr.read() == b""
        finally:
            guard.process.kill()
            guard.process.wait()
            assert guard.process.stderr
            guard.process.stderr.close()

    asyncio.run(main())


@WAYS
def test_one_route_may_be_the_agent_of_another(tmp_path, ports, options):

    async def talk() -> None:
        async with await Engine.tcp(ports[0], deadline_s=START_S) as engine:
            hello = await engine.hello()
            await engine.notify(b"/x")
            ack = await engine.read()
            assert [each.type if each else None for each in (hello, ack)] == [frame.AGENT_HELLO, frame.ACK]

    with AgentThread() as agent:
        file = file_of_two(tmp_path, ports, f"localhost:{ports[1]}", agent.address)
        play(Running(tmp_path, None, "--config", str(file), *options), talk)


@WAYS
@pytest.mark.parametrize("routes", [1, 2])
def test_a_name_that_comes_to_mean_the_guard_is_not_dialled(tmp_path, ports, options, routes):
    """One HELLO made thousands of sessions a second."""
    hosts = Hosts(tmp_path)
    agents = [f"agent.test:{ports[(at + 1) % routes]}" if at < routes else "127.0.0.1:9" for at in range(2)]
    file = file_of_two(tmp_path, ports, *agents)
    settings = {"SPOE_GUARD_ROUTES__0__LINKS__GIVE_UP": "1s"}
    guard = Running(tmp_path, None, "--config", str(file), *options, settings=settings, by=hosts.by)

    def refused() -> list[dict[str, object]]:
        return [line for line in guard.log("agent_unreachable") if line["reason"] == "ourselves"]

    async def talk() -> None:
        hosts.know("agent.test")
        await asyncio.to_thread(until, lambda: len(guard.log("agent_resolved")) == routes)
        async with await Engine.tcp(ports[0], deadline_s=START_S) as engine:
            await engine.hello()
            await asyncio.to_thread(until, lambda: len(refused()) > 0)
            line = refused()[0]
            there = f"127.0.0.1:{ports[1 % routes]}"
            name = "ab"[1 % routes]
            assert line["detail"] == f"{there}: route {name} listens there ({there}), so {OWN}"
            await asyncio.to_thread(until, lambda: guard.ask("/readyz")[0] == 503)
            agent = agents[0]
            failures = f'agent_connect_failures_total{{agent="{agent}",reason="ourselves",route="a"'
            await asyncio.to_thread(until, lambda: metric(guard, failures) > 0)
            assert await asyncio.to_thread(metric, guard, "connections_total") == 1

    play(guard, talk)


@WAYS
def test_a_reload_that_would_make_a_circle_is_refused(tmp_path, ports, options):
    file = file_of_two(tmp_path, ports, f"localhost:{ports[1]}", "127.0.0.1:9")
    guard = Running(tmp_path, None, "--config", str(file), *options)

    async def reload(agent: int) -> str:
        """Return why ``agent``, a port, is not taken as that of the second route."""
        before = len(guard.log("reload_failed"))
        file_of_two(tmp_path, ports, f"localhost:{ports[1]}", f"127.0.0.2:9, localhost:{agent}")
        guard.process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(until, lambda: len(guard.log("reload_failed")) > before)
        [problem] = guard.log("reload_failed")[-1]["problems"]
        return str(problem)

    async def talk() -> None:
        a, b = ports
        assert await reload(b) == f"routes[1].agent 'localhost:{b}' is routes[1].listen (127.0.0.1:{b}): {OWN}"
        assert await reload(a) == (
            f"routes[1].agent 'localhost:{a}' is routes[0].listen (127.0.0.1:{a}), "
            f"routes[0].agent 'localhost:{b}' is routes[1].listen (127.0.0.1:{b}): {OWN}"
        )

    play(guard, talk)
