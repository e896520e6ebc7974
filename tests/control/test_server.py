"""The control socket's bounds: each at the bound and one past it, on both event loops; and who may connect at all."""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
import uvloop

from spoe_guard.control import client, peer, server
from spoe_guard.control.protocol import MAX_REQUEST_BYTES, RefusedError, decode, encode
from spoe_guard.control.server import MAX_CLIENTS, ControlServer
from tests.peers import ROOT, need_root
from tests.workers.talk import until_it_is

SOON_S = 20.0


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def played(request, tmp_path):
    """Run ``talk(path)`` beside a server that does what ``carry_out`` does."""

    def play(carry_out, talk):
        path = str(tmp_path / "control")

        async def main():
            with socket.socket(socket.AF_UNIX) as listening:
                listening.setblocking(False)
                listening.bind(path)
                listening.listen(64)
                serving = ControlServer(carry_out)
                await serving.start(listening)
                try:
                    async with asyncio.timeout(SOON_S):
                        await talk(path)
                finally:
                    await serving.stop()
                    assert not serving._open

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(main())

    return play


async def echo(request, _peer, _send):
    return request


async def said(path: str, raw: bytes) -> list[object]:
    reader, writer = await asyncio.open_unix_connection(path, limit=1 << 20)
    writer.write(raw)
    found = [decode(line) for line in (await reader.read()).splitlines(keepends=True)]
    writer.close()
    return found


def request_of(size: int) -> bytes:
    """A request with so many bytes."""
    head, tail = b'{"do": "x", "y": "', b'"}\n'
    return head + b"y" * (size - len(head) - len(tail)) + tail


def test_a_request_has_a_most_length(played):
    async def talk(path):
        [answer] = await said(path, request_of(MAX_REQUEST_BYTES))
        assert answer["ok"]
        [answer] = await said(path, request_of(MAX_REQUEST_BYTES + 1))
        assert answer == {"ok": False, "error": "a request has at most 4096 bytes"}

    played(echo, talk)


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1\r\n\r\n", b"[]\n", b"{}\n", b'{"do": 7}\n', b"\xff\n", b"[" * 2000 + b"\n"])
def test_what_is_no_request_is_told_so(played, line):
    async def talk(path):
        [answer] = await said(path, line)
        assert answer == {"ok": False, "error": 'expected a JSON object with a command, such as {"do": "status"}'}

    played(echo, talk)


def test_who_says_nothing_is_closed_after_a_while(played, monkeypatch):
    monkeypatch.setattr(server, "REQUEST_S", 0.05)

    async def talk(path):
        assert await said(path, b"") == []
        assert await said(path, b'{"do": ') == []

    played(echo, talk)


def test_only_so_many_are_served_at_a_time(played):
    free, inside = asyncio.Event(), []

    async def wait(_request, _peer, _send):
        inside.append(1)
        await free.wait()

    async def talk(path):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(said(path, encode({"do": "x"}))) for _ in range(MAX_CLIENTS)]
            await until_it_is(lambda: len(inside) == MAX_CLIENTS)
            with pytest.raises(RefusedError, match=r"^16 clients are connected already; try again when one has ended$"):
                await asyncio.to_thread(lambda: list(client.ask(path, {"do": "x"})))
            free.set()
        assert [task.result() for task in tasks] == [[{"ok": True, "answer": None}]] * MAX_CLIENTS
        assert await said(path, encode({"do": "x"})) == [{"ok": True, "answer": None}]

    played(wait, talk)


def test_who_does_not_read_is_closed(played, monkeypatch):
    monkeypatch.setattr(server, "WRITE_S", 0.1)
    ended = asyncio.Event()

    async def flood(_request, _peer, send):
        try:
            while True:
                await send({"text": "x" * 10_000})
        finally:
            ended.set()

    async def talk(path):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, path)
            await asyncio.get_running_loop().sock_sendall(sock, encode({"do": "x"}))
            await ended.wait()

    played(flood, talk)


def test_an_answer_with_many_rows_comes_whole(played):
    rows = {"rows": [{"at": at} for at in range(12_345)], "empty": [], "one": [1], "left_out": 0}

    async def many(_request, _peer, _send):
        return rows

    async def talk(path):
        assert await said(path, encode({"do": "x"})) == [{"ok": True, "answer": rows}]
        assert list(await asyncio.to_thread(lambda: list(client.ask(path, {"do": "x"})))) == [(True, rows)]

    played(many, talk)


