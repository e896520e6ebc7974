"""SIGHUP: routes that are added to the settings and taken out of them, in one process and with several workers."""

import asyncio
import json
import os
import re
import resource
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from spoe_guard.lab.agent import Script, ScriptedAgent
from spoe_guard.lab.engine import Engine
from spoe_guard.wire import frame
from tests.integration.haproxy import free
from tests.running import START_S, Running, end_all, until
from tests.service_manager import COMMAND, Manager, listening

BOTH = pytest.mark.parametrize("workers", [1, 2])
REPEATED = 10  # times, where it takes chance to see it fail

Routes = dict[str, dict[str, Any]]


class Changing(Running):
    """A guard whose routes, by name, a test changes. Each ``hup`` waits for what the guard says of it."""

    def __init__(self, folder: Path, routes: Routes, workers: int = 1, rest: str = "", by: tuple[str, ...] = ()) -> None:
        self.file = folder / "guard.yaml"
        self.rest = rest
        self.write(routes)
        super().__init__(folder, None, "--config", str(self.file), "--workers", str(workers), by=by)
        self.wait_for("listening")

    def write(self, routes: Routes) -> None:
        rows = [{"name": name, "agent": "127.0.0.1:9", **route} for name, route in routes.items()]
        self.file.write_text(f"routes: {json.dumps(rows)}\nadmin: {{listen: '127.0.0.1:0'}}\n{self.rest}")

    def hup(self, routes: Routes) -> dict[str, Any]:
        self.write(routes)
        before = len(self.said())
        self.process.send_signal(signal.SIGHUP)
        until(lambda: len(self.said()) > before or self.process.poll() is not None)
        return self.said()[-1]

    def said(self) -> list[dict[str, Any]]:
        return [line for line in self.log() if line["event"] in ("reloaded", "reload_failed")]

    def listens(self) -> dict[str, str]:
        """Return where each route listens, as the page has it, in its order."""
        return {route["name"]: route["listen"] for route in json.loads(self.ask("/api/status")[1])["routes"]}

    def labels(self) -> set[str]:
        """Return the values of the label ``route`` in the metrics."""
        return set(re.findall(r'\broute="(\w+)"', self.ask("/metrics")[1]))

    def metric(self, name: str, route: str) -> float:
        rows = self.ask("/metrics")[1].splitlines()
        [row] = [row for row in rows if row.startswith(f'spoe_guard_{name}{{route="{route}"}} ')]
        return float(row.rpartition(" ")[2])

    def ended(self, count: int) -> list[dict[str, Any]]:
        """Wait for so many lines that sessions of a route have ended, and return them; with workers each has its own."""
        until(lambda: len(self.log("route_ended")) >= count)
        return self.log("route_ended")


@pytest.fixture
def changing(tmp_path) -> Iterator[Callable[..., Changing]]:
    running: list[Changing] = []

    def start(routes: Routes, workers: int = 1, **how: Any) -> Changing:
        running.append(Changing(tmp_path, routes, workers, **how))
        return running[-1]

    yield start
    end_all(running)


@pytest.fixture
def ports() -> Iterator[list[str]]:
    """Addresses at which nobody else will listen."""
    kept = [free() for _ in range(3)]
    yield ["{}:{}".format(*sock.getsockname()) for sock in kept]
    for sock in kept:
        sock.close()


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def connects(address: str) -> bool:
    path = address.removeprefix("unix:")
    kind, where = (socket.AF_UNIX, path) if path != address else (socket.AF_INET, ("127.0.0.1", port_of(address)))
    with socket.socket(kind, socket.SOCK_STREAM) as sock:
        return sock.connect_ex(where) == 0


@asynccontextmanager
async def an_agent(script: Script | None = None) -> AsyncIterator[str]:
    agent = ScriptedAgent(script)
    try:
        yield f"127.0.0.1:{await agent.listen_tcp()}"
    finally:
        await agent.stop()


async def answered(engine: Engine) -> bool:
    sent = await engine.notify(b"/x")
    ack = await engine.read()
    return ack is not None and (ack.type, ack.ids) == (frame.ACK, sent.ids)


