"""``spoe-guard run --workers N`` as a user starts it: what a killed worker, a killed parent and a stop do to whom."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spoe_guard.lab.agent import Script, ScriptedAgent
from spoe_guard.lab.engine import Engine
from spoe_guard.wire import frame
from tests.running import START_S, Running, spoe_guard

ENGINES = 16  # that the kernel gives one of two workers none of them has a chance of 1 in 2^15
SLACK_S = 1.5
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def run_guard(tmp_path) -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def start(agent: str = "127.0.0.1:9", *options: str, **named: Any) -> Running:
        folder = tmp_path / str(len(running))
        folder.mkdir()
        running.append(Running(folder, agent, "--workers", "2", *options, **named))
        return running[-1]

    yield start
    for guard in running:
        guard.process.kill()
        guard.process.wait()
        assert guard.process.stderr
        errors = guard.process.stderr.read()
        guard.process.stderr.close()
        assert errors == b""


def with_agent(talk: Callable[[ScriptedAgent, int], Awaitable[None]], script: Script | None = None) -> None:
    async def main() -> None:
        agent = ScriptedAgent(script)
        port = await agent.listen_tcp()
        try:
            await talk(agent, port)
        finally:
            await agent.stop()

    asyncio.run(main())


@contextlib.asynccontextmanager
async def engines(address: str, count: int = ENGINES) -> AsyncIterator[list[Engine]]:
    async with contextlib.AsyncExitStack() as stack:
        opened = []
        for _ in range(count):
            path = address.removeprefix("unix:")
            dialled = await (Engine.unix(path) if path != address else Engine.tcp(int(address.rpartition(":")[2])))
            opened.append(await stack.enter_async_context(dialled))
        hellos = await asyncio.gather(*(engine.hello() for engine in opened))
        assert [hello and hello.type for hello in hellos] == [frame.AGENT_HELLO] * count
        yield opened


async def answered(engine: Engine) -> bool:
    """Whether one NOTIFY more gets its ACK; False where the connection is gone."""
    try:
        sent = await engine.notify(b"/x")
        ack = await engine.read()
    except OSError:
        return False
    assert ack is None or (ack.type, ack.ids) == (frame.ACK, sent.ids)
    return ack is not None


def address_of(guard: Running) -> str:
    return str(guard.wait_for("listening")["routes"]["default"])


def workers_of(guard: Running) -> dict[str, int]:
    return dict(guard.wait_for("listening")["workers"])


def alive(pid: int) -> bool:
    """Whether it runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(condition: Callable[[], object], seconds: float = START_S) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def metrics(guard: Running) -> dict[str, float]:
    """By name and labels, without the route."""
    text = guard.ask("/metrics")[1].replace(',route="default"', "").replace('{route="default"}', "")
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


NOTIFYS = 'spoe_guard_frames_total{direction="to_agent",type="notify"}'


def test_metrics_are_the_sum_of_what_went_through_all_workers_and_of_one_that_was_killed(run_guard):
    async def talk(_agent: ScriptedAgent, port: int) -> None:
        guard = run_guard(f"127.0.0.1:{port}")
        async with engines(address_of(guard)) as opened:
            for _ in range(5):
                assert all(await asyncio.gather(*map(answered, opened)))
            found = await asyncio.to_thread(metrics, guard)
            assert found[NOTIFYS] == 5 * ENGINES
            assert found["spoe_guard_notify_ack_seconds_count"] == 5 * ENGINES
            assert found["spoe_guard_connections_active"] == found["spoe_guard_agent_links"] == ENGINES
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
            assert found["spoe_guard_connections_active"] == found["spoe_guard_agent_links"] == left
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
            await _until(lambda: min(counts) > 2)
            assert (await asyncio.to_thread(metrics, guard))["spoe_guard_connections_active"] == ENGINES
            os.kill(workers_of(guard)["2"], signal.SIGKILL)
            lost = (await asyncio.to_thread(guard.wait_for, "worker_ended"))["sessions"]
            async with engines(address) as newcomers:  # they are the other worker's until this one is back
                assert all(await asyncio.gather(*map(answered, newcomers)))
            await asyncio.to_thread(guard.wait_for, "worker_started")
            seen = list(counts)
            await _until(lambda: sum(now > before for now, before in zip(counts, seen, strict=True)) >= ENGINES - lost)
            stop.set()
            assert sorted(await asyncio.gather(*asking)) == [False] * lost + [True] * (ENGINES - lost)
            assert 0 < lost < ENGINES
        assert (await asyncio.to_thread(guard.stop))[0] == 0

    with_agent(talk)
    assert not (tmp_path / "guard.sock").exists()


