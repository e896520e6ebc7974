"""`spoe-guard ctl`: what it tells of a running guard, and what it changes, in one process and with several workers."""

import asyncio
import os
import pwd
import signal
import socket

import pytest

from spoe_guard.control import client
from spoe_guard.control.protocol import RefusedError
from spoe_guard.lab.agent import Script, ScriptedAgent
from spoe_guard.wire import frame
from tests.running import spoe_guard, until
from tests.workers.talk import ENGINES, address_of, answered, dial, engines, until_it_is, with_agent

CALM = 4  # engines where no worker needs one


def test_it_tells_of_sessions_links_routes_and_settings(run_guard, workers):
    async def talk(_agent: ScriptedAgent, port: int) -> None:
        guard = run_guard(f"127.0.0.1:{port}", "--workers", str(workers))
        async with engines(address_of(guard)) as opened:
            assert await answered(opened[0])
            found = await guard.ask("sessions")
            rows = found["sessions"]
            assert (len(rows), found["left_out"], found["silent"]) == (ENGINES, 0, [])
            assert {row["session"].count("-") for row in rows} == {workers - 1}
            assert len({row["session"] for row in rows}) == ENGINES
            assert {(row["route"], row["mode"], row["links"], row["open_notifies"]) for row in rows} == {
                ("default", "enforce", 1, 0)
            }
            assert all(row["peer"].startswith("127.0.0.1:") for row in rows)
            links = (await guard.ask("links", route="default"))["links"]
            assert {(row["agent"], row["stage"]) for row in links} == {(f"127.0.0.1:{port}", "open")}
            assert {row["session"] for row in links} == {row["session"] for row in rows}
            [route] = (await guard.ask("routes"))["routes"]
            assert (route["route"], route["listen"], route["agent"]) == ("default", address_of(guard), [f"127.0.0.1:{port}"])
            assert (route["mode"], route["drained"], route["enforced"], route["observed"]) == ("enforce", False, ENGINES, 0)
            status = await guard.ask("status")
            assert (status["state"], status["routes"][0]["now"]["sessions"]) == ("ok", ENGINES)
            settings = {row["key"]: (row["value"], row["origin"]) for row in (await guard.ask("config"))["settings"]}
            assert settings["routes[0].mode"] == ("null", "default")
            assert settings["admin.control"] == (f"unix:{guard.control}", "environment SPOE_GUARD_ADMIN__CONTROL")
        assert (await asyncio.to_thread(guard.stop))[0] == 0
        assert not guard.control.exists()
        assert guard.log("control") == []  # who only looks is not logged

    with_agent(talk)


def test_under_load_a_mode_switched_all_the_time_loses_nothing(run_guard, workers):
    async def talk(agent: ScriptedAgent, port: int) -> None:
        guard = run_guard(f"127.0.0.1:{port}", "--workers", str(workers))
        address, stop = address_of(guard), asyncio.Event()
        counts = [0] * ENGINES

        async def keep_asking(number: int, engine) -> None:
            while not stop.is_set():
                assert await answered(engine)
                counts[number] += 1

        async with engines(address) as opened, asyncio.TaskGroup() as asking:
            for number, engine in enumerate(opened):
                asking.create_task(keep_asking(number, engine))
            for turn in range(10):
                mode = ("observe", "enforce")[turn % 2]
                found = await guard.ask("mode", route="default", mode=mode)
                assert (found["changed"], found["silent"]) == (True, [])
                async with engines(address, CALM) as newcomers:
                    assert all([await answered(engine) for engine in newcomers])
                    [route] = (await guard.ask("routes"))["routes"]
                    assert route["mode"] == mode
                    assert (route["enforced"], route["observed"]) == (
                        (ENGINES, CALM) if mode == "observe" else (ENGINES + CALM, 0)
                    )
                await until_it_is(lambda before=list(counts): all(now > was for now, was in zip(counts, before, strict=True)))
                await _only(guard, ENGINES)
            stop.set()
        assert sum(counts) + 10 * CALM == len(agent.answered)
        assert (await asyncio.to_thread(guard.stop))[0] == 0
        assert [line["mode"] for line in guard.log("control")] == ["observe", "enforce"] * 5

    with_agent(talk)