@BOTH
def test_an_added_route_serves_and_a_removed_one_ends_in_order(changing, workers):
    async def main() -> None:
        async with an_agent() as agent, AsyncExitStack() as at_exit:
            one, two = {"listen": "127.0.0.1:0", "agent": agent}, {"listen": "127.0.0.1:0", "agent": agent}
            guard = changing({"one": one}, workers)
            beside = await at_exit.enter_async_context(await Engine.tcp(port_of(guard.listens()["one"])))
            await beside.hello()
            said = await asyncio.to_thread(guard.hup, {"two": two, "one": one})
            assert (said["event"], said["changed"], said["added"], said["removed"]) == ("reloaded", [], ["two"], [])
            at = guard.listens()
            assert [*at] == ["two", "one"]
            assert guard.labels() == {"one", "two"}
            for _ in range(8):  # whichever worker has it
                engine = await at_exit.enter_async_context(await Engine.tcp(port_of(at["two"])))
                await engine.hello()
                assert await answered(engine)
            assert guard.ask("/readyz") == (200, guard.ask("/readyz")[1])
            said = await asyncio.to_thread(guard.hup, {"one": one})
            assert (said["changed"], said["added"], said["removed"]) == ([], [], ["two"])
            assert [each.type for each in await engine.rest()] == [frame.AGENT_DISCONNECT]
            assert not connects(at["two"])
            assert guard.listens() == {"one": at["one"]}
            assert guard.labels() == {"one"}
            assert "two" not in guard.ask("/readyz")[1]
            ended = await asyncio.to_thread(guard.ended, workers)
            assert {(each["route"], each["listen"], each["reset"]) for each in ended} == {("two", at["two"], 0)}
            assert sum(each["sessions"] for each in ended) == 8
            assert await answered(beside)
            assert guard.log("worker_ended") == []
            assert (await asyncio.to_thread(guard.stop))[0] == 0

    asyncio.run(main())


@BOTH
def test_what_is_open_on_a_route_that_is_removed_is_answered(changing, workers):
    async def main() -> None:
        async with an_agent(Script(delay_s=0.3)) as agent, AsyncExitStack() as at_exit:
            one, two = {"listen": "127.0.0.1:0", "agent": agent}, {"listen": "127.0.0.1:0", "agent": agent}
            guard = changing({"one": one, "two": two}, workers)
            engine = await at_exit.enter_async_context(await Engine.tcp(port_of(guard.listens()["two"])))
            await engine.hello()
            await engine.notify(b"/x")
            await asyncio.to_thread(until, lambda: guard.metric("open_notifies", "two") == 1)
            await asyncio.to_thread(guard.hup, {"one": one})
            assert [each.type for each in await engine.rest()] == [frame.ACK, frame.AGENT_DISCONNECT]

    asyncio.run(main())


@BOTH
@pytest.mark.parametrize("why", ["taken", "no_address", "no_directory"])
def test_what_cannot_be_opened_refuses_the_whole_reload(changing, ports, tmp_path, why, workers):
    one, two, three = ({"listen": port} for port in ports)
    guard = changing({"one": one, "two": two}, workers)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        at, words = {
            "taken": (taken, "something listens there already"),
            "no_address": ("192.0.2.1:12345", "this machine has no such address"),
            "no_directory": (f"unix:{tmp_path}/none/guard", f"the directory {tmp_path}/none is not there"),
        }[why]
        said = guard.hup({"one": one | {"mode": "observe"}, "three": three, "bad": {"listen": at}})
    [problem] = said["problems"]
    assert (said["event"], problem.startswith(f"route bad: cannot listen on {at}: {words}")) == ("reload_failed", True), problem
    assert guard.listens() == {"one": ports[0], "two": ports[1]}
    assert [connects(port) for port in ports] == [True, True, False]
    assert guard.hup({"one": one, "three": three})["added"] == ["three"]
    assert [connects(port) for port in ports] == [True, False, True]


@BOTH
def test_a_route_that_gets_another_name_keeps_its_socket(changing, ports, workers):
    """Nobody is refused meanwhile, however often that is tried."""
    guard = changing({"name0": {"listen": ports[0]}}, workers)
    for count in range(1, REPEATED + 1):
        guard.write({f"name{count}": {"listen": ports[0]}})
        guard.process.send_signal(signal.SIGHUP)
        while len(guard.said()) < count:
            assert connects(ports[0])
        assert guard.said()[-1]["event"] == "reloaded"
    assert guard.listens() == {f"name{REPEATED}": ports[0]}
    assert guard.labels() == {f"name{REPEATED}"}


