"""The candidates between HAProxy and an agent: each is a process that listens on a port and dials the agent."""

import json
import shutil
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from tests.bench import builds
from tests.bench.process import Process, wait_for
from tests.integration.haproxy import binary, free
from tests.peers import SEARCH_PATH
from tests.running import samples


class Running:
    """A candidate at work. ``address``: HOST:PORT where it listens; ``process`` None: nothing stands in between."""

    def __init__(self, address: str, process: Process | None = None) -> None:
        self.address = address
        self.process = process

    @property
    def pids(self) -> list[int]:
        return self.process.pids() if self.process else []

    def cpu_us(self) -> float:
        """Return the CPU it has used so far."""
        return self.process.cpu_us() if self.process else 0.0

    def check(self, notifies: int) -> None:
        """Raise AssertionError if it saw another number of NOTIFYs than the load sent, or anything wrong with them."""

    def check_sound(self) -> None:
        """Raise AssertionError if it saw anything wrong, or made a mistake."""

    def stop(self) -> None:
        if self.process:
            self.process.stop()


@dataclass(frozen=True)
class Place:
    """Where a candidate is started: a folder of its own, the agent's HOST:PORT, the CPUs it may use (none: any)."""

    folder: Path
    agent: str
    cpus: Sequence[int] = ()

    def start(self, command: Sequence[str | Path], cwd: Path | None = None, fds: Sequence[int] = ()) -> Process:
        return Process(self.folder / "log", command, self.cpus, cwd, fds)


def unused_port() -> int:
    """Return a port that was free a moment ago, for a program that cannot say which one the kernel chose."""
    with free() as bound:
        return int(bound.getsockname()[1])


def listening(port: int, process: Process) -> Running:
    def listens() -> bool:
        with socket.socket() as trial:
            return trial.connect_ex(("127.0.0.1", port)) == 0

    wait_for(listens, "it listens")
    return Running(f"127.0.0.1:{port}", process)


def direct(place: Place) -> Running:
    return Running(place.agent)


HAPROXY: Final = """\
global
    nbthread {threads}
    maxconn 2500
defaults
    mode tcp
    timeout client 1h
    timeout server 1h
    timeout connect 1s
frontend front
    bind fd@{fd}
    default_backend back
backend back
    server agent {agent}
"""


def haproxy(place: Place, threads: int = 1) -> Running:
    with free() as front:
        config = place.folder / "haproxy.cfg"
        config.write_text(HAPROXY.format(fd=front.fileno(), agent=place.agent, threads=threads))
        front.listen(4096)
        process = place.start([binary(), "-db", "-f", config], fds=[front.fileno()])
        return Running("{}:{}".format(*front.getsockname()), process)


NGINX: Final = """\
load_module {module};
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr;
events {{ worker_connections 4096; }}
stream {{
    server {{
        listen 127.0.0.1:{port};
        proxy_pass {agent};
        proxy_timeout 1h;
    }}
}}
"""


def nginx(place: Place) -> Running:
    port = unused_port()
    config = place.folder / "nginx.conf"
    config.write_text(NGINX.format(module=builds.NGINX_STREAM, folder=place.folder, port=port, agent=place.agent))
    process = place.start([builds.NGINX, "-e", "stderr", "-p", place.folder, "-c", config])
    running = listening(port, process)
    wait_for(lambda: len(running.pids) > 1, "its worker is there")  # which does all the work: nginx listens before it makes it
    return running


def uvloop(place: Place) -> Running:
    process = place.start([builds.python("compiled"), Path(__file__).with_name("blind.py"), place.agent])
    return Running(process.printed(r"listening (\S+)\n"), process)


CONNECTIONS: Final = 20_000  # the guard's limit, which is 4096 by default
DROPMORE: Final = {"hello": {"profile": "dropmore"}, "redispatch": "unanswered"}  # as is recommended for agents of that family