async def _only(guard, count: int) -> None:
    """Wait until there are so many sessions."""
    await asyncio.to_thread(until, lambda: guard.do("routes")["routes"][0]["enforced"] == count)


def test_each_change_is_logged_and_a_reload_takes_it_back(run_guard, workers):
    guard = run_guard("127.0.0.1:9", "--workers", str(workers))
    assert guard.do("log-level", log_level="debug")["changed"]
    assert not guard.do("log-level", log_level="debug")["changed"]
    assert guard.do("mode", route="default", mode="observe")["sessions_in_other_mode"] == 0
    settings = {row["key"]: (row["value"], row["origin"]) for row in guard.do("config")["settings"]}
    assert (settings["routes[0].mode"], settings["log.level"]) == (("observe", "ctl"), ("debug", "ctl"))
    assert guard.do("reload") == {"changed": ["routes[0].mode", "log.level"], "added": [], "removed": [], "silent": []}
    assert guard.do("reload")["changed"] == []
    assert guard.do("routes")["routes"][0]["mode"] == "enforce"
    assert guard.stop()[0] == 0  # with which the log is whole
    lines = guard.log("control")
    who = pwd.getpwuid(os.geteuid()).pw_name
    assert {(line["level"], line["uid"], line["user"], line["pid"]) for line in lines} == {
        ("warning", os.geteuid(), who, os.getpid())
    }
    assert [line["command"] for line in lines] == ["log-level", "log-level", "mode", "reload", "reload"]


@pytest.mark.parametrize(
    ("command", "given", "why"),
    [
        ("stauts", {}, "'stauts': no such command; there is status, sessions,"),
        ("status", {"route": "default"}, "status: 'route': no such argument; it takes none"),
        ("mode", {"route": "defautl", "mode": "observe"}, "route: 'defautl': there is no such route; did you mean default?"),
        ("mode", {"route": "x", "mode": "observe"}, "route: 'x': there is no such route; there is default"),
        ("mode", {"route": "default", "mode": "enforced"}, "mode: 'enforced': allowed: enforce, observe"),
        ("mode", {"route": "default", "mode": ["observe"]}, "mode: ['observe']: allowed: enforce, observe"),
        ("sessions", {"route": 7}, "route: 7: there is no such route"),
        ("log-level", {"log_level": "loud"}, "log-level: 'loud': allowed: debug, info, warning, error"),
        ("close", {"session": "7"}, "session 7: there is no such session; `ctl sessions` lists them"),
        ("close", {"session": "9-7"}, "session 9-7: there is no such session; `ctl sessions` lists them"),
        ("close", {"session": "1-2-3"}, "session: '1-2-3': expected its name as `ctl sessions` has it"),
        ("close", {}, "session: None: expected its name"),
    ],
)
def test_what_cannot_be_done_is_refused_and_says_why(refusing, command, given, why):
    with pytest.raises(RefusedError) as refused:
        refusing.do(command, **given)
    assert str(refused.value).startswith(why)


@pytest.fixture(scope="module")
def refusing(tmp_path_factory):
    from tests.control.conftest import Controlled
    from tests.running import end_all

    guard = Controlled(tmp_path_factory.mktemp("refusing"), "127.0.0.1:9")
    yield guard
    end_all([guard])


def test_settings_that_cannot_be_used_are_told_to_who_asked_for_them(run_guard, tmp_path):
    file = tmp_path / "guard.yaml"
    file.write_text("")
    guard = run_guard("127.0.0.1:9", "--config", str(file))
    guard.wait_for("listening")
    file.write_text("workres: 2")
    with pytest.raises(RefusedError, match=r"nothing has changed: workres: .*did you mean workers\?"):
        guard.do("reload")
    assert guard.stop()[0] == 0
    assert guard.log("control_failed")[0]["command"] == "reload"
    assert len(guard.log("reload_failed")) == 1