async def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + START_S
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def test_one_signal_lets_every_worker_drain(run_guard):
    """With a second of its own for one of them, as systemd does to the whole group: that cuts nothing short."""

    async def talk(agent: ScriptedAgent, port: int) -> None:
        guard = run_guard(f"127.0.0.1:{port}", settings={"SPOE_GUARD_ROUTES__0__DISCONNECT_HOLD": "5s"})
        pids = workers_of(guard)
        async with engines(address_of(guard)) as opened:
            for engine in opened:
                await engine.notify(b"/x")
            await _until(lambda: agent.notifies == ENGINES)
            stopping = asyncio.get_running_loop().run_in_executor(None, guard.stop)
            await asyncio.to_thread(guard.wait_for, "draining")
            for pid in pids.values():
                os.kill(pid, signal.SIGTERM)
            assert await asyncio.to_thread(guard.ask, "/readyz") == (503, "draining: the guard is stopping\n")
            rest = await asyncio.gather(*(engine.rest() for engine in opened))
            assert [[each.type for each in said] for said in rest] == [[frame.ACK, frame.AGENT_DISCONNECT]] * ENGINES
            assert (await stopping)[0] == 0
        assert guard.log("draining")[0]["sessions"] == ENGINES
        assert [line["event"] for line in guard.log()] == ["listening", "draining", "stopped"]
        assert not any(map(alive, pids.values()))

    with_agent(talk, Script(delay_s=0.5))


def test_a_second_signal_ends_every_worker_at_once(run_guard):
    async def talk(agent: ScriptedAgent, port: int) -> None:
        guard = run_guard(f"127.0.0.1:{port}", settings={"SPOE_GUARD_ROUTES__0__DISCONNECT_HOLD": "20s"})
        pids = workers_of(guard)
        async with engines(address_of(guard)) as opened:
            for engine in opened:
                await engine.notify(b"/x")
            await _until(lambda: agent.notifies == ENGINES)
            guard.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(guard.wait_for, "draining")
            code, seconds = await asyncio.to_thread(guard.stop, signal.SIGINT)
        assert code == 1
        assert seconds < SLACK_S
        assert guard.log("stopped")[0]["clean"] is False
        assert not any(map(alive, pids.values()))

    with_agent(talk, Script(delay_s=60.0))


HANDED_OVER = 'spoe_guard_connections_closed_total{by="guard",reason="handed_over"}'


def test_a_worker_that_is_told_to_stop_hands_its_connections_to_the_others_and_is_replaced(run_guard):
    async def talk(_agent: ScriptedAgent, port: int) -> None:
        guard = run_guard(f"127.0.0.1:{port}")
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


def test_no_worker_outlives_its_parent_not_even_one_that_hangs(run_guard):
    guard = run_guard()
    pids = list(workers_of(guard).values())
    os.kill(pids[0], signal.SIGSTOP)
    assert all(map(alive, pids))
    guard.process.kill()
    until(lambda: not any(map(alive, pids)))


def test_an_address_that_is_taken_is_said_once_and_nothing_is_left_running(run_guard):
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
def test_the_live_page_is_of_all_workers_and_tells_of_peers_what_it_may(run_guard, payload):
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
        assert route["window"]["anomalies"] == len(status["anomalies"]) == ENGINES
        assert {note["worker"] for note in status["anomalies"]} == {1, 2}
        assert len({note["id"] for note in status["anomalies"]}) == ENGINES
        assert {note["hex"].startswith(GET.hex()) for note in status["anomalies"]} == {payload == "full"}
        assert page.count('<li id="anomaly-') == ENGINES
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
    assert not re.search("spoe_guard_worker", guard.ask("/metrics")[1])
    assert guard.stop()[0] == 0
    code = "import sys, spoe_guard.cli, spoe_guard.serve; sys.exit(any('spoe_guard.workers' in name for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], timeout=START_S, check=False).returncode == 0
