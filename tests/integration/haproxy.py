"""A real HAProxy in the foreground with a SPOE filter, and the responses its client gets."""

import http.client
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

import pytest

from tests.peers import SEARCH_PATH, missing, need

START_S = 30.0
HEADERS = ("verdict", "error", "allowed", "echo", "process")
AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close sends RST
CLIENT_S = 10.0  # no test may wait longer for an HTTP response
SPOP_MODE_FROM = (3, 1)  # from here on the agents' backend is `mode spop`
CHECKED = "check inter 100ms fastinter 100ms rise 1 fall 1"  # on the server line
BOGUS_APPCTX = "A bogus APPCTX"
# Timed out while it waited to be sent: none of its times but the whole is known. HAProxy wakes one idle connection for each
# request; where that one turns out to be closed no other is woken, and from then on so many requests are behind, each until the
# next one comes. Those that no next one follows time out (flt_spoe.c, spoe_queue_context, spoe_release_appctx). So it does with
# two agents and no guard.
NEVER_SENT = re.compile(r" st=1 0/-1/-1/-1/")

MAIN = """\
global
    nbthread {threads}
    {tune}
    stats socket {folder}/stats.sock mode 600 level admin
    log stderr format raw local0
defaults
    log global
    timeout client 10s
    timeout server 10s
    timeout connect 1s
    timeout check 2s
    retries 0
frontend web
    mode http
    bind fd@{web_fd}
    filter spoe engine guarded config {folder}/spoe.conf
    http-request return status 200 content-type text/plain hdr verdict "%[var(txn.guarded.verdict)]" \
hdr error "%[var(txn.guarded.error)]" hdr allowed "%[var(txn.guarded.allowed)]" hdr echo "%[var(txn.guarded.echo)]" \
hdr process "%pid" string "ok"
backend agents
    mode {mode}
    {check}
    server agent {agent} {server}
"""

SPOE = """\
[guarded]
spoe-agent guarded
    messages check
    option var-prefix guarded
    option set-on-error error
    {options}
    timeout hello {hello}
    timeout idle {idle}
    timeout processing {processing}
    use-backend agents
    log global
spoe-message check
    args path=path src=src
    event on-frontend-http-request if !{{ path /ready }}
"""


@dataclass(frozen=True)
class Options:
    """What a test may want otherwise. Durations in HAProxy's words; ``spoe`` are lines of the spoe-agent section.

    ``check``: health checks that speak SPOP; ``plain_check``: that connect and no more. ``program``: another than ``binary()``;
    ``tune``: a line of its global section; ``threads``: its nbthread; ``server``: words on the agent's server line. ``web``:
    bound, to listen on; ``finishes``: the process id of the HAProxy that listens there and that it takes over from.
    """

    processing: str = "1s"
    hello: str = "1s"
    idle: str = "10s"
    spoe: tuple[str, ...] = ()
    check: bool = False
    plain_check: bool = False
    program: str | None = None
    tune: str = ""
    threads: int = 1
    server: str = ""
    web: socket.socket | None = None
    finishes: int | None = None


@dataclass(frozen=True)
class Seen:
    """One HTTP response, or that there was none (``status`` 0). A variable that is not set is "".

    The lab's agent sets ``verdict``; those of tests/agents set ``allowed`` and ``echo``. ``process``: HAProxy's process id.
    """

    status: int
    verdict: str
    error: str
    seconds: float
    allowed: str = ""
    echo: str = ""
    process: str = ""


def binary() -> str:
    """Return the HAProxy to test with."""
    asked = os.environ.get("SPOE_GUARD_HAPROXY")
    if asked is None:
        return need("haproxy")
    return shutil.which(asked, path=SEARCH_PATH) or missing(f"SPOE_GUARD_HAPROXY={asked} is no program", "name a haproxy binary")


def version(program: str) -> tuple[int, int]:
    """Return major and minor version of that HAProxy."""
    printed = subprocess.run([program, "-v"], capture_output=True, text=True, check=True, timeout=START_S).stdout
    found = re.search(r"version (\d+)\.(\d+)", printed)
    assert found, printed
    return int(found[1]), int(found[2])


def backend_mode(of: tuple[int, int]) -> str:
    """Return the mode of the agents' backend in that version of HAProxy."""
    return "spop" if of >= SPOP_MODE_FROM else "tcp"


def need_2_6(why: str) -> None:
    """Skip the test where the HAProxy to test with is another one than Debian 12's, ``why`` being what holds for that one."""
    if version(binary()) != (2, 6):
        pytest.skip(f"not HAProxy 2.6, as Debian 12 packages it: {why}")


