"""A complete set-up, side by side: wrk queries an HAProxy with a SPOE filter, with and without the guard before its agent."""

import json
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.candidates import CANDIDATES, DIRECT, Place, Running
from tests.bench.measure import ENFORCE, PLACES, Length, Said, Turns, there_and_back
from tests.bench.peers import Agent
from tests.bench.process import Process, environment
from tests.integration import generations, haproxy
from tests.integration.haproxy import free

VERSIONS: Final = ("2.6", "3.2")
BETWEEN: Final = (DIRECT, ENFORCE)
CONNECTIONS: Final = 64
WRK_S: Final = 1  # it knows no parts of a second
SPARE_S: Final = 30.0
SCRIPT: Final = Path(__file__).with_name("wrk.lua")

MAIN: Final = """\
global
    nbthread 1
    maxconn 2000
defaults
    timeout client 10s
    timeout server 10s
    timeout connect 1s
frontend web
    mode http
    bind fd@{fd}
    filter spoe engine guarded config {folder}/spoe.conf
    http-request return status 503 unless {{ var(txn.guarded.echo) -m found }}
    http-request return status 200 content-type text/plain string "ok"
backend agents
    mode {mode}
    server agent {agent}
"""
SPOE: Final = """\
[guarded]
spoe-agent guarded
    messages check
    option var-prefix guarded
    timeout hello 1s
    timeout idle 1h
    timeout processing 1s
    use-backend agents
spoe-message check
    args path=path src=src host=req.hdr(host)
    event on-frontend-http-request
"""


@dataclass(frozen=True)
class Chain:
    """From the back to the front. ``address``: where HAProxy serves, HOST:PORT."""

    candidate: Running
    haproxy: Process
    address: str


def program(version: str) -> Path:
    """Return where that HAProxy is, if it is there."""
    return generations.HOME / version / "haproxy"


def contest(names: Sequence[str], length: Length, say: Said) -> dict[str, Turns]:
    """Return, for each HAProxy there is, the turns of each of BETWEEN over all rounds; a turn takes WRK_S."""
    told: dict[str, Turns] = {}
    for version in VERSIONS:
        if not program(version).exists():
            say(f"left out: HAProxy {version} under wrk: make haproxies")
            continue
        told[version] = {name: [] for name in BETWEEN if name in names}
        for number in range(1, length.rounds + 1):
            for name, turns in _round(version, list(told[version]), length.turns).items():
                told[version][name] += turns
                seen = turns[-1]
                say(f"{version:9}{number:3}/{length.rounds} {name:24}{seen['per_second']:10.0f}/s, p99 {seen['p99_us']:8.0f} us")
    return told


def _round(version: str, names: Sequence[str], times: int) -> Turns:
    told: Turns = {name: [] for name in names}
    with ExitStack() as stack:
        there = {
            name: _chain(program(version), name, Path(stack.enter_context(tempfile.TemporaryDirectory())), stack)
            for name in names
        }
        for number in range(1, times + 1):
            for name in there_and_back(names, number):
                told[name].append(once(there[name]))
        for chain in there.values():
            chain.candidate.check_sound()
    return told


def _chain(program: Path, name: str, folder: Path, stack: ExitStack) -> Chain:
    agent = stack.enter_context(Agent(folder, PLACES["agent"]))
    candidate = CANDIDATES[name].start(Place(folder, agent.address, PLACES["candidate"]))
    stack.callback(candidate.stop)
    mode = haproxy.backend_mode(haproxy.version(str(program)))
    (folder / "spoe.conf").write_text(SPOE)
    with free() as front:
        front.listen(1024)
        config = MAIN.format(fd=front.fileno(), folder=folder, mode=mode, agent=candidate.address)
        (folder / "web.cfg").write_text(config)
        command = [program, "-db", "-f", folder / "web.cfg"]
        web = Process(folder / "web.log", command, PLACES["load"], fds=[front.fileno()])
        stack.enter_context(web)
        return Chain(candidate, web, "{}:{}".format(*front.getsockname()))


def once(chain: Chain) -> dict[str, float]:
    """Return one measurement: requests per second, latencies and CPU per request in microseconds.

    Raises:
        AssertionError: a response was missing, or not 200.
    """
    pinned = ["taskset", "--cpu-list", ",".join(map(str, PLACES["load"]))] if PLACES["load"] else []
    command = [*pinned, "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{WRK_S}s", "-s", str(SCRIPT), f"http://{chain.address}/path"]
    before = chain.candidate.cpu_us(), chain.haproxy.cpu_us()
    done = subprocess.run(command, capture_output=True, text=True, timeout=WRK_S + SPARE_S, env=environment(), check=False)
    after = chain.candidate.cpu_us(), chain.haproxy.cpu_us()
    assert done.returncode == 0, done.stdout + done.stderr
    seen: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    assert seen.pop("errors") == 0, f"{done.stdout}{chain.haproxy.log()}"
    requests = seen.pop("requests")
    used = [now - then for now, then in zip(after, before, strict=True)]
    return seen | {"per_second": requests / WRK_S, "cpu_us": used[0] / requests, "haproxy_cpu_us": used[1] / requests}
