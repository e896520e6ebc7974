"""``spoe-guard top`` as a user starts it: on its own terminal, and without a guard that answers."""

import os
import pty
import select
import socket
import subprocess
import sys
import time
from contextlib import closing
from typing import Self

import pytest

from spoe_guard.cli import ADMIN
from spoe_guard.settings import load
from tests.running import Running, environment, spoe_guard

START_S = 20.0
NOBODY_S = 5.0


def test_the_default_address_is_the_settings_default():
    assert str(load().settings.admin.listen) == ADMIN


def line(*arguments: str, settings: dict[str, str] | None = None) -> tuple[int, str]:
    done = spoe_guard("top", *arguments, settings=settings)
    assert (done.stdout, done.stderr.count("\n")) == ("", 1), done.stderr
    return done.returncode, done.stderr.removeprefix("spoe-guard: top: ").rstrip()


def test_an_address_that_cannot_be_reached_is_one_line(tmp_path):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    assert line(address) == (1, f"{address} cannot be reached: Connection refused")
    assert line(f"unix:{tmp_path}/no") == (1, f"unix:{tmp_path}/no cannot be reached: No such file or directory")


def test_an_address_that_is_none_is_wrong_use():
    assert line("localhost") == (2, "'localhost': expected HOST:PORT, [v6]:PORT or unix:/path")


NO_GUARD = "what answers at {} has no /api/status of a spoe-guard like this one"
OTHERS = [
    (b"SSH-2.0-OpenSSH_9.2\r\n", "what answers at {} does not speak HTTP"),
    (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", NO_GUARD),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", NO_GUARD),
    (b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"version":1}', NO_GUARD),
    (b"HTTP/1.1 421 Misdirected Request\r\nContent-Length: 4\r\n\r\nwhy\n", "{}: why"),
]


@pytest.mark.parametrize(("answer", "why"), OTHERS)
def test_something_else_that_answers_is_one_line(answer, why):
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        address = "{}:{}".format(*other.getsockname())
        top = subprocess.Popen(
            [sys.executable, "-m", "spoe_guard", "top", address], env=environment(), stderr=subprocess.PIPE, text=True
        )
        other.settimeout(START_S)
        with closing(other.accept()[0]) as sock:
            sock.recv(4096)
            sock.sendall(answer)
        _out, message = top.communicate(timeout=START_S)
    assert (top.returncode, message) == (1, f"spoe-guard: top: {why.format(address)}\n")


def test_without_the_extra_it_says_how_to_get_it(tmp_path):
    (tmp_path / "textual").mkdir()  # a package that stands before the real one, and is empty
    (tmp_path / "textual" / "__init__.py").write_text("raise ModuleNotFoundError(name='textual')\n")
    search = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    assert line(settings={"PYTHONPATH": search}) == (1, "textual is not installed: pip install 'spoe-guard[top]'")


class Terminal:
    """A pseudo-terminal with a program on it."""

    def __init__(self, *command: str) -> None:
        self._master, slave = pty.openpty()
        size = {"COLUMNS": "120", "LINES": "40", "TERM": "xterm-256color"}
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment() | size)
        os.close(slave)
        self.seen = b""

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + START_S
        while text.encode() not in self.seen:
            assert time.monotonic() < deadline, self.seen[-2000:]
            if select.select([self._master], [], [], 0.1)[0]:
                self.seen += os.read(self._master, 65536)

    def press(self, key: str) -> None:
        self.seen = b""
        os.write(self._master, key.encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)


@pytest.mark.timeout(90)
def test_on_a_real_terminal_it_shows_a_real_guard_and_quits(tmp_path):
    guard = Running(tmp_path, "127.0.0.1:9")
    with guard.process:
        try:
            admin = guard.wait_for("listening")["admin"]
            with Terminal(sys.executable, "-m", "spoe_guard", "top", admin) as terminal:
                terminal.wait_for("HAProxy is not connected.")
                terminal.wait_for("default")
                terminal.press("p")
                terminal.wait_for("PAUSED")
                terminal.press("s")
                terminal.wait_for("by NOTIFYs")
                terminal.press("q")
                terminal.wait_for("\x1b[?1049l")  # the screen as it was before
                assert terminal.process.wait(NOBODY_S) == 0
        finally:
            assert guard.stop()[0] == 0