def wait_until(condition: Callable[[], object], what: str, seconds: float = 5.0) -> None:
    """Wait for ``condition``, at most ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free() -> socket.socket:
    """Return a socket bound to a port of the kernel's choice, at which nobody listens.

    While it is open the kernel gives that port to nobody else, and who asks for it can listen there.
    """
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", 0))
    return bound


class Haproxy:
    """The process. ``agent`` is an address in HAProxy's words: ``127.0.0.1:9000`` or ``unix@/path``."""

    main, spoe = MAIN, SPOE  # the configuration, and that of the filter

    def __init__(self, folder: Path, agent: str, options: Options | None = None) -> None:
        options = options or Options()
        program = options.program or binary()
        self.version = version(program)
        self._log_path = folder / "haproxy.log"
        self._stats = folder / "stats.sock"
        # Bound here and handed over, so that the port is the kernel's choice; HAProxy is the one to listen on it.
        with options.web.dup() if options.web else free() as web, self._log_path.open("wb") as log:
            self.port: int = web.getsockname()[1]
            main = self.main.format(
                folder=folder,
                web_fd=web.fileno(),
                agent=agent,
                tune=options.tune,
                mode=backend_mode(self.version),
                check="option spop-check" if options.check else "",
                threads=options.threads,
                server=f"{options.server} {CHECKED if options.check or options.plain_check else ''}",
            )
            times = {"hello": options.hello, "idle": options.idle, "processing": options.processing}
            spoe = self.spoe.format(options="\n    ".join(options.spoe), **times)
            (folder / "haproxy.cfg").write_text(main)
            (folder / "spoe.conf").write_text(spoe)
            command = [program, "-db", "-f", str(folder / "haproxy.cfg")]
            command += ["-sf", str(options.finishes)] if options.finishes else []
            self.process = subprocess.Popen(command, stdout=log, stderr=log, pass_fds=[web.fileno()])
        try:
            wait_until(self._serves, "haproxy answers", START_S)
        except AssertionError:
            self.kill()
            raise AssertionError(self.log()) from None

    def _serves(self) -> bool:
        assert self.process.poll() is None, self.log()
        return self.get("/ready").status == 200

    def get(self, path: str, headers: Mapping[str, str] = MappingProxyType({}), client: str = "127.0.0.1") -> Seen:
        """Ask for ``path`` on a connection of its own, which comes from ``client``.

        Behind the answer it is reset: closed, it would keep its port for a minute, and all tests together have 28,000.
        """
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, CLIENT_S, source_address=(client, 0))
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            answer.read()
            if connection.sock is not None:
                connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
            status, said = answer.status, [answer.getheader(name, "") for name in HEADERS]
        except (OSError, http.client.HTTPException):
            status, said = 0, [""] * len(HEADERS)
        finally:
            connection.close()
        verdict, error, allowed, echo, process = said
        return Seen(status, verdict, error, time.monotonic() - began, allowed, echo, process)

    def get_all(self, paths: Sequence[str]) -> list[Seen]:
        """Ask for all of them at the same time; the answers come in the order of ``paths``."""
        with ThreadPoolExecutor(len(paths)) as pool:
            return list(pool.map(self.get, paths))

    def show(self, command: str) -> str:
        """Ask the stats socket."""
        with socket.socket(socket.AF_UNIX) as stats:
            stats.settimeout(CLIENT_S)
            stats.connect(str(self._stats))
            stats.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: stats.recv(65536), b"")).decode()

    def stat(self) -> dict[str, str]:
        """Return the line of `show stat` about the agent."""
        names, *rows = (line.split(",") for line in self.show("show stat").strip().splitlines())
        [server] = [dict(zip(names, row, strict=True)) for row in rows if row[:2] == ["agents", "agent"]]
        return server

    def refused(self) -> int:
        """Return how many connections to the agent's address failed, as in the stats: econ."""
        return int(self.stat()["econ"])

    def health(self) -> str:
        """Return what the last health check of the agent said, as in the stats: UP or DOWN, "" before the first."""
        server = self.stat()
        return "" if "INI" in server["check_status"] else server["status"]  # an asterisk: one more is under way

    def cpu_s(self) -> float:
        return cpu_s(self.process.pid)

    def alive(self) -> bool:
        return self.process.poll() is None

    def wait_dead(self, seconds: float) -> int:
        """Wait for its end and return how it went (negative: the signal)."""
        return self.process.wait(seconds)

    def soft_stop(self) -> None:
        self.process.send_signal(signal.SIGUSR1)

    def log(self) -> str:
        return self._log_path.read_text(errors="replace")

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(START_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.kill()
