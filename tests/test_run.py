"""``spoe-guard run`` as a process, with an agent behind it and an engine in front: it starts, reports, drains, stops."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import stat
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spoe_guard.lab.agent import Script, ScriptedAgent
from spoe_guard.lab.engine import Engine
from spoe_guard.settings import FAILS_OPEN
from spoe_guard.wire import frame
from tests.integration.agent import AgentThread
from tests.integration.haproxy import free
from tests.running import START_S, Running, end_all, spoe_guard, until

HANDED_OVER = 40  # connections; that one guard gets none or all of them has a chance of 1 in 2^39


@pytest.fixture
def run_guard(tmp_path) -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def start(agent: str = "127.0.0.1:9", *options: str, **named: Any) -> Running:
        running.append(Running(named.pop("folder", tmp_path), agent, *options, **named))
        return running[-1]

    yield start
    end_all(running)


def with_agent(talk: Callable[[int], Awaitable[None]], script: Script | None = None) -> None:
    async def main() -> None:
        agent = ScriptedAgent(script)
        port = await agent.listen_tcp()
        try:
            await talk(port)
        finally:
            await agent.stop()

    asyncio.run(main())


def port_of(guard: Running) -> int:
    return int(guard.wait_for("listening")["routes"]["default"].rpartition(":")[2])


def test_listen_and_agent_are_a_complete_start(run_guard):
    guard = run_guard("127.0.0.1:9", settings={"SPOE_GUARD_LOOP": "uvloop"})
    line = guard.wait_for("listening")
    assert line["agents"] == {"default": "127.0.0.1:9"}
    assert line["mode"] == "enforce"
    assert line["pid"] == guard.process.pid
    host, _, port = line["routes"]["default"].rpartition(":")
    assert (host, port != "0") == ("127.0.0.1", True)
    assert guard.ask("/healthz") == (200, "ok\n")
    assert guard.ask("/readyz") == (200, "default: ready, the agent was not dialled yet\n")
    assert guard.stop()[0] == 0
    assert [each["event"] for each in guard.log()] == ["listening", "draining", "stopped"]
    assert guard.log("draining")[0]["signal"] == "SIGTERM"
    assert guard.log("stopped")[0]["clean"] is True


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["alone", "workers"])
def test_the_totals_of_incidents_are_said_before_the_end(run_guard, options):
    with AgentThread() as agent:  # where nobody listens, a session could end before it has heard anything
        guard = run_guard(agent.address, *options, settings={"SPOE_GUARD_LOG__RATE": "1/m"})
        for _ in range(6):
            with socket.create_connection(("127.0.0.1", port_of(guard)), timeout=5) as sock:
                sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
                assert sock.recv(1) == b""
        assert guard.stop()[0] == 0
    over = [line for line in guard.log("incident_over") if line["what"] == "anomaly"]  # whatever the rate
    assert {(line["because"], line["anomaly"]) for line in over} == {("stop", "not_spop")}
    assert sum(line["count"] for line in over) == 6
    assert {line["incident"] for line in guard.log("anomaly")} <= {line["incident"] for line in over}


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["alone", "workers"])
def test_a_unix_socket_has_the_rights_of_the_settings(run_guard, tmp_path, options):
    path = tmp_path / "guard.sock"
    rights = {"SPOE_GUARD_ROUTES__0__SOCKET__MODE": "0662", "SPOE_GUARD_ROUTES__0__SOCKET__GROUP": str(os.getegid())}
    guard = run_guard("127.0.0.1:9", "--listen", f"unix:{path}", *options, settings=rights)
    guard.wait_for("listening")
    assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_gid) == (0o662, os.getegid())
    assert guard.stop()[0] == 0
    assert not path.exists()


@pytest.mark.parametrize(("options", "processes"), [((), 1), (("--workers", "2"), 3)])
def test_a_full_collection_walks_over_nothing_that_was_there_at_the_start(run_guard, tmp_path, options, processes):
    """Nor does that of the workers' parent, which answers health checks."""
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, gc, os\n"
        f"atexit.register(lambda: open(f'{tmp_path}/frozen-{{os.getpid()}}', 'w').write(str(gc.get_freeze_count())))\n"
    )
    guard = run_guard("127.0.0.1:9", *options, settings={"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"})
    guard.wait_for("listening")
    assert guard.stop()[0] == 0
    frozen = [int(path.read_text()) for path in tmp_path.glob("frozen-*")]
    assert sum(count > 10_000 for count in frozen) == processes


