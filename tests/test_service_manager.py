"""What the guard sends to systemd and gets from it, with a test as systemd: NOTIFY_SOCKET, watchdog, listening sockets."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spoe_guard.lab.agent import ScriptedAgent
from spoe_guard.lab.engine import Engine
from spoe_guard.run.service_manager import MAX_STATUS, ServiceManager
from spoe_guard.wire import frame
from tests.running import START_S, until
from tests.service_manager import COMMAND, WATCHDOG_S, Manager, listening, settings


@pytest.fixture
def manager(tmp_path) -> Iterator[Manager]:
    made = Manager(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("abstract", [False, True])
def test_it_is_told_in_its_words(tmp_path, abstract):
    heard = Manager(tmp_path, abstract=abstract)
    service = ServiceManager.of({"NOTIFY_SOCKET": heard.address})
    service.ready("Listening:\n default")
    assert heard.hear() == ["READY=1", "STATUS=Listening: default"]
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    service.reloading()
    [message, at] = heard.hear()
    assert message == "RELOADING=1"
    assert before <= int(at.removeprefix("MONOTONIC_USEC=")) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    service.reloaded("x" * 2 * MAX_STATUS)
    [message, status] = heard.hear()
    assert message == "READY=1"
    assert status == f"STATUS=The last reload failed: {'x' * 2 * MAX_STATUS}"[: len("STATUS=") + MAX_STATUS]
    service.reloaded()
    assert heard.hear() == ["READY=1", "STATUS=Listening: default"]
    service.stopping("Draining")
    assert heard.hear() == ["STOPPING=1", "STATUS=Draining"]
    service.reloaded()  # a word too late
    service.stopping("Draining")
    assert heard.hear() == ["STOPPING=1", "STATUS=Draining"]
    heard.close()
    service.ready("nobody listens any more")


def test_without_a_service_manager_nothing_is_notified():
    nobody = ServiceManager.of({"WATCHDOG_PID": "1", "WATCHDOG_USEC": "1000000"})
    nobody.ready("x")
    assert nobody.watchdog_s is None
    asyncio.run(nobody.keep())


def test_life_signs_come_at_least_twice_in_the_watchdogs_time(monkeypatch):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)
        raise asyncio.CancelledError

    monkeypatch.setattr("spoe_guard.run.service_manager.asyncio.sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(ServiceManager.of({"WATCHDOG_USEC": "1000000"}).keep())
    [seconds] = slept
    assert 0 < seconds <= 0.5


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_guard_says_when_it_is_ready_reloads_lives_and_stops(manager, loop):
    manager.start(command=(*COMMAND, "--agent", "127.0.0.1:9"), **settings(LOOP=loop))
    ready, status = manager.hear()
    assert ready == "READY=1"
    assert status.startswith("STATUS=Listening: default at 127.0.0.1:")
    socket.create_connection(("127.0.0.1", int(status.removesuffix(".").rpartition(":")[2])), timeout=5).close()
    manager.process.send_signal(signal.SIGHUP)
    manager.hear_of("RELOADING=1")
    assert manager.hear_of("READY=1") == [ready, status]
    for _ in range(4):
        manager.hear_of("WATCHDOG=1")
    manager.process.send_signal(signal.SIGTERM)
    assert manager.hear_of("STOPPING=1")[1] == "STATUS=Draining: 0 sessions."
    assert manager.errors() == ""
    assert manager.process.wait(10) == 0


# A guard whose event loop stands still from SIGVTALRM on, whatever it was about to do.
HANGS = """
import os, signal, time
def hang(*_):
    os.write(1, b"hangs")
    time.sleep(60)