def test_a_session_is_closed_when_its_open_notify_is_answered(run_guard, workers):
    async def talk(_agent: ScriptedAgent, port: int) -> None:
        patient = {"SPOE_GUARD_ROUTES__0__DISCONNECT_HOLD": "2s"}
        guard = run_guard(f"127.0.0.1:{port}", "--workers", str(workers), settings=patient)
        async with engines(address_of(guard), CALM) as opened:
            rows = (await guard.ask("sessions"))["sessions"]
            await opened[0].notify(b"/x")
            closed = [row for row in rows if row["peer"].endswith(f":{_port(opened[0])}")]
            [name] = [row["session"] for row in closed]
            assert await guard.ask("close", session=name) == {"session": name}
            assert [each.type for each in await opened[0].rest()] == [frame.ACK, frame.AGENT_DISCONNECT]
            assert all([await answered(engine) for engine in opened[1:]])
            with pytest.raises(RefusedError):
                await until_it_is(lambda: guard.do("close", session=name) is None)
        assert (await asyncio.to_thread(guard.stop))[0] == 0

    with_agent(talk, Script(delay_s=0.5))


def _port(engine) -> int:
    return engine._writer.get_extra_info("sockname")[1]


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_route_is_drained_and_resumed(run_guard, workers, tmp_path, kind):
    listen = () if kind == "tcp" else ("--listen", f"unix:{tmp_path}/guard.sock")

    async def talk(agent: ScriptedAgent, port: int) -> None:
        guard = run_guard(f"127.0.0.1:{port}", "--workers", str(workers), "--log-level", "debug", *listen)
        address = address_of(guard)
        for _ in range(2):
            async with engines(address) as opened:
                for engine in opened:
                    await engine.notify(b"/x")
                await until_it_is(lambda: agent.connected == ENGINES)
                drained = asyncio.get_running_loop().create_task(guard.ask("drain", route="default"))
                ends = await asyncio.gather(*(engine.rest() for engine in opened))
                assert [[each.type for each in end] for end in ends] == [[frame.ACK, frame.AGENT_DISCONNECT]] * ENGINES
                for engine in opened:
                    await engine.close()
                assert await drained == {"route": "default", "sessions": ENGINES, "reset": 0, "silent": []}
            with pytest.raises(OSError):
                await dial(address)
            assert (await guard.ask("routes"))["routes"][0]["drained"]
            assert (await guard.ask("reload"))["changed"] == []  # which changes nothing about it
            with pytest.raises(OSError):
                await dial(address)
            assert await guard.ask("resume", route="default") == {"route": "default", "silent": []}
            assert await guard.ask("resume", route="default") == {"route": "default", "silent": []}
            assert not (await guard.ask("routes"))["routes"][0]["drained"]
        async with engines(address) as opened:
            assert all(await asyncio.gather(*map(answered, opened)))
        await guard.ask("drain", route="default")
        assert (await asyncio.to_thread(guard.stop))[0] == 0

    with_agent(talk, Script(delay_s=0.05))
    assert [path.name for path in tmp_path.iterdir()] == ["0"]


def test_a_worker_that_starts_while_a_route_is_drained_accepts_nothing(run_guard):
    async def talk(_agent: ScriptedAgent, port: int) -> None:
        guard = run_guard(f"127.0.0.1:{port}", "--workers", "2")
        address = address_of(guard)
        await guard.ask("drain", route="default")
        os.kill(guard.log("listening")[0]["workers"]["1"], signal.SIGKILL)
        await until_it_is(lambda: guard.log("worker_started"))
        with pytest.raises(OSError):
            await dial(address)
        assert await guard.ask("resume", route="default") == {"route": "default", "silent": []}
        async with engines(address) as opened:
            assert all(await asyncio.gather(*map(answered, opened)))
        assert (await asyncio.to_thread(guard.stop))[0] == 0

    with_agent(talk)


