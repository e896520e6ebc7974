"""SIGHUP with several workers: the parent reads the settings, and every worker's new sessions get them."""

import asyncio
import os
import signal
import socket

from spoe_guard.lab.agent import ScriptedAgent
from tests.running import START_S
from tests.service_manager import Manager, listening, settings
from tests.workers.talk import ENGINES, address_of, answered, dial, engines, metrics, until_it_is, with_agent, workers_of

TURNED_AWAY = 'spoe_guard_connections_closed_total{by="guard",reason="limit"}'


def test_new_settings_reach_every_worker_and_one_that_starts_later(run_guard, tmp_path):
    file = tmp_path / "guard.yaml"
    file.write_text("")

    async def talk(_agent: ScriptedAgent, port: int) -> None:
        guard = run_guard(f"127.0.0.1:{port}", "--config", str(file))
        address, workers = address_of(guard), workers_of(guard)

        async def turned_away() -> float:
            """Return how many of a crowd are; each worker serves one."""
            before = metrics(guard).get(TURNED_AWAY, 0)
            crowd = [await dial(address) for _ in range(ENGINES)]
            await until_it_is(lambda: metrics(guard).get(TURNED_AWAY, 0) - before >= ENGINES - len(workers))
            for engine in crowd:
                await engine.close()
            await until_it_is(lambda: metrics(guard)["spoe_guard_connections_active"] == 0)
            return metrics(guard)[TURNED_AWAY] - before

        async with engines(address) as before:
            assert (await asyncio.to_thread(guard.ask, "/api/status", "guard.example"))[0] == 421
            file.write_text("routes: [{limits: {connections: 1}}]\nadmin: {hosts: [guard.example]}")
            guard.process.send_signal(signal.SIGHUP)
            await until_it_is(lambda: guard.log("reloaded"))
            assert guard.log("reloaded")[0]["changed"] == ["routes[0].limits.connections", "admin.hosts"]
            assert (await asyncio.to_thread(guard.ask, "/api/status", "guard.example"))[0] == 200
            assert all([await answered(engine) for engine in before])
        await until_it_is(lambda: metrics(guard)["spoe_guard_connections_active"] == 0)
        assert await turned_away() <= ENGINES - 1
        os.kill(workers["1"], signal.SIGKILL)
        await until_it_is(lambda: guard.log("worker_started"))
        assert await turned_away() <= ENGINES - 1
        file.write_text("workres: 2")
        guard.process.send_signal(signal.SIGHUP)
        await until_it_is(lambda: guard.log("reload_failed"))
        assert metrics(guard)["spoe_guard_last_reload_successful"] == 0
        assert metrics(guard)['spoe_guard_reloads_total{result="success"}'] == 1
        assert (await asyncio.to_thread(guard.stop))[0] == 0

    with_agent(talk)


def test_what_haproxys_option_set_on_error_asks_for_reaches_every_worker(run_guard, tmp_path):
    """It is told to a worker as it is written: `{set: error}`."""
    file = tmp_path / "guard.yaml"
    file.write_text("routes: [{haproxy: {set_on_error: error}}]")
    guard = run_guard("127.0.0.1:9", "--config", str(file))
    assert len(workers_of(guard)) == 2
    assert guard.stop()[0] == 0


def test_a_hang_up_of_a_worker_alone_does_nothing(run_guard):
    guard = run_guard()
    workers = workers_of(guard)
    for pid in workers.values():
        os.kill(pid, signal.SIGHUP)
    assert metrics(guard)["spoe_guard_workers"] == len(workers)
    assert guard.stop()[0] == 0
    assert [line["event"] for line in guard.log()] == ["listening", "draining", "stopped"]


def test_a_socket_of_the_service_manager_is_for_one_process(tmp_path):
    manager = Manager(tmp_path)
    try:
        with listening() as sock:
            manager.start(("default", sock), **settings(WORKERS="2"))
            assert manager.process.wait(START_S) == 1
        assert manager.errors() == "spoe-guard: route default: socket activation needs workers: 1\n"
    finally:
        manager.close()


def test_the_service_manager_hears_of_all_workers_as_of_one_process(tmp_path):
    manager = Manager(tmp_path)
    try:
        with listening() as admin:
            manager.start(("admin", admin), **settings(WORKERS="2", ADMIN__LISTEN="127.0.0.1:0"))
            assert manager.hear()[0] == "READY=1"
            manager.hear_of("WATCHDOG=1")
            manager.process.send_signal(signal.SIGHUP)
            manager.hear_of("RELOADING=1")
            manager.hear_of("READY=1")
            with socket.create_connection(admin.getsockname(), timeout=5) as asked:
                asked.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert asked.makefile("rb").read().startswith(b"HTTP/1.1 200 ")
            assert manager.stop() == 0
            manager.hear_of("STOPPING=1")
        assert manager.errors() == ""
    finally:
        manager.close()
