"""A worker or the parent is killed or hangs: it loses its own connections, and nothing else."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from spoe_guard.lab.agent import ScriptedAgent
from spoe_guard.lab.engine import Engine
from spoe_guard.run.workers.channel import PART
from spoe_guard.settings import Settings
from spoe_guard.wire import frame
from tests.running import START_S
from tests.workers.talk import (
    ENGINES,
    NOTIFYS,
    address_of,
    alive,
    answered,
    dial,
    engines,
    metrics,
    until,
    until_it_is,
    with_agent,
    workers_of,
)  # fmt: skip


def test_metrics_sum_all_workers_and_one_that_was_killed(run_guard):
    async def talk(_agent: ScriptedAgent, port: int) -> None:
        links = f'spoe_guard_agent_links{{agent="127.0.0.1:{port}"}}'
        guard = run_guard(f"127.0.0.1:{port}")
        async with engines(address_of(guard)) as opened:
            for _ in range(5):
                assert all(await asyncio.gather(*map(answered, opened)))
            found = await asyncio.to_thread(metrics, guard)
            assert found[NOTIFYS] == 5 * ENGINES
            assert found["spoe_guard_notify_ack_seconds_count"] == 5 * ENGINES
            assert found["spoe_guard_connections_active"] == found[links] == ENGINES
            assert (found["spoe_guard_workers"], found["spoe_guard_worker_restarts_total"]) == (2, 0)
            os.kill(workers_of(guard)["1"], signal.SIGKILL)
            ended = await asyncio.to_thread(guard.wait_for, "worker_ended")
            left = sum(await asyncio.gather(*map(answered, opened)))
            assert 0 < left < ENGINES
            assert (ended["worker"], ended["how"], ended["sessions"]) == (1, "killed by SIGKILL", ENGINES - left)
            await asyncio.to_thread(guard.wait_for, "worker_started")
            found = await asyncio.to_thread(metrics, guard)
            assert found[NOTIFYS] == 5 * ENGINES + left
            assert found["spoe_guard_notify_ack_seconds_count"] == 5 * ENGINES + left
            assert found["spoe_guard_connections_total"] == ENGINES
            assert found["spoe_guard_connections_active"] == found[links] == left
            assert (found["spoe_guard_workers"], found["spoe_guard_worker_restarts_total"]) == (2, 1)
            assert (await asyncio.to_thread(guard.ask, "/readyz")) == (200, "default: ready\nworkers: 2 of 2\n")
            assert (await asyncio.to_thread(guard.ask, "/healthz"))[0] == 200
        assert (await asyncio.to_thread(guard.stop))[0] == 0

    with_agent(talk)


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_worker_killed_under_load_costs_its_own_connections_alone(run_guard, tmp_path, kind):
    listen = () if kind == "tcp" else ("--listen", f"unix:{tmp_path}/guard.sock")

    async def talk(_agent: ScriptedAgent, port: int) -> None:
        guard = run_guard(f"127.0.0.1:{port}", *listen)
        address = address_of(guard)
        stop = asyncio.Event()
        counts = [0] * ENGINES

        async def keep_asking(number: int, engine: Engine) -> bool:
            while not stop.is_set():
                if not await answered(engine):
                    return False
                counts[number] += 1
            return True

        async with engines(address) as opened:
            loop = asyncio.get_running_loop()
            asking = [loop.create_task(keep_asking(number, engine)) for number, engine in enumerate(opened)]
            await until_it_is(lambda: min(counts) > 2)
            assert (await asyncio.to_thread(metrics, guard))["spoe_guard_connections_active"] == ENGINES
            os.kill(workers_of(guard)["2"], signal.SIGKILL)
            lost = (await asyncio.to_thread(guard.wait_for, "worker_ended"))["sessions"]
            async with engines(address) as newcomers:  # they are the other worker's until this one is back
                assert all(await asyncio.gather(*map(answered, newcomers)))
            await asyncio.to_thread(guard.wait_for, "worker_started")
            seen = list(counts)
            await until_it_is(lambda: sum(now > before for now, before in zip(counts, seen, strict=True)) >= ENGINES - lost)
            stop.set()
            assert sorted(await asyncio.gather(*asking)) == [False] * lost + [True] * (ENGINES - lost)
            assert 0 < lost < ENGINES
        assert (await asyncio.to_thread(guard.stop))[0] == 0

    with_agent(talk)
    assert not (tmp_path / "guard.sock").exists()


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_killed_workers_queue_is_served_by_the_others(run_guard, tmp_path, kind):
    listen = () if kind == "tcp" else ("--listen", f"unix:{tmp_path}/guard.sock")

    async def talk(_agent: ScriptedAgent, port: int) -> None:
        guard = run_guard(f"127.0.0.1:{port}", *listen)
        address, pids = address_of(guard), workers_of(guard)
        # The parent, too: so that it is not the next worker of that number that serves them.
        stopped = [guard.process.pid, *pids.values()]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        async with contextlib.AsyncExitStack() as stack:
            queued = [await stack.enter_async_context(await dial(address)) for _ in range(ENGINES)]
            os.kill(pids["1"], signal.SIGKILL)
            until(lambda: not alive(pids["1"]))
            os.kill(pids["2"], signal.SIGCONT)
            hellos = await asyncio.gather(*(engine.hello() for engine in queued))
            assert [hello and hello.type for hello in hellos] == [frame.AGENT_HELLO] * ENGINES
            os.kill(guard.process.pid, signal.SIGCONT)
            await asyncio.to_thread(guard.wait_for, "worker_started")
            assert all(await asyncio.gather(*map(answered, queued)))
        assert (await asyncio.to_thread(guard.stop))[0] == 0

    with_agent(talk)


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_what_comes_while_no_worker_lives_is_served_by_the_next_ones(run_guard, tmp_path, kind):
    listen = () if kind == "tcp" else ("--listen", f"unix:{tmp_path}/guard.sock")

    async def talk(_agent: ScriptedAgent, port: int) -> None:
        guard = run_guard(f"127.0.0.1:{port}", *listen)
        for pid in workers_of(guard).values():
            os.kill(pid, signal.SIGKILL)
        async with engines(address_of(guard)) as opened:
            assert all(await asyncio.gather(*map(answered, opened)))
        await until_it_is(lambda: len(guard.log("worker_started")) == 2)
        assert (await asyncio.to_thread(guard.stop))[0] == 0

    with_agent(talk)


def test_what_comes_while_a_worker_hangs_is_served_by_the_others(run_guard):
    async def talk(_agent: ScriptedAgent, port: int) -> None:
        guard = run_guard(f"127.0.0.1:{port}")
        os.kill(workers_of(guard)["1"], signal.SIGSTOP)
        async with engines(address_of(guard)) as opened:
            assert all(await asyncio.gather(*map(answered, opened)))
            os.kill(workers_of(guard)["1"], signal.SIGCONT)
        assert (await asyncio.to_thread(guard.stop))[0] == 0
        assert guard.log("worker_ended") == []

    with_agent(talk)


def test_no_worker_outlives_its_parent(run_guard):
    guard = run_guard()
    pids = list(workers_of(guard).values())
    assert all(map(alive, pids))
    guard.process.kill()
    until(lambda: not any(map(alive, pids)))


def test_a_worker_ends_with_its_parent_even_with_its_channel_open():
    """As one that hangs. The other end of its channel is here, and stays open."""
    ours, its = socket.socketpair()
    lends, borrows = socket.socketpair()
    program = [sys.executable, "-m", "spoe_guard.run.workers", str(its.fileno())]
    code = "import subprocess, sys; p = subprocess.Popen(sys.argv[3:], pass_fds=map(int, sys.argv[1:3])); print(p.pid); p.wait()"
    with ours, its, lends, borrows:
        descriptors = its.fileno(), borrows.fileno()
        command = [sys.executable, "-u", "-c", code, *map(str, descriptors), *program]
        parent = subprocess.Popen(command, pass_fds=descriptors, stdout=subprocess.PIPE)
        assert parent.stdout
        with parent.stdout:
            pid = int(parent.stdout.readline())
        settings = Settings.model_validate({"routes": [{"listen": "127.0.0.1:0", "agent": "127.0.0.1:9"}]})
        about = {"workers": 1, "worker": 1, "sockets": {}, "borrows": borrows.fileno(), "drained": []}
        ours.settimeout(START_S)
        routes = "".join(f"{PART.decode()}{route.model_dump_json()}\n" for route in settings.routes)
        rest = json.dumps({"settings": settings.model_dump(mode="json", exclude={"routes"}), **about})
        ours.sendall(f"{routes}{rest}\n".encode())
        assert json.loads(ours.recv(100)) == {"listening": True}
        parent.kill()
        parent.wait()
        try:
            until(lambda: not alive(pid))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