def test_the_live_page_and_its_status_are_of_this_guard(run_guard):
    with AgentThread() as agent:  # where nobody listens, the session could end before it has heard anything
        guard = run_guard(agent.address, "--mode", "observe", settings={"SPOE_GUARD_ADMIN__PAYLOAD": "headers"})
        listen = guard.wait_for("listening")["routes"]["default"]
        with socket.create_connection(("127.0.0.1", port_of(guard)), timeout=5) as sock:
            sock.sendall(b"GET /secret HTTP/1.1\r\n\r\n")
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(1) == b""
    status = json.loads(guard.ask("/api/status")[1])
    (route,) = status["routes"]
    assert (route["listen"], route["agent"], status["guard"]["mode"]) == (listen, agent.address, "observe")
    assert (route["total"]["sessions"], route["total"]["anomalies"]) == (1, 1)
    (incident,) = status["incidents"]
    assert (incident["anomaly"], incident["applied"], incident["count"]) == ("not_spop", False, 1)
    assert incident["ids"] == [guard.log("anomaly")[0]["incident"]]
    assert incident["first"]["frame"] == ["no frame can be read from 24 bytes"]
    code, page = guard.ask("/")
    assert code == 200
    assert f"{listen} → {agent.address}" in page
    assert "secret" not in page


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_traffic_is_counted_and_readiness_follows_the_agent(run_guard, loop):
    async def talk(agent_port: int) -> None:
        guard = run_guard(f"127.0.0.1:{agent_port}", settings={"SPOE_GUARD_LOOP": loop})
        async with await Engine.tcp(port_of(guard)) as engine:
            hello = await engine.hello()
            assert hello is not None
            assert hello.type == frame.AGENT_HELLO
            for _ in range(3):
                await engine.notify(b"/x")
                ack = await engine.read()
                assert ack is not None
                assert ack.type == frame.ACK
            metrics = (await asyncio.to_thread(guard.ask, "/metrics"))[1].splitlines()
            assert 'spoe_guard_frames_total{direction="to_agent",route="default",type="notify"} 3.0' in metrics
            assert 'spoe_guard_frames_total{direction="to_haproxy",route="default",type="ack"} 3.0' in metrics
            assert 'spoe_guard_notify_ack_seconds_count{route="default"} 3.0' in metrics
            assert 'spoe_guard_connections_active{route="default"} 1.0' in metrics
            labels = f'agent="127.0.0.1:{agent_port}",route="default"'
            assert f"spoe_guard_agent_links{{{labels}}} 1.0" in metrics
            assert f"spoe_guard_agent_up{{{labels}}} 1.0" in metrics
            assert f"spoe_guard_agent_dials_total{{{labels}}} 1.0" in metrics
            assert any(line.startswith("spoe_guard_build_info{") and f'loop="{loop}"' in line for line in metrics)
            assert await asyncio.to_thread(guard.ask, "/readyz") == (200, "default: ready\n")
        assert (await asyncio.to_thread(guard.stop))[0] == 0

    with_agent(talk)


def test_an_absent_agent_is_logged_and_makes_the_guard_unready(run_guard, tmp_path):
    guard = run_guard(f"unix:{tmp_path}/no.sock", settings={"SPOE_GUARD_ROUTES__0__LINKS__GIVE_UP": "100ms"})

    async def talk() -> None:
        async with await Engine.tcp(port_of(guard)) as engine:
            await engine.hello()

    asyncio.run(talk())
    line = guard.wait_for("agent_unreachable")
    assert (line["route"], line["reason"]) == ("default", "no_socket")
    status, why = guard.ask("/readyz")
    assert status == 503
    assert why.startswith("default: the agent is unreachable: no_socket: ")
    assert guard.ask("/healthz")[0] == 200
    assert guard.stop(signal.SIGINT)[0] == 0


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["alone", "workers"])
def test_an_address_of_the_agent_that_is_gone_is_named_everywhere(run_guard, options):
    taken = free()  # nobody listens on its port, and nobody gets it
    gone = f"127.0.0.1:{taken.getsockname()[1]}"

    async def talk(agent_port: int) -> None:
        live = f"127.0.0.1:{agent_port}"
        guard = run_guard(f"{gone},{live}", *options)
        assert await _one_notify(port_of(guard)) == [frame.AGENT_HELLO, frame.ACK]
        metrics = (await asyncio.to_thread(guard.ask, "/metrics"))[1].splitlines()
        assert f'spoe_guard_agent_up{{agent="{gone}",route="default"}} 0.0' in metrics
        assert f'spoe_guard_agent_up{{agent="{live}",route="default"}} 1.0' in metrics
        refused = f'spoe_guard_agent_connect_failures_total{{agent="{gone}",reason="refused",route="default"}} 1.0'
        assert refused in metrics
        (route,) = json.loads((await asyncio.to_thread(guard.ask, "/api/status"))[1])["routes"]
        assert (route["state"], route["agent_up"]) == ("degraded", True)
        assert route["sentence"].startswith(f"Served, but not by every agent: {gone} refused: ")
        assert [(agent["address"], agent["up"]) for agent in route["agents"]] == [(gone, False), (live, True)]
        status, why = await asyncio.to_thread(guard.ask, "/readyz")
        assert (status, why.splitlines()[0]) == (200, "default: ready")
        (line,) = guard.log("agent_unreachable")
        assert (line["level"], line["agent"], line["reason"]) == ("warning", gone, "refused")
        assert (await asyncio.to_thread(guard.stop))[0] == 0

    with taken:
        with_agent(talk)