def test_the_command_prints_tables_json_or_one_line_of_error(run_guard, tmp_path):
    guard = run_guard()
    where = f"unix:{guard.control}"
    guard.wait_for("listening")
    done = spoe_guard("ctl", "mode", "default", "observe", "--socket", where)
    assert (done.returncode, done.stdout, done.stderr) == (
        0, "route default: mode observe for new sessions, until the next reload\n", ""
    )  # fmt: skip
    done = spoe_guard("ctl", "routes", "--socket", where)
    head, row = done.stdout.splitlines()
    assert head.split()[:4] == ["route", "listen", "agent", "mode"]
    assert row.split()[3] == "observe"
    done = spoe_guard("ctl", "reload", "--json", "--socket", where)
    assert (done.returncode, done.stdout) == (0, '{"changed": ["routes[0].mode"], "added": [], "removed": [], "silent": []}\n')
    done = spoe_guard("ctl", "close", "7", "--socket", where)
    wrong = "spoe-guard: ctl close: session 7: there is no such session; `ctl sessions` lists them\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", wrong)
    done = spoe_guard("ctl", "status", "--socket", "127.0.0.1:1")
    assert (done.returncode, done.stderr) == (
        2, "spoe-guard: --socket: '127.0.0.1:1': expected unix:/path, the guard's admin.control\n"
    )  # fmt: skip
    done = spoe_guard("ctl", "status", "--socket", f"unix:{tmp_path}/none")
    assert done.returncode == 1
    assert done.stderr.startswith(f"spoe-guard: ctl status: there is no unix:{tmp_path}/none: set admin.control")


def test_with_share_listen_the_next_guard_takes_the_control_socket(run_guard):
    first = run_guard("127.0.0.1:9", settings={"SPOE_GUARD_SHARE_LISTEN": "true"})
    first.wait_for("listening")
    second = run_guard(
        "127.0.0.1:9",
        settings={"SPOE_GUARD_SHARE_LISTEN": "true", "SPOE_GUARD_ADMIN__CONTROL": f"unix:{first.control}"},
    )
    second.wait_for("listening")
    assert first.stop()[0] == 0
    second.control = first.control
    assert second.do("routes")["silent"] == []
    assert second.stop()[0] == 0
    assert not first.control.exists()


def test_without_share_listen_a_control_socket_that_is_taken_is_an_error(run_guard, tmp_path):
    first = run_guard()
    first.wait_for("listening")
    done = spoe_guard(
        "run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
        settings={"SPOE_GUARD_ADMIN__CONTROL": f"unix:{first.control}"},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        f"spoe-guard: admin.control: cannot listen on unix:{first.control}: something listens there already; stop it, "
        "or choose another address\n"
    )


def test_frames_are_printed_as_they_come_without_values(run_guard, workers):
    async def talk(_agent: ScriptedAgent, port: int) -> None:
        guard = run_guard(f"127.0.0.1:{port}", "--workers", str(workers))
        async with engines(address_of(guard), CALM) as opened:
            assert all([await answered(engine) for engine in opened])
            tapped = asyncio.get_running_loop().create_task(asyncio.to_thread(_tap, guard, limit=2 * CALM))
            while not tapped.done():
                assert all([await answered(engine) for engine in opened])
            items, answer = await tapped
            assert (answer["route"], answer["shown"], len(items)) == ("default", 2 * CALM, 2 * CALM)
            assert {row["session"] for row in items} <= {row["session"] for row in (await guard.ask("sessions"))["sessions"]}
            assert {row["from"] for row in items} == {"agent", "haproxy"}
            notify = next(row for row in items if row["from"] == "haproxy")
            assert notify["lines"][0].startswith("NOTIFY stream-id ")
            assert notify["lines"][1:] == ["  message check, 1 argument", "    path = str of 2 bytes"]
            assert "/x" not in str(items)
        assert (await asyncio.to_thread(guard.stop))[0] == 0

    with_agent(talk)


def _tap(guard, **given):
    *items, (_last, answer) = client.ask(str(guard.control), {"do": "tap", "route": "default", **given}, 20.0)
    return [item for _last, item in items], answer