def test_an_answer_may_be_empty(played):
    async def none(_request, _peer, _send):
        return {}

    async def talk(path):
        assert await said(path, encode({"do": "x"})) == [{"ok": True, "answer": {}}]

    played(none, talk)


def test_a_bug_costs_the_request_alone(played):
    async def broken(_request, _peer, _send):
        raise ZeroDivisionError

    async def talk(path):
        seen = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: seen.append(context["exception"]))
        assert await said(path, encode({"do": "x"})) == [
            {"ok": False, "error": "a bug of the guard; its log says more (internal_error)"}
        ]
        assert [type(each) for each in seen] == [ZeroDivisionError]

    played(broken, talk)


def test_who_asks_is_known_by_the_kernel(played):
    async def who(_request, known, _send):
        return [known.pid, known.uid]

    async def talk(path):
        assert await said(path, encode({"do": "x"})) == [{"ok": True, "answer": [os.getpid(), os.geteuid()]}]

    played(who, talk)


def test_a_user_without_a_name_here_is_a_number(played, monkeypatch):
    def unknown(_uid):
        raise KeyError

    monkeypatch.setattr(peer.pwd, "getpwuid", unknown)

    async def who(_request, known, _send):
        return known.user

    async def talk(path):
        assert await said(path, encode({"do": "x"})) == [{"ok": True, "answer": ""}]

    played(who, talk)


STRANGER = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from spoe_guard.control import client
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(65534)
try:
    print([told for _last, told in client.ask(sys.argv[1], {{"do": "routes"}})])
except client.NoAnswerError as error:
    print(error)
"""


def test_a_second_user_without_the_group_gets_nothing(run_guard):
    need_root("be another user")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        guard = run_guard(settings={"SPOE_GUARD_ADMIN__CONTROL": f"unix:{folder}/control"})
        guard.control = Path(folder, "control")
        guard.wait_for("listening")
        assert guard.control.stat().st_mode & 0o777 == 0o660

        def ask_as(group: int) -> str:
            command = [sys.executable, "-c", STRANGER, str(guard.control), str(group)]
            return subprocess.run(command, capture_output=True, text=True, timeout=SOON_S, check=True).stdout

        who = "only the user root and members of the group root may"
        assert ask_as(65534) == f"no permission to connect to unix:{guard.control}: {who}\n"
        assert guard.log("control") == []
        assert "'route': 'default'" in ask_as(os.getegid())  # with the group
        assert guard.stop()[0] == 0


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"", "the guard at unix:{} closed the connection: it stops, or this end took too long to read"),
        (b"HTTP/1.1 400 no\r\n", "what answers at unix:{} is no spoe-guard like this one"),
        (b'{"ok": 1}\n', "what answers at unix:{} is no spoe-guard like this one"),
        (None, "the guard at unix:{} says nothing for 0.05 s"),
    ],
)
def test_what_answers_and_is_no_guard_is_told_in_one_line(tmp_path, line, why):
    path = str(tmp_path / "control")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        with pytest.raises(client.NoAnswerError, match=rf"^nobody listens at unix:{path}: the guard that made it has ended$"):
            list(client.ask(path, {"do": "x"}))
        listening.listen()
        replies = client.ask(path, {"do": "x"}, 0.05 if line is None else SOON_S)

        def answer():
            sock, _ = listening.accept()
            sock.recv(4096)
            if line is not None:
                sock.sendall(line)
                sock.close()
            else:
                held.append(sock)

        held = []
        answering = threading.Thread(target=answer)
        answering.start()
        with pytest.raises(client.NoAnswerError) as error:
            list(replies)
        answering.join()
        for sock in held:
            sock.close()
    assert str(error.value) == why.format(path)


def test_a_line_has_a_most_length(tmp_path, monkeypatch):
    monkeypatch.setattr(client, "MAX_REPLY_BYTES", 10)
    ours, its = socket.socketpair()
    with ours, its:
        its.sendall(b"x" * 10 + b"\n")
        assert next(client._lines("/x", ours)) == b"x" * 10 + b"\n"
        its.sendall(b"x" * 11)
        with pytest.raises(client.NoAnswerError, match="a line of more than 10 bytes"):
            next(client._lines("/x", ours))