def test_the_age_of_the_oldest_notify_is_measured(run_guard):
    async def talk(agent_port: int) -> None:
        guard = run_guard(f"127.0.0.1:{agent_port}", settings={"SPOE_GUARD_ROUTES__0__DISCONNECT_HOLD": "0"})

        def oldest() -> float:
            lines = guard.ask("/metrics")[1].splitlines()
            (line,) = (each for each in lines if each.startswith("spoe_guard_oldest_open_notify_seconds{"))
            return float(line.rpartition(" ")[2])

        assert await asyncio.to_thread(oldest) == 0
        async with await Engine.tcp(port_of(guard)) as engine:
            await engine.hello()
            began = time.monotonic()
            await engine.notify(b"/x")
            await asyncio.to_thread(_until_open, guard)
            await engine.notify(b"/x")  # which is younger
            first = await asyncio.to_thread(oldest)
            assert 0 < first <= time.monotonic() - began
            await asyncio.to_thread(until, lambda: oldest() > 1.0)
            assert 1.0 < await asyncio.to_thread(oldest) <= time.monotonic() - began
            (route,) = json.loads((await asyncio.to_thread(guard.ask, "/api/status"))[1])["routes"]
            assert (route["state"], route["sentence"][:52]) == (
                "degraded", "The agent does not answer: a NOTIFY has waited for 1"
            )  # fmt: skip
        await asyncio.to_thread(until, lambda: oldest() == 0)
        assert (await asyncio.to_thread(guard.stop))[0] == 0

    with_agent(talk, SILENT)


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["alone", "workers"])
def test_a_route_that_lets_requests_go_on_unchecked_says_so(run_guard, options):
    guard = run_guard("127.0.0.1:9", *options, settings={"SPOE_GUARD_ROUTES__0__UNANSWERED": "empty-ack"})
    line = guard.wait_for("fails_open")
    assert (line["level"], line["route"], line["sentence"]) == ("warning", "default", FAILS_OPEN)
    assert guard.stop()[0] == 0
    assert len(guard.log("fails_open")) == 1


@pytest.mark.parametrize(
    "settings", [{"ROUTES__0__UNANSWERED__SET": "error"}, {"ROUTES__0__UNANSWERED": "empty-ack", "MODE": "observe"}]
)
def test_a_route_that_lets_nothing_go_on_unchecked_is_silent(run_guard, settings):
    """In observe mode nothing is answered in an agent's place."""
    guard = run_guard("127.0.0.1:9", settings={f"SPOE_GUARD_{name}": value for name, value in settings.items()})
    guard.wait_for("listening")
    assert guard.stop()[0] == 0
    assert guard.log("fails_open") == []


def test_a_signal_before_it_listens_is_not_lost(run_guard):
    """As PID 1 of a container a signal without a handler does nothing, not even end the process."""
    guard = run_guard()
    deadline = time.monotonic() + START_S
    while not _handles(guard.process.pid, signal.SIGTERM):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    code, _seconds = guard.stop()
    assert code == (0 if guard.log("listening") else 1)


def _handles(pid: int, number: signal.Signals) -> bool:
    caught = Path(f"/proc/{pid}/status").read_text().partition("SigCgt:")[2].split()[0]
    return bool(int(caught, 16) >> (number - 1) & 1)


SILENT = Script(delay_s=60.0)  # it reads NOTIFYs and answers none


def test_a_stop_waits_for_an_open_notify_in_bounded_time(run_guard):
    async def talk(agent_port: int) -> None:
        settings = {"SPOE_GUARD_ROUTES__0__DISCONNECT_HOLD": "300ms", "SPOE_GUARD_ROUTES__0__TIMEOUTS__CLOSE": "300ms"}
        guard = run_guard(f"127.0.0.1:{agent_port}", settings=settings)
        async with await Engine.tcp(port_of(guard)) as engine:
            await engine.hello()
            await engine.notify(b"/x")
            await asyncio.to_thread(_until_open, guard)
            stopping = asyncio.get_running_loop().run_in_executor(None, guard.stop)
            await asyncio.to_thread(guard.wait_for, "draining")
            assert await asyncio.to_thread(guard.ask, "/readyz") == (503, "draining: the guard is stopping\n")
            rest = await engine.rest()
            assert [each.type for each in rest] == [frame.AGENT_DISCONNECT]
            code, seconds = await stopping
        assert code == 0
        assert seconds > 0.25
        assert guard.log("draining")[0]["sessions"] == 1

    with_agent(talk, SILENT)