@BOTH
def test_two_routes_change_places(changing, ports, workers):
    async def main() -> None:
        async with an_agent() as agent:
            one, two = {"agent": agent}, {"agent": "127.0.0.1:9"}
            guard = changing({"one": one | {"listen": ports[0]}, "two": two | {"listen": ports[1]}}, workers)
            said = await asyncio.to_thread(guard.hup, {"one": one | {"listen": ports[1]}, "two": two | {"listen": ports[0]}})
            assert (said["changed"], said["added"], said["removed"]) == (["routes[0].listen", "routes[1].listen"], [], [])
            for _ in range(4):
                async with await Engine.tcp(port_of(ports[1])) as engine:
                    await engine.hello()
                    assert await answered(engine)
                    await engine.disconnect()

    asyncio.run(main())


@BOTH
def test_a_route_that_listens_elsewhere_goes_on_counting(changing, ports, workers):
    async def main() -> None:
        async with an_agent() as agent, AsyncExitStack() as at_exit:
            guard = changing({"one": {"listen": ports[0], "agent": agent}}, workers)
            before = await at_exit.enter_async_context(await Engine.tcp(port_of(ports[0])))
            await before.hello()
            await asyncio.to_thread(guard.hup, {"one": {"listen": ports[1], "agent": agent}})
            after = await at_exit.enter_async_context(await Engine.tcp(port_of(ports[1])))
            await after.hello()
            assert [each.type for each in await before.rest()] == [frame.AGENT_DISCONNECT]
            assert not connects(ports[0])
            assert await answered(after)
            await asyncio.to_thread(guard.ended, workers)
            assert guard.metric("connections_total", "one") == 2
            assert guard.metric("connections_active", "one") == 1

    asyncio.run(main())


@BOTH
@pytest.mark.parametrize(("before", "after"), [("127.0.0.1", "0.0.0.0"), ("0.0.0.0", "127.0.0.1")])
def test_an_address_may_become_wider_and_narrower(changing, ports, workers, before, after):
    guard = changing({"one": {"listen": ports[0].replace("127.0.0.1", before)}}, workers)
    said = guard.hup({"one": {"listen": ports[0].replace("127.0.0.1", after)}})
    assert said["event"] == "reloaded", said
    guard.ended(workers)
    assert guard.listens() == {"one": ports[0].replace("127.0.0.1", after)}
    assert connects(ports[0])
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port_of(ports[0])))


@BOTH
def test_the_file_of_a_unix_socket_comes_and_goes_with_its_route(changing, tmp_path, workers):
    one, path = {"listen": "127.0.0.1:0"}, tmp_path / "guard.sock"
    guard = changing({"one": one}, workers)
    unix = {"listen": f"unix:{path}", "socket": {"mode": "0666"}}
    assert guard.hup({"one": one, "two": unix})["added"] == ["two"]
    assert path.stat().st_mode & 0o777 == 0o666
    assert connects(f"unix:{path}")
    said = guard.hup({"one": one, "two": unix | {"socket": {"mode": "0600"}}})
    assert said["problems"] == [
        f"routes[1].socket.mode: '0600' ({guard.file}:1): cannot change while the guard runs (it is 0666): needs a restart"
    ]
    assert guard.hup({"one": one, "three": unix})["removed"] == ["two"]
    assert connects(f"unix:{path}")
    guard.hup({"one": one})
    guard.ended(2 * workers)
    assert not path.exists()


@BOTH
def test_a_name_that_comes_back_begins_anew(changing, ports, workers):
    one, two = {"listen": ports[0]}, {"listen": ports[1]}
    guard = changing({"one": one, "two": two}, workers)
    assert connects(ports[1])
    until(lambda: guard.metric("connections_total", "two") == 1)
    for count in range(1, 4):
        guard.hup({"one": one})
        guard.ended(count * workers)
        guard.hup({"one": one, "two": two})
        assert guard.metric("connections_total", "two") == 0
        assert connects(ports[1])
        until(lambda: guard.metric("connections_total", "two") == 1)


