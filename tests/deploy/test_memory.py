"""Within the manifests' limit of memory the guard survives sessions that would hold back more. The kernel sees to it."""

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from spoe_guard.lab import frames
from spoe_guard.settings import memory_limit
from tests.deploy.bundle import bundle
from tests.peers import missing, need_root
from tests.running import START_S, Running

MIB = 1 << 20
SESSIONS = 300
FRAME = MIB - 4  # the longest that limits.held_bytes has room for
# The rest of a NOTIFY is waited for, and a NOTIFY for an agent, as long as the test takes.
PATIENCE = {
    "SPOE_GUARD_ROUTES__0__TIMEOUTS__FRAME": "60s",
    "SPOE_GUARD_ROUTES__0__LINKS__GIVE_UP": "60s",
    "SPOE_GUARD_ROUTES__0__LISTEN": "127.0.0.1:0",
    "SPOE_GUARD_ADMIN__LISTEN": "127.0.0.1:0",
}


class Cgroup:
    """A cgroup below this process's own, with a limit of memory, of either version."""

    def __init__(self, limit: int) -> None:
        need_root("limit memory by a cgroup")
        [base, inner, name, self._peak] = self._where()
        self._name = name
        self.folder = base / inner.lstrip("/") / f"spoe-guard-test-{os.getpid()}"
        try:
            self.folder.mkdir()
            (self.folder / name).write_text(str(limit))
        except OSError as error:
            missing(f"no cgroup with a limit of memory ({error.strerror})", "delegate the memory controller")

    @staticmethod
    def _where() -> tuple[Path, str, str, str]:
        lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
        for _, controllers, inner in lines:
            if "memory" in controllers.split(","):
                return Path("/sys/fs/cgroup/memory"), inner, "memory.limit_in_bytes", "memory.max_usage_in_bytes"
        return Path("/sys/fs/cgroup"), lines[0][2], "memory.max", "memory.peak"

    @property
    def peak(self) -> int:
        """The most that was used, the kernel's part for sockets and files in it."""
        return int((self.folder / self._peak).read_text())

    def enter(self) -> list[str]:
        """Return a command that puts the process in, and then executes what follows."""
        return ["sh", "-c", f'echo $$ > {self.folder}/cgroup.procs && exec "$@"', "sh"]

    def remove(self) -> None:
        deadline = time.monotonic() + START_S
        while self.folder.exists() and time.monotonic() < deadline:
            with contextlib.suppress(OSError):  # its last process is not gone yet
                self.folder.rmdir()


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    """One with the limit of the manifests."""
    limit = bundle("deployment").guard["resources"]["limits"]["memory"]
    made = Cgroup(int(limit.removesuffix("Mi")) * MIB)
    yield made
    made.remove()


def test_sessions_that_hold_too_much_do_not_end_the_guard(tmp_path, cgroup):
    (tmp_path / "guard.yaml").write_text(bundle("deployment").settings)
    agent = f"unix:{tmp_path / 'nobody'}"
    arguments = ("--config", str(tmp_path / "guard.yaml"))
    with contextlib.ExitStack() as at_exit:
        guard = Running(tmp_path, agent, *arguments, settings=PATIENCE, by=cgroup.enter())
        at_exit.enter_context(guard.process)
        at_exit.callback(guard.process.kill)
        port = int(guard.wait_for("listening")["routes"]["default"].rpartition(":")[2])
        at_rest = status(guard, "VmRSS")
        hello = frames.haproxy_hello(max_frame_size=FRAME)
        torn = FRAME.to_bytes(4, "big") + b"\x03\0\0\0\1\1\1" + bytes(FRAME - 1000)
        for _ in range(SESSIONS):
            sock = at_exit.enter_context(socket.create_connection(("127.0.0.1", port)))
            sock.settimeout(START_S)
            with contextlib.suppress(ConnectionError):  # it is one that gave way already
                sock.sendall(hello + torn)
        deadline = time.monotonic() + START_S
        total = (memory_limit(own=Path(f"/proc/{guard.process.pid}/cgroup")) or 0) // 4
        gave_way = held = 0.0
        while gave_way < SESSIONS / 2 or held > total:  # more than that only while what was sent is still read
            assert guard.process.poll() is None, "killed"
            assert time.monotonic() < deadline
            gave_way = metric(guard, 'sessions_gave_way_total{reason="total_bytes",route="default"}')
            held = metric(guard, 'held_bytes{route="default"}')
        peak = status(guard, "VmHWM")
        print(f"at rest {at_rest // MIB} MiB, most {peak // MIB}, with the kernel's {cgroup.peak // MIB}; gave way {gave_way}")
        assert peak < 4 * total
        assert guard.log("session_gave_way")[0]["reason"] == "total_bytes"
        assert guard.ask("/healthz")[0] == 200
        assert guard.stop()[0] == 0


def status(guard: Running, name: str) -> int:
    """Return a number of /proc/pid/status, in bytes."""
    lines = Path(f"/proc/{guard.process.pid}/status").read_text().splitlines()
    [kib] = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(kib) * 1024


def metric(guard: Running, name: str) -> float:
    lines = guard.ask("/metrics")[1].splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"spoe_guard_{name} ")), 0.0)