def test_a_second_guard_takes_over_and_serves_the_firsts_queue(tmp_path, run_guard):
    async def talk(agent_port: int) -> None:
        loop = asyncio.get_running_loop()
        shared = {"SPOE_GUARD_SHARE_LISTEN": "true"}
        old = run_guard(f"127.0.0.1:{agent_port}", "--log-level", "debug", settings=shared)
        port, admin = port_of(old), old.wait_for("listening")["admin"]
        old.process.send_signal(signal.SIGSTOP)
        (tmp_path / "new").mkdir()
        same = ("--listen", f"127.0.0.1:{port}", "--admin", admin)
        new = run_guard(f"127.0.0.1:{agent_port}", *same, settings=shared, folder=tmp_path / "new")
        await asyncio.to_thread(new.wait_for, "listening")
        talking = [loop.create_task(_one_notify(port)) for _ in range(HANDED_OVER)]
        await asyncio.wait(talking, timeout=0.5)  # those the new one has are answered, the others queued
        queued = sum(not task.done() for task in talking)
        old.process.send_signal(signal.SIGTERM)
        old.process.send_signal(signal.SIGCONT)
        assert await asyncio.gather(*talking) == [[frame.AGENT_HELLO, frame.ACK]] * HANDED_OVER
        assert await asyncio.to_thread(old.process.wait, 10) == 0
        assert 0 < queued < HANDED_OVER
        assert len(old.log("session_opened")) == queued
        assert new.ask("/readyz")[0] == 200
        assert new.stop()[0] == 0

    with_agent(talk)


@pytest.mark.parametrize("workers", [1, 2])
def test_without_a_place_to_hand_over_a_guard_serves(run_guard, workers):
    settings = {"SPOE_GUARD_SHARE_LISTEN": "true", "XDG_RUNTIME_DIR": "", "SPOE_GUARD_WORKERS": str(workers)}
    guard = run_guard(settings=settings)
    guard.wait_for("listening")
    [line] = guard.log("no_handover")
    assert "set handover_dir" in line["detail"]
    assert guard.stop()[0] == 0


def test_without_share_listen_a_second_guard_finds_the_address_taken(run_guard):
    old = run_guard()
    done = spoe_guard("run", "--listen", f"127.0.0.1:{port_of(old)}", settings={"SPOE_GUARD_SHARE_LISTEN": "true"})
    assert done.returncode == 1
    assert "something listens there already" in done.stderr
    assert old.stop()[0] == 0


async def _one_notify(port: int) -> list[int | None]:
    async with await Engine.tcp(port, deadline_s=START_S) as engine:
        hello = await engine.hello()
        await engine.notify(b"/x")
        ack = await engine.read()
        return [each.type if each else None for each in (hello, ack)]


def test_a_second_signal_ends_it_at_once_with_exit_code_1(run_guard):
    async def talk(agent_port: int) -> None:
        guard = run_guard(f"127.0.0.1:{agent_port}", settings={"SPOE_GUARD_ROUTES__0__DISCONNECT_HOLD": "60s"})
        async with await Engine.tcp(port_of(guard)) as engine:
            await engine.hello()
            await engine.notify(b"/x")
            await asyncio.to_thread(_until_open, guard)
            guard.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(guard.wait_for, "draining")
            code, _seconds = await asyncio.to_thread(guard.stop, signal.SIGINT)  # which waits for less than 60 s
        assert code == 1
        assert guard.log("stopped")[0]["clean"] is False

    with_agent(talk, SILENT)


def _until_open(guard: Running) -> None:
    deadline = time.monotonic() + START_S
    while 'spoe_guard_open_notifies{route="default"} 1.0' not in guard.ask("/metrics")[1]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_log_nobody_reads_stalls_neither_traffic_nor_the_stop(run_guard, tmp_path):
    """Debug lines of hundreds of sessions into a pipe that is full: every session is served all the same."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)

    async def talk(agent_port: int) -> None:
        path = f"{tmp_path}/guard.sock"  # an address it need not tell us
        guard = run_guard(f"127.0.0.1:{agent_port}", "--listen", f"unix:{path}", "--log-level", "debug", stdout=writer)
        await _until_it_listens(path)
        for _ in range(200):  # a guard that waits for a reader would answer none
            async with await Engine.unix(path) as engine:
                assert await engine.hello() is not None
                await engine.notify(b"/x")
                ack = await engine.read()
                assert ack is not None
                assert ack.type == frame.ACK
        assert (await asyncio.to_thread(guard.stop))[0] == 0

    try:
        with_agent(talk)
    finally:
        os.close(reader)
        os.close(writer)


async def _until_it_listens(path: str) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            await (await Engine.unix(path)).close()
        except OSError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        else:
            return