def test_a_second_one_who_taps_is_refused(run_guard):
    guard = run_guard()
    listening = client.ask(str(guard.control), {"do": "tap", "route": "default", "seconds": 600}, 20.0)
    guard.wait_for("listening")
    with socket.socket(socket.AF_UNIX) as first:
        first.connect(str(guard.control))
        first.sendall(b'{"do": "tap", "route": "default"}\n')
        assert first.recv(100) == b'{"item": null}\n'  # it listens, and nothing comes
        with pytest.raises(RefusedError, match="somebody else listens to route default; the log says who"):
            next(listening)
    until(lambda: _may_tap(guard))  # soon after the first one is gone


def _may_tap(guard) -> bool:
    try:
        return guard.do("tap", route="default", seconds=1)["shown"] == 0
    except RefusedError:
        return False


def test_values_are_shown_where_the_settings_say_so(run_guard):
    async def talk(_agent: ScriptedAgent, port: int) -> None:
        guard = run_guard(f"127.0.0.1:{port}", settings={"SPOE_GUARD_ADMIN__PAYLOAD": "full"})
        async with engines(address_of(guard), 1) as [engine]:
            tapped = asyncio.get_running_loop().create_task(asyncio.to_thread(_tap, guard, limit=2, values=True))
            while not tapped.done():
                assert await answered(engine)
            assert "/x" in str(await tapped)
        assert (await asyncio.to_thread(guard.stop))[0] == 0

    with_agent(talk)


@pytest.mark.parametrize(
    ("payload", "given", "why"),
    [
        ("headers", {"values": True}, "no values are shown: admin.payload is headers; set it to full, and reload"),
        ("off", {}, "no frames are shown: admin.payload is off; set it to headers or full, and reload"),
        ("headers", {"limit": 0}, "limit: 0: expected a whole number from 1 to 10000"),
        ("headers", {"limit": 10_001}, "limit: 10001: expected a whole number from 1 to 10000"),
        ("headers", {"seconds": 601}, "seconds: 601: expected a whole number from 1 to 600"),
        ("headers", {"seconds": True}, "seconds: True: expected a whole number from 1 to 600"),
    ],
)
def test_a_tap_that_may_not_be_is_refused(run_guard, payload, given, why):
    guard = run_guard(settings={"SPOE_GUARD_ADMIN__PAYLOAD": payload})
    with pytest.raises(RefusedError) as refused:
        guard.do("tap", route="default", **given)
    assert str(refused.value) == why


def test_captures_are_written_when_asked_for(run_guard, workers, tmp_path):
    captures = tmp_path / "captures"
    captures.mkdir(mode=0o700)

    async def talk(_agent: ScriptedAgent, port: int) -> None:
        guard = run_guard(f"127.0.0.1:{port}", "--workers", str(workers), settings={"SPOE_GUARD_CAPTURE__DIR": str(captures)})
        async with engines(address_of(guard), CALM) as opened:
            assert all([await answered(engine) for engine in opened])
            found = await guard.ask("capture", route="default")
            assert found == {
                "route": "default", "seconds": 0, "captures": CALM, "sessions": CALM, "dir": str(captures), "silent": []
            }  # fmt: skip
            await until_it_is(lambda: len(guard.log("capture_written")) == CALM)
            found = await guard.ask("capture", route="default", seconds=300)
            assert found["captures"] == CALM
            assert (await guard.ask("capture", route="default"))["captures"] == 0  # one is under way
        await until_it_is(lambda: len(guard.log("capture_written")) == 2 * CALM)  # at the sessions' end
        assert (await asyncio.to_thread(guard.stop))[0] == 0
        files = [line["file"] for line in guard.log("capture_written")]
        assert all("-asked-" in file for file in files)
        told = await asyncio.to_thread(spoe_guard, "decode", files[0])
        assert "NOTIFY" in told.stdout

    with_agent(talk)


def test_without_a_recorder_nothing_can_be_captured(run_guard):
    with pytest.raises(RefusedError, match=r"^nothing is recorded: set capture\.dir, and reload; sessions that begin then are$"):
        run_guard().do("capture", route="default")