class Guard(Running):
    """``route``: settings of its only route; ``records``: with the flight recorder on, as it is by default but for the folder."""

    def __init__(
        self,
        place: Place,
        build: str,
        mode: str = "enforce",
        *,
        route: Mapping[str, Any] | None = None,
        records: bool = False,
        workers: int = 1,
    ) -> None:
        found = builds.guard(build)
        assert found, build
        command, home = found
        settings = {
            "routes": [{"limits": {"connections": CONNECTIONS}, **(route or {})}],
            "capture": {"dir": str(place.folder)} if records else {},
            "workers": workers,
        }
        (config := place.folder / "guard.yaml").write_text(json.dumps(settings))
        flags = ["--config", config, "--listen", "127.0.0.1:0", "--agent", place.agent, "--admin", "127.0.0.1:0", "--mode", mode]
        process = place.start([*command, "run", *flags, "--log-format", "json"], home)
        line = json.loads(process.printed(r'(\{.*"event": ?"listening".*\})\n'))
        super().__init__(next(iter(line["routes"].values())), process)
        self._admin = line["admin"]

    def metrics(self) -> dict[str, float]:
        """Return the sum of the samples of each metric."""
        sums: dict[str, float] = {}
        for sample in samples(self._admin, 5):
            name = sample.name.removeprefix("spoe_guard_") + (f".{sample.labels['type']}" if "type" in sample.labels else "")
            sums[name] = sums.get(name, 0) + sample.value
        return sums

    def check(self, notifies: int) -> None:
        seen = self.metrics()
        assert seen.get("frames_total.notify") == notifies, seen
        assert seen["frames_total.ack"] == notifies, (seen["frames_total.ack"], notifies)
        self.check_sound()

    def check_sound(self) -> None:
        seen = self.metrics()
        assert seen["frames_total.notify"] > 0, seen
        assert seen["internal_errors_total"] == 0, seen
        assert seen.get("anomalies_total", 0) == 0, seen


@dataclass(frozen=True)
class Candidate:
    """``label``: for people; ``lacks`` returns what this machine has not got of it, and how to get it, "" if nothing.

    ``pipelines``: with it HAProxy may send NOTIFYs while others are open on the same connection.
    """

    label: str
    start: Callable[[Place], Running]
    lacks: Callable[[], str] = lambda: ""
    pipelines: bool = True


def _made(program: Path) -> Callable[[], str]:
    return lambda: "" if program.exists() else "make rivals"


def _haproxy() -> str:
    return "" if shutil.which("haproxy", path=SEARCH_PATH) else "apt-get install haproxy"


def _build(name: str) -> Callable[[], str]:
    return lambda: "" if builds.guard(name) else "make builds (it needs a C compiler)"


def _guard(label: str, build: str = "compiled", *, pipelines: bool = True, **how: Any) -> Candidate:
    return Candidate(f"guard, {build}, {label}", partial(Guard, build=build, **how), _build(build), pipelines)


DIRECT: Final = "direct"
CONTEST: Final = {
    "haproxy": Candidate("HAProxy, mode tcp", haproxy, _haproxy),
    "nginx": Candidate("nginx, stream", nginx, _made(builds.NGINX)),
    "uvloop": Candidate("blind uvloop", uvloop),
    "guard-compiled-enforce": _guard("enforce"),
    "guard-pure-enforce": _guard("enforce", "pure"),
    "guard-compiled-dropmore": _guard("profile dropmore", pipelines=False, route=DROPMORE),
    "guard-compiled-observe": _guard("observe", mode="observe"),
    "guard-compiled-recorder": _guard("recorder on", records=True),
}
CANDIDATES: Final = {
    **CONTEST,
    DIRECT: Candidate("nothing in between", direct),
    "haproxy-two": Candidate("HAProxy, mode tcp, two threads", partial(haproxy, threads=2), _haproxy),
    "guard-compiled-two": _guard("enforce, two workers", workers=2),
}
