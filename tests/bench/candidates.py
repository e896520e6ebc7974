"""What may stand between HAProxy and an agent: each candidate as a process that listens on a port and dials the agent."""

import json
import shutil
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

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

    @property
    def most_kib(self) -> int:
        """The most memory it has taken so far."""
        return self.process.memory("VmHWM") if self.process else 0

    def cpu_us(self) -> float:
        """Return the CPU it has used so far."""
        return self.process.cpu_us() if self.process else 0.0

    def check(self, notifies: int) -> None:
        """Raise AssertionError if it saw another number of NOTIFYs than the load sent, or anything wrong with them."""

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
    nbthread 1
    maxconn 2000
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


def haproxy(place: Place) -> Running:
    with free() as front:
        (config := place.folder / "haproxy.cfg").write_text(HAPROXY.format(fd=front.fileno(), agent=place.agent))
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


def toxiproxy(place: Place) -> Running:
    port = unused_port()
    proxy = {"name": "agent", "listen": f"127.0.0.1:{port}", "upstream": place.agent, "enabled": True}
    (config := place.folder / "toxiproxy.json").write_text(json.dumps([proxy]))
    process = place.start([builds.TOXIPROXY, "-host", "127.0.0.1", "-port", "0", "-config", config])
    return listening(port, process)


def mitmproxy(place: Place) -> Running:
    front = ["--listen-host", "127.0.0.1", "--listen-port", "0"]
    quiet = ["--set", "flow_detail=0", "--set", f"confdir={place.folder}"]
    process = place.start([builds.MITMPROXY, "--mode", f"reverse:tcp://{place.agent}", *front, *quiet])
    return Running(process.said(r"listening at ([0-9.:]+[0-9])"), process)


class Guard(Running):
    """``records``: with the flight recorder on, as it is by default but for the folder."""

    def __init__(self, place: Place, build: str, mode: str, *, records: bool = False) -> None:
        found = builds.guard(build)
        assert found, build
        command, home = found
        capture = {"dir": str(place.folder)} if records else {}
        settings = {"routes": [{"limits": {"connections": 20000}}], "capture": capture}
        (config := place.folder / "guard.yaml").write_text(json.dumps(settings))
        flags = ["--config", config, "--listen", "127.0.0.1:0", "--agent", place.agent, "--admin", "127.0.0.1:0", "--mode", mode]
        process = place.start([*command, "run", *flags, "--log-format", "json"], home)
        line = json.loads(process.said(r'(\{.*"event": ?"listening".*\})\n'))
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
        assert seen["internal_errors_total"] == 0
        assert seen.get("anomalies_total", 0) == 0


@dataclass(frozen=True)
class Candidate:
    """``label``: for people; ``lacks`` returns what this machine has not got of it, and how to get it, "" if nothing."""

    label: str
    start: Callable[[Place], Running]
    lacks: Callable[[], str] = lambda: ""


def _made(program: Path) -> Callable[[], str]:
    return lambda: "" if program.exists() else "make rivals"


def _haproxy() -> str:
    return "" if shutil.which("haproxy", path=SEARCH_PATH) else "apt-get install haproxy"


def _build(name: str) -> Callable[[], str]:
    return lambda: "" if builds.guard(name) else "make builds (it needs a C compiler)"


CANDIDATES: Final = {
    "direct": Candidate("nothing in between", direct),
    "haproxy": Candidate("HAProxy, mode tcp", haproxy, _haproxy),
    "nginx": Candidate("nginx, stream", nginx, _made(builds.NGINX)),
    "toxiproxy": Candidate("toxiproxy", toxiproxy, _made(builds.TOXIPROXY)),
    "mitmproxy": Candidate("mitmproxy, reverse tcp", mitmproxy, _made(builds.MITMPROXY)),
    **{
        f"guard-{build}-{mode}": Candidate(f"guard, {build}, {mode}", partial(Guard, build=build, mode=mode), _build(build))
        for build in ("compiled", "pure")
        for mode in ("enforce", "observe")
    },
    **{
        f"guard-{build}-recorder": Candidate(
            f"guard, {build}, enforce, recorder on", partial(Guard, build=build, mode="enforce", records=True), _build(build)
        )
        for build in ("compiled", "pure")
    },
}
