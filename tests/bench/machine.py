"""The machine and the versions behind a benchmark, without host names or paths."""

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from tests.agents.build import go
from tests.bench import builds, real
from tests.bench.process import environment
from tests.integration.haproxy import binary
from tests.peers import SEARCH_PATH


def _said(pattern: str, *command: str | Path) -> str:
    """Return what the program says of itself, "-" where it is not there."""
    program = shutil.which(command[0], path=SEARCH_PATH)
    if program is None:
        return "-"
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
    found = re.search(pattern, done.stdout + done.stderr)
    return found[1] if found else "-"


def guard(build: str) -> str:
    """Return the version of that build of the guard, and with what it runs."""
    found = builds.guard(build)
    if found is None:
        return "-"
    ask = "print('{version}, Python {python}, uvloop'.format_map(about()), uvloop.__version__)"
    command, home = found
    done = subprocess.run(
        [command[0], "-c", f"import uvloop; from spoe_guard.about import about; {ask}"],
        cwd=home,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def describe() -> dict[str, str]:
    """Return CPU, memory and kernel."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    assert memory
    system = platform.freedesktop_os_release()["PRETTY_NAME"]
    return {
        "CPU": f"{len(os.sched_getaffinity(0))} x {cpu[1] if cpu else platform.machine()}",
        "memory": f"{round(int(memory[1]) / 2**20)} GiB",
        "system": f"{system}, Linux {re.match(r'[0-9.]*[0-9]', platform.release())[0]}",  # type: ignore[index]
        "virtual": "yes" if "hypervisor" in Path("/proc/cpuinfo").read_text() else "no",
    }


def versions() -> dict[str, str]:
    """Return the version of every program that may take part."""
    return {
        "HAProxy": _said(r"version (\d[0-9.]*)", binary(), "-v"),
        **{f"HAProxy under wrk, {name}": _said(r"version (\d[0-9.]*)", real.program(name), "-v") for name in real.VERSIONS},
        "nginx": _said(r"nginx/(\S+)", builds.NGINX, "-v"),
        "wrk": _said(r"wrk (?:debian/)?(\S+)", "wrk", "-v"),
        "Go": _said(r"go(\d\S+)", go(), "version"),
        **{f"spoe-guard, {build}": guard(build) for build in ("compiled", "pure")},
    }