@BOTH
def test_a_name_that_comes_back_early_goes_on_with_its_sessions(changing, ports, workers):
    async def main() -> None:
        async with an_agent(Script(delay_s=60)) as agent, AsyncExitStack() as at_exit:
            one = {"listen": ports[0]}
            two = {"listen": ports[1], "agent": agent, "disconnect_hold": "1s"}
            guard = changing({"one": one, "two": two}, workers)
            engine = await at_exit.enter_async_context(await Engine.tcp(port_of(ports[1])))
            await engine.hello()
            await engine.notify(b"/x")
            await asyncio.to_thread(until, lambda: guard.metric("open_notifies", "two") == 1)
            await asyncio.to_thread(guard.hup, {"one": one})
            said = await asyncio.to_thread(guard.hup, {"one": one, "two": two | {"agent": "127.0.0.1:9"}})
            assert said["added"] == ["two"]
            assert guard.metric("connections_active", "two") == 1
            assert [each.type for each in await engine.rest()] == [frame.AGENT_DISCONNECT]
            await asyncio.to_thread(guard.ended, workers)
            await asyncio.to_thread(until, lambda: guard.metric("connections_active", "two") == 0)
            assert connects(ports[1])

    asyncio.run(main())


def test_what_went_wrong_on_a_removed_route_is_over_in_the_log(changing, ports):
    one, two = {"listen": ports[0]}, {"listen": ports[1], "agent": "127.0.0.1:1", "links": {"give_up": 0}}
    guard = changing({"one": one, "two": two})

    async def talk() -> None:
        async with await Engine.tcp(port_of(ports[1])) as engine:
            await engine.hello()

    asyncio.run(talk())
    assert guard.ask("/readyz")[0] == 503
    until(lambda: guard.log("agent_unreachable"))
    guard.hup({"one": one})
    guard.ended(1)
    over = [(line["route"], line["what"], line["because"]) for line in guard.log("incident_over")]
    assert ("two", "agent_unreachable", "route_removed") in over
    assert guard.ask("/readyz")[0] == 200


def test_without_descriptors_nothing_changes_and_it_is_said_what_to_raise(changing, tmp_path):
    limit = ("prlimit", "--nofile=128:128")
    one = {"listen": "127.0.0.1:0", "limits": {"connections": 1}}
    guard = changing({"one": one}, by=limit)
    many = {f"r{number}": one for number in range(200)}
    said = guard.hup({"one": one} | many)
    assert said["event"] == "reload_failed"
    assert re.fullmatch(
        r"route r\d+: cannot listen on 127\.0\.0\.1:0: the guard has no file descriptor left of 128 .*", said["problems"][0]
    )
    assert guard.hup({"one": one, "two": one})["event"] == "reloaded"


def test_a_route_may_not_become_its_own_agent_by_an_added_one(changing, ports):
    one = {"listen": ports[0], "agent": ports[1]}
    guard = changing({"one": one})
    said = guard.hup({"one": one, "two": {"listen": ports[1], "agent": ports[0]}})
    assert "the guard would dial itself" in said["problems"][0]
    assert not connects(ports[1])
    assert guard.hup({"one": one, "two": {"listen": ports[1]}})["event"] == "reloaded"
    assert connects(ports[1])


def test_a_route_with_health_listen_follows_its_agent_once_added(changing, ports):
    async def main() -> None:
        one, two = {"listen": ports[0]}, {"listen": ports[1], "health": "listen", "links": {"give_up": 0}}
        guard = changing({"one": one})
        await asyncio.to_thread(guard.hup, {"one": one, "two": two | {"agent": "127.0.0.1:1"}})
        await asyncio.to_thread(until, lambda: not connects(ports[1]))
        assert guard.ask("/readyz")[0] == 503
        async with an_agent() as agent:
            await asyncio.to_thread(guard.hup, {"one": one, "three": two | {"agent": agent}})
            assert guard.said()[-1]["event"] == "reloaded"
            await asyncio.to_thread(until, lambda: connects(ports[1]))
            assert guard.ask("/readyz")[0] == 200

    asyncio.run(main())


