"""``spoe-guard run --workers N`` as a user starts it: signals, addresses, and the content of page and log."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from spoe_guard.lab.agent import Script, ScriptedAgent
from spoe_guard.lab.engine import Engine
from spoe_guard.wire import frame
from tests.running import FREE, START_S, Running, environment, spoe_guard
from tests.workers.talk import (
    ENGINES,
    NOTIFYS,
    address_of,
    alive,
    answered,
    engines,
    metrics,
    until,
    until_it_is,
    with_agent,
    workers_of,
)  # fmt: skip

HOLD_S = 60.0
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def test_one_signal_lets_every_worker_drain(run_guard):
    """With a second of its own for one of them, as systemd does to the whole group: that cuts nothing short."""

    async def talk(agent: ScriptedAgent, port: int) -> None:
        guard = run_guard(f"127.0.0.1:{port}", settings={"SPOE_GUARD_ROUTES__0__DISCONNECT_HOLD": "5s"})
        pids = workers_of(guard)
        async with engines(address_of(guard)) as opened:
            for engine in opened:
                await engine.notify(b"/x")
            await until_it_is(lambda: agent.notifies == ENGINES)
            stopping = asyncio.get_running_loop().run_in_executor(None, guard.stop)
            await asyncio.to_thread(guard.wait_for, "draining")
            for pid in pids.values():
                os.kill(pid, signal.SIGTERM)
            assert await asyncio.to_thread(guard.ask, "/readyz") == (503, "draining: the guard is stopping\n")
            rest = await asyncio.gather(*(engine.rest() for engine in opened))
            assert [[each.type for each in message] for message in rest] == [[frame.ACK, frame.AGENT_DISCONNECT]] * ENGINES
            assert (await stopping)[0] == 0
        assert guard.log("draining")[0]["sessions"] == ENGINES
        assert [line["event"] for line in guard.log()] == ["listening", "draining", "stopped"]
        assert not any(map(alive, pids.values()))

    with_agent(talk, Script(delay_s=0.5))


def test_a_second_signal_ends_every_worker_at_once(run_guard):
    async def talk(agent: ScriptedAgent, port: int) -> None:
        guard = run_guard(f"127.0.0.1:{port}", settings={"SPOE_GUARD_ROUTES__0__DISCONNECT_HOLD": f"{HOLD_S:g}s"})
        pids = workers_of(guard)
        async with engines(address_of(guard)) as opened:
            for engine in opened:
                await engine.notify(b"/x")
            await until_it_is(lambda: agent.notifies == ENGINES)
            guard.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(guard.wait_for, "draining")
            code, _seconds = await asyncio.to_thread(guard.stop, signal.SIGINT)  # which waits for less than HOLD_S
        assert code == 1
        assert guard.log("stopped")[0]["clean"] is False
        assert not any(map(alive, pids.values()))

    with_agent(talk, Script(delay_s=60.0))


HANDED_OVER = 'spoe_guard_connections_closed_total{by="guard",reason="handed_over"}'


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_stopped_worker_hands_over_its_connections_and_is_replaced(run_guard, tmp_path, kind):
    listen = () if kind == "tcp" else ("--listen", f"unix:{tmp_path}/guard.sock")

    async def talk(_agent: ScriptedAgent, port: int) -> None:
        guard = run_guard(f"127.0.0.1:{port}", *listen)
        async with engines(address_of(guard)) as opened:
            os.kill(workers_of(guard)["1"], signal.SIGTERM)
            assert all(await asyncio.gather(*map(answered, opened)))
            ended = await asyncio.to_thread(guard.wait_for, "worker_ended")
            assert (ended["worker"], ended["how"]) == (1, "exit code 0")
            assert (await asyncio.to_thread(guard.wait_for, "worker_started"))["worker"] == 1
            assert all(await asyncio.gather(*map(answered, opened)))
            found = await asyncio.to_thread(metrics, guard)
            assert 0 < found[HANDED_OVER] < ENGINES
            assert found["spoe_guard_connections_active"] == ENGINES
            assert found[NOTIFYS] == 2 * ENGINES
        assert (await asyncio.to_thread(guard.stop))[0] == 0

    with_agent(talk)


def test_a_taken_address_is_reported_once_and_leaves_nothing_running(run_guard):
    first = run_guard()
    for share in ("false", "true"):  # with several workers the kernel lets others of this user share, if they ask for it
        done = spoe_guard(
            "run",
            "--workers",
            "2",
            "--listen",
            address_of(first),
            "--admin",
            first.wait_for("listening")["admin"],
            settings={"SPOE_GUARD_SHARE_LISTEN": share},
        )
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
        assert "something listens there already" in done.stderr
        assert done.stdout == ""
    assert first.stop()[0] == 0


def test_a_second_guard_takes_over_with_workers_on_both_sides(run_guard):
    shared = {"SPOE_GUARD_SHARE_LISTEN": "true"}

    async def talk(_agent: ScriptedAgent, port: int) -> None:
        old = run_guard(f"127.0.0.1:{port}", settings=shared)
        async with engines(address_of(old)) as opened:
            same = ("--listen", address_of(old), "--admin", old.wait_for("listening")["admin"], "--log-level", "debug")
            new = run_guard(f"127.0.0.1:{port}", *same, settings=shared)
            await asyncio.to_thread(new.wait_for, "listening")
            assert (await asyncio.to_thread(old.stop))[0] == 0
            assert all(await asyncio.gather(*map(answered, opened)))
            assert len(new.log("session_opened")) == ENGINES
            assert {line["worker"] for line in new.log("session_opened")} == {1, 2}
            assert (await asyncio.to_thread(new.ask, "/readyz"))[1].endswith("workers: 2 of 2\n")
        assert (await asyncio.to_thread(new.stop))[0] == 0

    with_agent(talk)


@pytest.mark.parametrize("payload", ["full", "off"])
def test_the_live_page_covers_all_workers_and_obeys_the_payload_setting(run_guard, payload):
    async def talk(_agent: ScriptedAgent, port: int) -> None:
        guard = run_guard(f"127.0.0.1:{port}", settings={"SPOE_GUARD_ADMIN__PAYLOAD": payload})
        async with engines(address_of(guard)) as opened:
            assert all(await asyncio.gather(*map(answered, opened)))
            for engine in opened:
                await engine.send(GET)
            for engine in opened:
                await engine.rest()
            status = json.loads((await asyncio.to_thread(guard.ask, "/api/status"))[1])
            page = (await asyncio.to_thread(guard.ask, "/"))[1]
        assert status["guard"]["workers"] == {"count": 2, "well": 2, "restarts": 0}
        [route] = status["routes"]
        assert (route["listen"], route["agent"]) == (address_of(guard), f"127.0.0.1:{port}")
        assert (route["total"]["sessions"], route["total"]["notifies"]) == (ENGINES, ENGINES)
        assert route["window"]["anomalies"] == ENGINES
        [incident] = [row for row in status["incidents"] if row["what"] == "anomaly"]
        assert (incident["count"], incident["over"]) == (ENGINES, False)
        assert {incident["first_worker"], incident["last_worker"]} <= {1, 2}
        assert len(set(incident["ids"])) == 2  # as each worker's log has it
        for which in ("first", "last"):
            assert incident[which]["hex"].startswith(GET.hex()) == (payload == "full")
        assert page.count('<li id="incident-') == len(status["incidents"])
        assert re.search(r"worker [12], session \d", page)
        assert (await asyncio.to_thread(guard.stop))[0] == 0

    with_agent(talk)


def test_what_a_worker_says_names_it(run_guard):
    async def talk(guard: Running) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(ENGINES):
                await stack.enter_async_context(await Engine.tcp(int(address_of(guard).rpartition(":")[2])))

    guard = run_guard("127.0.0.1:9", "--log-level", "debug")
    asyncio.run(talk(guard))
    until(lambda: len(guard.log("session_opened")) == ENGINES)
    assert {line["worker"] for line in guard.log("session_opened")} == {1, 2}
    assert guard.stop()[0] == 0


def test_one_worker_is_one_process_with_none_of_this(run_guard):
    guard = run_guard("127.0.0.1:9", "--workers", "1")
    assert "workers" not in guard.wait_for("listening")
    pid = guard.process.pid
    assert Path(f"/proc/{pid}/task/{pid}/children").read_text() == ""
    assert len(list(Path(f"/proc/{pid}/task").iterdir())) == 2  # the one that serves, and the one that writes the log
    assert not re.search("spoe_guard_worker", guard.ask("/metrics")[1])
    assert guard.stop()[0] == 0


def test_with_one_worker_nothing_of_this_is_even_imported():
    flags = ("--listen", FREE, "--agent", "127.0.0.1:9", "--admin", FREE, "--workers", "1")
    command = [sys.executable, "-X", "importtime", "-m", "spoe_guard", "run", *flags]
    guard = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    assert guard.stdout
    assert json.loads(guard.stdout.readline())["event"] == "listening"
    guard.terminate()
    message = guard.communicate(timeout=START_S)[1]
    imported = {line.rpartition("|")[2].strip() for line in message.splitlines()}
    assert "spoe_guard.run.serve" in imported
    assert [name for name in imported if name.startswith(("spoe_guard.run.workers", "multiprocessing"))] == []
