"""Finds a real HAProxy, configures it for the demo, starts it and watches it."""

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spoe_guard.demo.child import POLL_S, Child, Failed
from spoe_guard.demo.client import LOCALHOST, ask_once

START_S: Final = 10.0
OTHER_PATH: Final = "/static"  # does not need the agent
SPOP_MODE_FROM: Final = (3, 1)
_BOGUS_APPCTX: Final = re.compile(r"A bogus APPCTX .*? aborting now!")
_PLACES: Final = "/usr/sbin:/usr/local/sbin:/sbin"  # searched after PATH, which often lacks them for users other than root

_MAIN: Final = """\
global
    nbthread 1
    maxconn 100
    log stderr format raw local0
defaults
    timeout client 60s
    timeout server 60s
    timeout connect 1s
    retries 0
frontend web
    mode http
    bind fd@{fd}
    filter spoe engine demo config {folder}/spoe.conf
    http-request deny deny_status 403 unless {{ path {other} }} or {{ var(txn.demo.verdict) -m beg allow }}
    http-request return status 200 content-type text/plain hdr verdict "%[var(txn.demo.verdict)]" string ok
backend agents
    mode {mode}
    server agent {agent}
"""
# A request waits for its answer longer than HAProxy takes to crash, so that its client sees the crash.
_SPOE: Final = """\
[demo]
spoe-agent demo
    messages check
    option var-prefix demo
    timeout hello 1s
    timeout idle 60s
    timeout processing 10s
    use-backend agents
spoe-message check
    args path=path
    event on-frontend-http-request if !{{ path {other} }}
"""


@dataclass(frozen=True)
class Program:
    """An HAProxy on this machine."""

    path: str
    version: tuple[int, int]
    name: str  # "HAProxy 2.6.12"


@dataclass(frozen=True)
class Watch:
    """What happened to HAProxy while it was watched: ``died`` is "" while it runs, else the signal or exit code."""

    seconds: float
    cpu_share: float
    died: str = ""


def find() -> Program | str:
    """Return the HAProxy to use (the one SPOE_GUARD_HAPROXY names, or the first in PATH), or the reason why none is usable."""
    asked = os.environ.get("SPOE_GUARD_HAPROXY")
    path = shutil.which(asked or "haproxy", path=os.environ.get("PATH", os.defpath) + ":" + _PLACES)
    if path is None:
        return f"SPOE_GUARD_HAPROXY={asked} is no program" if asked else "there is no haproxy on this machine"
    try:
        printed = subprocess.run([path, "-v"], capture_output=True, text=True, timeout=START_S, check=False).stdout  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{path} does not run: {error}"
    found = re.search(r"version ((\d+)\.(\d+)[^\s-]*)", printed)
    if found is None:
        return f"{path} does not say its version"
    return Program(path, (int(found[2]), int(found[3])), f"HAProxy {found[1]}")


class Haproxy(Child):
    """HAProxy in the foreground, on a ``port`` that the kernel chooses; its SPOE agent is at ``agent_port``."""

    def __init__(self, program: Program, folder: Path, agent_port: int) -> None:
        main = folder / "haproxy.cfg"
        mode = "spop" if program.version >= SPOP_MODE_FROM else "tcp"
        # Bound here and passed on: the kernel chooses the port, and nothing listens on it once HAProxy is dead.
        with socket.socket() as web:
            web.bind((LOCALHOST, 0))
            self.port: int = web.getsockname()[1]
            agent = f"{LOCALHOST}:{agent_port}"
            main.write_text(_MAIN.format(fd=web.fileno(), folder=folder, other=OTHER_PATH, mode=mode, agent=agent))
            (folder / "spoe.conf").write_text(_SPOE.format(other=OTHER_PATH))
            command = [program.path, "-db", "-f", str(main)]
            super().__init__(command, folder / "haproxy.log", [web.fileno()], gentle=False)

    async def ready(self) -> None:
        """Wait until it answers.

        Raises:
            Failed: it does not answer in time.
        """
        deadline = time.monotonic() + START_S
        while (await ask_once(self.port, OTHER_PATH)).status == 0:
            if self.ended is not None or time.monotonic() > deadline:
                raise Failed(f"HAProxy does not start: {self.log().strip()}")
            await asyncio.sleep(POLL_S)

    async def watch(self, seconds: float) -> Watch:
        """Watch it for ``seconds``, or until it ends."""
        began, used, now_used = time.monotonic(), self.cpu_s(), 0.0
        while self.ended is None and time.monotonic() < began + seconds:
            now_used = max(now_used, self.cpu_s())
            await asyncio.sleep(POLL_S)
        took = time.monotonic() - began
        return Watch(took, max(now_used - used, 0.0) / took, self._how_it_died())

    def _how_it_died(self) -> str:
        if self.ended is None:
            return ""
        return signal.Signals(-self.ended).name if self.ended < 0 else f"exit code {self.ended}"

    def last_words(self) -> str:
        """Return the line in which HAProxy gives the reason for its crash, or ""."""
        found = _BOGUS_APPCTX.search(self.log())
        return found[0] if found else ""