def test_a_socket_of_systemd_is_kept_under_any_name(tmp_path):
    manager = Manager(tmp_path)
    file = tmp_path / "guard.yaml"
    try:
        with listening() as sock:
            at = "{}:{}".format(*sock.getsockname())
            routes = "routes: [{{name: {}, listen: '{}', agent: '127.0.0.1:9'}}, {{name: own, listen: '127.0.0.1:0'}}]"

            def write(name: str, listen: str) -> None:
                file.write_text(f"{routes.format(name, listen)}\nadmin: {{listen: null}}\n")

            write("given", at)
            manager.start(("unknown", sock), command=(*COMMAND, "--config", str(file)))
            manager.hear_of("READY=1")
            write("renamed", at)
            manager.process.send_signal(signal.SIGHUP)
            manager.hear_of("RELOADING=1")
            assert any(f"renamed at {at}" in line for line in manager.hear_of("READY=1"))
            assert connects(at)
            write("renamed", "127.0.0.1:0")
            manager.process.send_signal(signal.SIGHUP)
            manager.hear_of("RELOADING=1")
            status = " ".join(manager.hear_of("READY=1"))
            assert f"route renamed: cannot stop to listen on {at}: systemd holds its socket" in status
            assert connects(at)
            assert manager.stop() == 0
    finally:
        manager.close()


def test_a_worker_that_cannot_open_refuses_the_whole(changing, ports):
    """The second one has no descriptor for what it is given."""
    one = {"listen": ports[0], "limits": {"connections": 1}}
    guard = changing({"one": one}, 2)
    second = guard.wait_for("listening")["workers"]["2"]
    before = resource.prlimit(second, resource.RLIMIT_NOFILE)
    resource.prlimit(second, resource.RLIMIT_NOFILE, (3, before[1]))
    said = guard.hup({"one": one, "two": {"listen": ports[1]}})
    assert said["event"] == "reload_failed"
    assert said["problems"][0].startswith("worker 2: the guard has no file descriptor left")
    assert [connects(port) for port in ports] == [True, False, False]
    resource.prlimit(second, resource.RLIMIT_NOFILE, before)
    assert guard.hup({"one": one, "two": {"listen": ports[1]}})["event"] == "reloaded"
    assert connects(ports[1])


def test_a_worker_that_starts_later_has_the_routes_of_then(changing, ports):
    one, two = {"listen": ports[0]}, {"listen": ports[1]}
    guard = changing({"one": one}, 2)
    workers = guard.wait_for("listening")["workers"]
    guard.hup({"two": two})
    for pid in workers.values():
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(guard.log("worker_started")) == 2)
    assert [connects(port) for port in ports] == [False, True, False]
    assert guard.hup({"one": one})["event"] == "reloaded"
    assert [connects(port) for port in ports] == [True, False, False]


def test_a_thousand_routes_come_and_go_in_slices(changing, ports):
    """The loop answers meanwhile: nobody waits for long."""
    one = {"listen": ports[0]}
    guard = changing({"one": one})
    before = time.monotonic()
    said = guard.hup({"one": one} | {f"r{number}": {"listen": "127.0.0.1:0"} for number in range(1000)})
    assert (said["event"], len(said["added"]), said["added"][-1]) == ("reloaded", 17, "and 984 more"), said
    assert guard.hup({"one": one})["removed"][-1] == "and 984 more"
    guard.ended(1000)
    assert time.monotonic() - before < START_S
    assert guard.labels() == {"one"}


def test_a_guard_that_takes_over_gets_an_added_routes_sessions(changing, ports, tmp_path):
    async def main() -> None:
        async with an_agent() as agent, AsyncExitStack() as at_exit:
            one, two, three = ({"listen": port, "agent": agent} for port in ports)
            first = changing({"one": one, "three": three}, rest="share_listen: true")
            await asyncio.to_thread(first.hup, {"one": one, "two": two})
            engine = await at_exit.enter_async_context(await Engine.tcp(port_of(ports[1])))
            await engine.hello()
            assert await answered(engine)
            folder = tmp_path / "second"
            folder.mkdir()
            second = Changing(folder, {"one": one, "two": two, "three": three}, rest="share_listen: true")
            try:
                assert (await asyncio.to_thread(first.stop))[0] == 0
                assert await answered(engine)
                await asyncio.to_thread(second.hup, {"one": one})
                assert [each.type for each in await engine.rest()] == [frame.AGENT_DISCONNECT]
                assert (await asyncio.to_thread(second.stop))[0] == 0
            finally:
                end_all([second])

    asyncio.run(main())
