"""``python -m spoe_guard`` as a process, forked from one that has imported it.

An interpreter that starts and imports the guard takes four times the CPU of a fork, and the tests start several hundred guards.
Everything else is as if it had been started: arguments, environment, folder, standard streams, exit code, and whose child it is.

As a program it is the one that forks: it takes requests on the socket whose number is its argument, until that socket closes.
"""

import atexit
import contextlib
import ctypes
import functools
import importlib
import inspect
import json
import os
import runpy
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

# What its commands import when they run. Not its __main__, which runpy warns about if it is imported already.
_IMPORTED = (
    "spoe_guard.cli",
    "spoe_guard.run.serve",
    "spoe_guard.run.workers.parent",
    "spoe_guard.placement.commands",
    "spoe_guard.examples",
    "spoe_guard.capture.tell.commands",
    "spoe_guard.lab.agent",
    "spoe_guard.lab.ask",
    "spoe_guard.lab.faults",
    "spoe_guard.lab.serve",
)
_MODULE = "spoe_guard"
_MOST_BYTES = 1 << 17  # of a request: arguments and environment
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_START_S = 30.0
_EXECUTE_CHILD = inspect.signature(subprocess.Popen._execute_child)  # type: ignore[attr-defined]


def _of_python(environment: dict[str, str]) -> dict[str, str]:
    """Return what an interpreter looks at when it starts."""
    return {name: value for name, value in environment.items() if name.startswith("PYTHON")}


class Popen(subprocess.Popen[Any]):
    """The same as of subprocess. What it cannot fork it starts."""

    def _execute_child(self, args: Sequence[str], *others: Any) -> None:  # the one place where Popen makes its process
        named = _EXECUTE_CHILD.bind(self, args, *others).arguments
        asks_more = any(named[how] for how in ("pass_fds", "preexec_fn", "start_new_session")) or named["process_group"] != -1
        environment = dict(os.environ if named["env"] is None else named["env"])
        forks = sys.platform == "linux" and list(args[:3]) == [sys.executable, "-m", _MODULE]
        if asks_more or not forks or _of_python(environment) != _of_python(dict(os.environ)):
            super()._execute_child(args, *others)  # type: ignore[misc]
            return
        ends = [named[end] for end in ("p2cread", "c2pwrite", "errwrite")]
        try:
            streams = [number if end == -1 else end for number, end in enumerate(ends)]
            request = {"argv": args[3:], "env": environment, "cwd": str(named["cwd"] or Path.cwd())}
            self.pid = _forker().fork(request, streams)
            self._child_created = True
        finally:
            pipes = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
            self._close_pipe_fds(*(named[end] for end in pipes))  # type: ignore[attr-defined]


def run(command: Sequence[str], seconds: float, **how: Any) -> subprocess.CompletedProcess[str]:
    """Run it to its end, as subprocess.run with ``capture_output`` and ``text``."""
    with Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how) as process:
        try:
            stdout, stderr = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


class _Forker:
    """The process that forks, a child of this one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "tests.forked", str(theirs.fileno())]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
        atexit.register(self.end)

    def fork(self, request: dict[str, Any], streams: list[int]) -> int:
        """Return the id of the new process, a child of this one with ``streams`` as its standard streams."""
        with self._lock:
            # Its parent, a fork in between, ends at once, and then this process is its parent. Only now: it would get every
            # other orphan too, and those are none of its business.
            with _subreaper():
                socket.send_fds(self._socket, [json.dumps(request).encode()], streams)
                answer = self._socket.recv(64)
            assert answer, "the process that forks has ended"
            return int(answer)

    def end(self) -> None:
        self._socket.close()
        self._process.wait(_START_S)


@functools.cache
def _forker() -> _Forker:
    return _Forker()


@contextlib.contextmanager
def _subreaper() -> Any:
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    assert prctl(_PR_SET_CHILD_SUBREAPER, 1) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        prctl(_PR_SET_CHILD_SUBREAPER, 0)


def _fork(channel: socket.socket) -> None:
    """Fork for each request; return in a new process alone, as the one that was asked for."""
    while True:
        text, streams, _, _ = socket.recv_fds(channel, _MOST_BYTES, 3)
        if not text:
            os._exit(0)
        told, tells = os.pipe()
        between = os.fork()
        if between == 0:
            if (child := os.fork()) == 0:
                channel.detach()
                _become(json.loads(text), streams)
                return
            os.write(tells, str(child).encode())
            os._exit(0)
        os.waitpid(between, 0)  # and now the child has its parent
        channel.send(os.read(told, 64))
        for each in (told, tells, *streams):
            os.close(each)


def _become(request: dict[str, Any], streams: list[int]) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, 256)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    # What an interpreter finds out about a file when it opens it: whether it is a terminal, whether it can be sought in.
    sys.stdin = sys.__stdin__ = _opened(sys.stdin, "r", False)
    sys.stdout = sys.__stdout__ = _opened(sys.stdout, "w", os.isatty(1))
    sys.stderr = sys.__stderr__ = _opened(sys.stderr, "w", True)
    sys.argv[1:] = request["argv"]


def _opened(stream: TextIO, mode: str, by_line: bool) -> TextIO:
    return open(stream.fileno(), mode, 1 if by_line else -1, stream.encoding, stream.errors, closefd=False)


if __name__ == "__main__":
    for _name in _IMPORTED:
        importlib.import_module(_name)
    # Outside of every function, as an interpreter runs a program: exit codes, tracebacks and atexit are its own.
    _fork(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_module(_MODULE, run_name="__main__", alter_sys=True)