signal.signal(signal.SIGVTALRM, hang)
from spoe_guard.cli import main
main()
"""


def test_a_guard_whose_event_loop_stands_still_gives_no_life_signs(manager):
    manager.start(command=(sys.executable, "-c", HANGS, "run"), **settings())
    manager.hear_of("READY=1")
    manager.hear_of("WATCHDOG=1")
    assert not manager.quiet_for(WATCHDOG_S)
    manager.process.send_signal(signal.SIGVTALRM)
    until(lambda: "hangs" in manager.log())
    assert manager.quiet_for(2 * WATCHDOG_S)


def test_a_reload_that_fails_is_in_the_status(manager, tmp_path):
    file = tmp_path / "guard.yaml"
    file.write_text("")
    manager.start(command=(*COMMAND, "--config", str(file)), **settings())
    manager.hear_of("READY=1")
    file.write_text("workres: 1")
    manager.process.send_signal(signal.SIGHUP)
    manager.hear_of("RELOADING=1")
    [_, status] = manager.hear_of("READY=1")
    expected = f"STATUS=The last reload failed: workres: 1 ({file}:1): unknown key; did you mean workers?. Listening: default at "
    assert status.startswith(expected)


async def answered(engine: Engine) -> bool:
    async with engine:
        await engine.hello()
        await engine.notify(b"/x")
        ack = await engine.read()
        return ack is not None and ack.type == frame.ACK


def with_agent(talk: Callable[[str], bool]) -> bool:
    async def main() -> bool:
        agent = ScriptedAgent()
        where = f"127.0.0.1:{await agent.listen_tcp()}"
        try:
            return await asyncio.to_thread(talk, where)
        finally:
            await agent.stop()

    return asyncio.run(main())


def test_a_socket_serves_the_route_of_its_name_or_address_or_admin(manager, tmp_path):
    path = str(tmp_path / "guard.sock")
    with listening() as named, listening(socket.AF_UNIX, path) as placed, listening() as admin:

        def talk(agent: str) -> bool:
            routes = {"ROUTES__1__NAME": "second", "ROUTES__1__LISTEN": f"unix:{path}", "ROUTES__1__AGENT": agent}
            told = settings(ROUTES__0__AGENT=agent, ADMIN__LISTEN="127.0.0.1:0", **routes)
            manager.start(("default", named), ("unknown", placed), ("admin", admin), **told)
            manager.hear_of("READY=1")
            first = asyncio.run(_both(named.getsockname()[1], path))
            with socket.create_connection(admin.getsockname(), timeout=5) as asked:
                asked.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                page = asked.makefile("rb").read()
            return first and page.endswith(b"ok\n")

        assert with_agent(talk)
        assert manager.stop() == 0
        assert Path(path).is_socket()  # it is the service manager's
        assert manager.errors() == ""


async def _both(port: int, path: str) -> bool:
    return await answered(await Engine.tcp(port)) and await answered(await Engine.unix(path))


def test_what_connects_while_the_guard_is_started_again_waits_and_is_served(manager):
    with listening() as sock:

        def talk(agent: str) -> bool:
            manager.start(("default", sock), **settings(ROUTES__0__AGENT=agent))
            manager.hear_of("READY=1")
            assert manager.stop() == 0

            async def ask() -> bool:
                engine = await Engine.tcp(sock.getsockname()[1], deadline_s=START_S)
                manager.start(("default", sock), **settings(ROUTES__0__AGENT=agent))
                return await answered(engine)

            return asyncio.run(ask())

        assert with_agent(talk)
        assert manager.stop() == 0


def datagrams() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def connected() -> socket.socket:
    here, there = socket.socketpair()
    there.close()
    return here


@pytest.mark.parametrize(
    ("name", "made", "message"),
    [
        (
            "other",
            listening,
            "socket 'other' at 127.0.0.1:PORT of the service manager: no route has this name or listens there",
        ),
        (
            "admin",
            listening,
            "socket 'admin' at 127.0.0.1:PORT of the service manager: no route has this name or listens there",
        ),
        ("default", datagrams, "descriptor 3 ('default') of the service manager: expected ListenStream= and Accept=no"),
        ("default", connected, "descriptor 3 ('default') of the service manager: expected ListenStream= and Accept=no"),
    ],
)
def test_a_socket_that_nobody_wants_is_one_clear_error(manager, name, made, message):
    with made() as sock:
        manager.start((name, sock), **settings())
        assert manager.process.wait(START_S) == 1
        port = str(sock.getsockname()[1]) if made is listening else ""
    [line] = manager.errors().splitlines()
    assert line.startswith("spoe-guard: " + message.replace("PORT", port))


def test_a_second_socket_for_a_route_is_one_clear_error(manager):
    with listening() as first, listening() as second:
        manager.start(("default", first), ("default", second), **settings())
        assert manager.process.wait(START_S) == 1
        where = f"127.0.0.1:{second.getsockname()[1]}"
    assert manager.errors() == f"spoe-guard: socket 'default' at {where} of the service manager: default has one already\n"


def test_sockets_that_were_given_to_another_process_are_left_alone(tmp_path, monkeypatch):
    from spoe_guard.run.service_manager import given_sockets
    from spoe_guard.settings import load

    environ = {"LISTEN_PID": str(os.getpid() + 1), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "default"}
    assert given_sockets(load().settings, environ) == {}
    assert environ == {}
