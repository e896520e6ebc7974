"""SIGHUP: a running guard rereads its settings; new sessions get them; running sessions and rejected settings change nothing."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from spoe_guard.lab import frames
from spoe_guard.lab.agent import Script, ScriptedAgent
from spoe_guard.lab.engine import Engine
from spoe_guard.net import loop as event_loop
from spoe_guard.observe.logs import Log
from spoe_guard.observe.reloads import Reloads
from spoe_guard.run import reload as of_reload
from spoe_guard.run.process import routes_of
from spoe_guard.run.reload import SAID, Reloader
from spoe_guard.run.serve import LookedUp, look_up_new
from spoe_guard.run.service_manager import ServiceManager
from spoe_guard.settings import Loaded, Settings, load
from spoe_guard.threads import NO_THREAD
from spoe_guard.wire import frame
from tests.integration.agent import AgentThread
from tests.running import START_S, Running, end_all, spoe_guard, until

ROUTE = "routes:\n  - {{listen: '127.0.0.1:0', agent: '{agent}'{more}}}\nadmin: {{listen: '127.0.0.1:0'{admin}}}\n{rest}"


class Reloading(Running):
    """A guard by a file that ``write`` replaces; ``hup`` asks for it and waits for what the guard says."""

    def __init__(self, folder: Path, *options: str, environ: dict[str, str] | None = None, **how: Any) -> None:
        self.file = folder / "guard.yaml"
        self.write(**how)
        super().__init__(folder, None, "--config", str(self.file), *options, settings=environ)

    def write(self, agent: str = "127.0.0.1:9", more: str = "", admin: str = "", rest: str = "") -> None:
        self.file.write_text(ROUTE.format(agent=agent, more=more, admin=admin, rest=rest))

    def logged(self) -> list[dict[str, Any]]:
        return [line for line in self.log() if line["event"] in ("reloaded", "reload_failed", "reload_ignored")]

    def hup(self, **how: Any) -> dict[str, Any]:
        if how:
            self.write(**how)
        before = len(self.logged())
        self.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + START_S
        while len(self.logged()) == before:
            assert self.process.poll() is None
            assert time.monotonic() < deadline, "nothing is said of a reload"
            time.sleep(0.005)
        return self.logged()[-1]

    def metric(self, name: str) -> float:
        asked = self.ask("/metrics")[1].splitlines()
        [line] = [line for line in asked if line.startswith(f"spoe_guard_{name} ")]
        return float(line.rpartition(" ")[2])

    def port(self) -> int:
        return int(self.wait_for("listening")["routes"]["default"].rpartition(":")[2])


@pytest.fixture
def reloading(tmp_path) -> Iterator[Callable[..., Reloading]]:
    running: list[Reloading] = []

    def start(*options: str, **how: Any) -> Reloading:
        running.append(Reloading(tmp_path, *options, **how))
        running[-1].wait_for("listening")
        return running[-1]

    yield start
    end_all(running)


async def answered(engine: Engine) -> bool:
    await engine.notify(b"/x")
    ack = await engine.read()
    return ack is not None and ack.type == frame.ACK


async def two_agents(at_exit: AsyncExitStack) -> list[tuple[ScriptedAgent, str]]:
    agents = [ScriptedAgent(), ScriptedAgent()]
    for agent in agents:
        at_exit.push_async_callback(agent.stop)
    return [(agent, f"127.0.0.1:{await agent.listen_tcp()}") for agent in agents]


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_new_sessions_get_the_new_settings_and_running_ones_keep_theirs(reloading, loop):
    async def main() -> None:
        async with AsyncExitStack() as at_exit:
            (old, old_at), (new, new_at) = await two_agents(at_exit)
            guard = reloading(agent=old_at, environ={"SPOE_GUARD_LOOP": loop})
            before = await at_exit.enter_async_context(await Engine.tcp(guard.port()))
            await before.hello()
            message = await asyncio.to_thread(guard.hup, agent=new_at)
            assert (message["event"], message["changed"]) == ("reloaded", ["routes[0].agent"])
            after = await at_exit.enter_async_context(await Engine.tcp(guard.port()))
            await after.hello()
            assert await answered(before)
            assert await answered(after)
            assert (len(old.answered), len(new.answered)) == (1, 1)
            assert guard.metric('connections_active{route="default"}') == 2

    asyncio.run(main())


def test_a_stop_waits_by_the_settings_of_each_session_not_the_newest(reloading):
    async def main() -> None:
        async with AsyncExitStack() as at_exit:
            agent = ScriptedAgent(Script(delay_s=0.8))
            at_exit.push_async_callback(agent.stop)
            where = f"127.0.0.1:{await agent.listen_tcp()}"
            guard = reloading(agent=where, more=", disconnect_hold: 5s")
            engine = await at_exit.enter_async_context(await Engine.tcp(guard.port()))
            await engine.hello()
            short = ", disconnect_hold: 1ms, timeouts: {close: 1ms}"
            assert (await asyncio.to_thread(guard.hup, agent=where, more=short))["event"] == "reloaded"
            await engine.notify(b"/x")
            await asyncio.to_thread(until, lambda: guard.metric('open_notifies{route="default"}') == 1)
            guard.process.send_signal(signal.SIGTERM)
            assert [each.type for each in await engine.rest()] == [frame.ACK, frame.AGENT_DISCONNECT]
            assert await asyncio.to_thread(guard.process.wait, 10) == 0

    asyncio.run(main())


def test_page_log_and_readiness_follow_the_settings(reloading):
    guard = reloading(agent="127.0.0.1:1", more=", links: {give_up: 0}")

    async def talk() -> None:
        async with await Engine.tcp(guard.port()) as engine:
            await engine.hello()

    asyncio.run(talk())
    assert guard.ask("/readyz")[0] == 503
    assert guard.log("session_opened") == []
    assert guard.ask("/", "guard.example")[0] == 421
    rest, admin = "mode: observe\nlog: {level: debug}\n", ", payload: off, name: edge, hosts: [guard.example]"
    keys = [
        "mode",
        "routes[0].agent",
        "routes[0].limits.connections",
        "routes[0].links.give_up",
        "admin.name",
        "admin.hosts",
        "admin.payload",
        "log.level",
    ]

    with AgentThread() as agent:  # where nobody listens, the session could end before it has heard anything
        message = guard.hup(
            agent=agent.address,
            more=", limits: {connections: 5}",
            admin=admin,
            rest=rest,
        )
        assert (message["changed"], message["count"]) == (keys, 8)
        assert guard.ask("/", "guard.example")[0] == 200
        assert guard.ask("/readyz") == (200, "default: ready, the agent was not dialled yet\n")
        garble(guard)
    status = json.loads(guard.ask("/api/status")[1])
    assert (status["guard"]["mode"], status["routes"][0]["agent"]) == ("observe", agent.address)
    assert status["guard"]["name"] == "edge"
    garbled = [row for row in status["incidents"] if row["what"] == "anomaly" and not row["applied"]]
    assert [row["first"]["frame"] for row in garbled] == [[]]
    assert len(guard.log("session_opened")) == 1


def test_a_reload_says_which_routes_let_requests_go_on_unchecked(reloading):
    guard = reloading()
    assert guard.log("fails_open") == []
    guard.hup(more=", unanswered: empty-ack")
    until(lambda: bool(guard.log("fails_open")))
    guard.hup(more=", unanswered: {set: error}")
    assert [line["route"] for line in guard.log("fails_open")] == ["default"]


def test_what_is_known_of_an_agent_is_kept_while_its_address_stays(reloading):
    async def main() -> None:
        async with AsyncExitStack() as at_exit:
            (_, first), (_, second) = await two_agents(at_exit)
            guard = reloading(agent=first)
            async with await Engine.tcp(guard.port()) as engine:
                await engine.hello()
            await asyncio.to_thread(guard.hup, agent=f"{second}, {first}")
            (route,) = json.loads((await asyncio.to_thread(guard.ask, "/api/status"))[1])["routes"]
            assert [(agent["address"], agent["up"], agent["dials"]) for agent in route["agents"]] == [
                (second, None, 0),
                (first, True, 1),
            ]
            await asyncio.to_thread(guard.hup, agent=second)
            assert await asyncio.to_thread(guard.ask, "/readyz") == (200, "default: ready, the agent was not dialled yet\n")

    asyncio.run(main())


def test_the_rate_of_log_lines_follows_the_settings(reloading):
    guard = reloading(rest="log: {rate: 1/h}")
    garble(guard)
    assert (len(guard.log("anomaly")), guard.log("session_closed")) == (1, [])
    guard.hup(rest="log: {rate: 1000/s}")
    until(lambda: len(guard.log("session_closed")) == 1)  # the first line of another incident, which waited for its turn


def test_the_limit_of_connections_follows_the_settings(reloading):
    guard = reloading(more=", limits: {connections: 1}")

    async def served() -> int:
        """Return how many of two connections are answered; the others are closed after a while."""
        async with await Engine.tcp(guard.port()) as one, await Engine.tcp(guard.port()) as two:
            for engine in (one, two):
                await engine.send(frames.haproxy_hello())
            return sum([await engine.read() is not None for engine in (one, two)])

    assert asyncio.run(served()) == 1
    until(lambda: guard.metric('connections_active{route="default"}') == 0)
    guard.hup(more=", limits: {connections: 2}")
    assert asyncio.run(served()) == 2


def test_the_flight_recorder_is_turned_on_moved_and_turned_off(reloading, tmp_path):
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    guard = reloading()

    def captures() -> list[int]:
        written = guard.metric('captures_written_total{route="default"}')
        garble(guard)
        if guard.file.read_text().count("capture"):
            until(lambda: guard.metric('captures_written_total{route="default"}') > written)
        return [len(list(folder.iterdir())) for folder in folders]

    assert captures() == [0, 0]
    guard.hup(rest=f"capture: {{dir: {folders[0]}, rate: 100/s}}")
    assert captures() == [1, 0]
    guard.hup(rest=f"capture: {{dir: {folders[1]}, rate: 100/s}}")
    assert captures() == [1, 1]
    guard.hup(rest="")
    assert captures() == [1, 1]
    assert guard.metric('captures_written_total{route="default"}') == 2


def garble(guard: Reloading) -> None:
    """Say what is no SPOP, and wait until the guard has done with it."""
    with socket.create_connection(("127.0.0.1", guard.port()), timeout=5) as sock:
        sock.sendall(b"GET /secret HTTP/1.1\r\n\r\n")
        with contextlib.suppress(OSError):  # it may be reset, and as soon as that
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(4096):
                pass
    until(lambda: guard.metric('connections_active{route="default"}') == 0)


def test_a_bad_file_keeps_the_settings_and_says_what_check_says(reloading):
    guard = reloading()
    assert guard.metric('reloads_total{result="success"}') == 0
    assert guard.metric("last_reload_successful") == 1
    started = guard.metric("last_reload_success_timestamp_seconds")
    assert abs(started - time.time()) < 60  # noqa: TID251  what the metric is in
    message = guard.hup(rest="mode: obsreve\nworkres: 2")
    check = spoe_guard("check", "--config", str(guard.file))
    assert check.returncode == 2
    assert [f"spoe-guard: {problem}" for problem in message["problems"]] == check.stderr.splitlines()
    assert (message["event"], message["level"], message["count"]) == ("reload_failed", "error", 2)
    assert guard.metric('reloads_total{result="failure"}') == 1
    assert guard.metric("last_reload_successful") == 0
    assert guard.metric("last_reload_success_timestamp_seconds") == started
    assert json.loads(guard.ask("/api/status")[1])["guard"]["mode"] == "enforce"
    assert guard.hup(rest="mode: observe")["changed"] == ["mode"]
    assert guard.metric('reloads_total{result="success"}') == 1
    assert guard.metric("last_reload_successful") == 1
    assert guard.metric("last_reload_success_timestamp_seconds") > started
    assert guard.hup()["changed"] == []


@pytest.mark.parametrize("content", [None, "mode: [", "x" * (1 << 21)], ids=["gone", "no YAML", "too large"])
def test_a_file_that_cannot_be_read_keeps_the_settings(reloading, content):
    guard = reloading()
    guard.file.unlink() if content is None else guard.file.write_text(content)
    message = guard.hup()
    assert [f"spoe-guard: {problem}" for problem in message["problems"]] == spoe_guard(
        "check", "--config", str(guard.file)
    ).stderr.splitlines()
    assert guard.hup(rest="mode: observe")["changed"] == ["mode"]


def test_a_key_that_needs_a_restart_is_named_and_nothing_is_applied(reloading):
    guard = reloading()
    message = guard.hup(agent="127.0.0.1:2", rest="mode: observe\nshare_listen: true")
    assert message["problems"] == [
        f"share_listen: True ({guard.file}:5): cannot change while the guard runs (it is false): needs a restart"
    ]
    status = json.loads(guard.ask("/api/status")[1])
    assert (status["guard"]["mode"], status["routes"][0]["agent"]) == ("enforce", "127.0.0.1:9")


def test_an_agent_whose_name_does_not_resolve_keeps_the_settings(reloading):
    guard = reloading()
    message = guard.hup(agent="agent.invalid:9000", rest="mode: observe")
    [problem] = message["problems"]
    assert problem.startswith("routes[0].agent: 'agent.invalid:9000': the name does not resolve: ")
    assert json.loads(guard.ask("/api/status")[1])["guard"]["mode"] == "enforce"


def test_an_agent_that_stays_is_not_looked_up_again():
    """A resolver that has gone is no reason to refuse what has nothing to do with it."""
    settings = load(None, {"SPOE_GUARD_ROUTES__0__AGENT": "agent.invalid:9000"}).settings
    routes = routes_of(settings)
    assert asyncio.run(look_up_new(Log(Lines(), "json", "info"), settings, settings, routes)) == LookedUp()


def test_after_a_reload_environment_and_flags_still_beat_the_file(reloading):
    guard = reloading("--mode", "observe", environ={"SPOE_GUARD_ADMIN__PAYLOAD": "off"})
    message = guard.hup(admin=", payload: headers", rest="mode: enforce\nlog: {level: debug}")
    assert (message["event"], message["changed"]) == ("reloaded", ["log.level"])


def test_while_it_drains_it_is_said_that_nothing_is_reloaded(reloading):
    async def main() -> None:
        async with AsyncExitStack() as at_exit:
            agent = ScriptedAgent(Script(delay_s=60))
            at_exit.push_async_callback(agent.stop)
            guard = reloading(agent=f"127.0.0.1:{await agent.listen_tcp()}", more=", disconnect_hold: 1s")
            engine = await at_exit.enter_async_context(await Engine.tcp(guard.port()))
            await engine.hello()
            await engine.notify(b"/x")
            await asyncio.to_thread(until, lambda: guard.metric('open_notifies{route="default"}') == 1)
            guard.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(guard.wait_for, "draining")
            message = await asyncio.to_thread(guard.hup)
            assert (message["event"], message["reason"]) == ("reload_ignored", "draining")
            assert [each.type for each in await engine.rest()] == [frame.AGENT_DISCONNECT]
            assert await asyncio.to_thread(guard.process.wait, 10) == 0

    asyncio.run(main())


def test_a_hang_up_before_it_listens_is_kept_for_then(tmp_path):
    guard = Reloading(tmp_path)
    try:
        until(lambda: blocks(guard.process.pid, signal.SIGHUP) or guard.process.poll() is not None)
        assert guard.log("listening") == []
        guard.process.send_signal(signal.SIGHUP)
        guard.wait_for("reloaded")
        assert [line["event"] for line in guard.log()] == ["listening", "reloaded"]
        assert guard.stop()[0] == 0
    finally:
        guard.process.kill()
        guard.process.wait()
        assert guard.process.stderr
        guard.process.stderr.close()


def blocks(pid: int, number: signal.Signals) -> bool:
    blocked = Path(f"/proc/{pid}/status").read_text().partition("SigBlk:")[2].split()
    return bool(blocked) and bool(int(blocked[0], 16) >> (number - 1) & 1)


class Lines:
    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def write(self, line: str) -> bool:
        self.lines.append(json.loads(line))
        return True


def reload_with(again: Callable[[], Loaded], use: Callable[[Settings], None] = lambda _: None) -> tuple[Reloader, Lines, Reloads]:
    async def nothing(_running: Settings, _new: Settings) -> list[str]:
        return []

    async def use_them(new: Settings) -> None:
        use(new)

    lines, reloads = Lines(), Reloads()
    return Reloader(load(), again, nothing, use_them, Log(lines, "json", "info"), reloads, ServiceManager()), lines, reloads


def in_a_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(test())

    run.__name__ = test.__name__
    return run


async def keeping(reloader: Reloader, condition: Callable[[], bool]) -> None:
    task = asyncio.get_running_loop().create_task(reloader.keep())
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  what is waited for has no event
            await asyncio.sleep(0.001)
    task.cancel()


@in_a_loop
async def test_however_often_it_is_asked_during_a_reload_that_is_one_more() -> None:
    may_go = threading.Event()
    reads: list[None] = []

    def again() -> Loaded:
        reads.append(None)
        may_go.wait(5)
        return load()

    reloader, lines, reloads = reload_with(again)

    def asked() -> bool:
        if len(reads) == 1 and not may_go.is_set():
            for _ in range(10):
                reloader.ask()
            may_go.set()
        return reloads.successes == 2

    reloader.ask()
    await keeping(reloader, asked)
    assert len(reads) == 2
    assert [line["event"] for line in lines.lines] == ["reloaded", "reloaded"]


@in_a_loop
async def test_a_bug_of_ours_is_said_and_the_next_reload_works() -> None:
    broken = iter((True, False))
    bugs: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: bugs.append(context))

    def use(_: Settings) -> None:
        if next(broken):
            raise RuntimeError("no")

    reloader, lines, reloads = reload_with(load, use)
    reloader.ask()
    await keeping(reloader, lambda: reloads.failures == 1)
    assert [line["problems"] for line in lines.lines] == [["RuntimeError('no')"]]
    assert [str(bug["exception"]) for bug in bugs] == ["no"]
    reloader.ask()
    await keeping(reloader, lambda: reloads.successes == 1)


@in_a_loop
async def test_a_line_names_so_many_problems_and_says_how_many_there_are() -> None:
    def again() -> Loaded:
        return load(None, {f"SPOE_GUARD_NO{number}": "1" for number in range(SAID + 1)})

    reloader, lines, reloads = reload_with(again)
    reloader.ask()
    await keeping(reloader, lambda: reloads.failures == 1)
    [line] = lines.lines
    assert (len(line["problems"]), line["problems"][-1], line["count"]) == (SAID + 1, "and 1 more", SAID + 1)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_read_that_hangs_keeps_neither_reloads_nor_the_end(monkeypatch, loop):
    """A file server that is dead. The end of the loop waits for threads of asyncio's own."""
    monkeypatch.setattr(of_reload, "READ_S", 0.05)
    monkeypatch.setenv("SPOE_GUARD_LOOP", loop)
    answers, reads = threading.Event(), []

    def again() -> Loaded:
        reads.append(None)
        answers.wait(30)
        return load()

    async def main() -> list[str]:
        reloader, lines, reloads = reload_with(again)
        for failures in (1, 2):
            reloader.ask()
            await keeping(reloader, lambda failures=failures: reloads.failures == failures)
        return [line["problems"][0].partition(";")[0] for line in lines.lines]

    began = time.monotonic()
    problems = event_loop.run(main())
    assert time.monotonic() - began < 10
    assert problems == ["the settings were not read within 0.05 s", "the settings are still being read for an earlier reload"]
    assert len(reads) == 1
    answers.set()


@in_a_loop
async def test_when_the_file_server_answers_again_the_next_reload_works() -> None:
    answers = threading.Event()

    def again() -> Loaded:
        answers.wait(30)
        return load()

    reloader, _lines, reloads = reload_with(again)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(of_reload, "READ_S", 0.01)
        reloader.ask()
        await keeping(reloader, lambda: reloads.failures == 1)
    answers.set()
    async with asyncio.timeout(5):
        while not reloads.successes:
            reloader.ask()
            await keeping(reloader, lambda tries=reloads.failures: reloads.failures > tries or reloads.successes)


@in_a_loop
async def test_without_a_thread_a_reload_fails_with_one_line() -> None:
    def refuses(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    reloader, lines, reloads = reload_with(load)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuses)
        reloader.ask()
        await keeping(reloader, lambda: reloads.failures == 1)
    assert [line["problems"] for line in lines.lines] == [[NO_THREAD]]


def test_settings_replaced_by_a_pipe_are_refused_and_it_still_ends(reloading):
    guard = reloading()
    guard.file.unlink()
    os.mkfifo(guard.file)
    assert guard.hup()["problems"] == [f"--config: {str(guard.file)!r}: cannot be read: it is a pipe, not a regular file"]
    assert guard.stop()[0] == 0
