"""Locates or builds the programs of the bench. ``python -m tests.bench.builds`` builds those it can."""

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.agents.build import go_run, run
from tests.bench.process import environment
from tests.peers import CACHE, ROOT

HOME: Final = CACHE / "bench"
SOURCES: Final = Path(__file__).parent / "go"
LOAD: Final = HOME / "load"
AGENT: Final = HOME / "agent"
NGINX: Final = CACHE / "nginx" / "nginx"
NGINX_STREAM: Final = NGINX.parent / "root/usr/lib/nginx/modules/ngx_stream_module.so"
GUARDS: Final = CACHE / "builds"  # a virtual environment for each build


def python(build: str) -> Path:
    """Return the interpreter of that build of the guard, this one where it is not there."""
    there = GUARDS / build / "bin" / "python"  # not the script beside it, which names a path that may have moved
    return there if there.exists() else Path(sys.executable)


@functools.cache
def guard(build: str) -> tuple[list[str], Path] | None:
    """Return the command of that build of the guard, ``compiled`` or ``pure``, and the folder to run it in; None: not there.

    Without a pure one it is this checkout's own source.
    """
    command = [str(python(build)), "-m", "spoe_guard"]
    home = ROOT if command[0] == sys.executable else HOME
    home.mkdir(parents=True, exist_ok=True)
    done = subprocess.run([*command, "version"], cwd=home, env=environment(), capture_output=True, text=True, check=False)
    return (command, home) if f"build {build}" in " ".join(done.stdout.split()) else None


def peers() -> None:
    """Build the load generator and the agent; Go does nothing where nothing has changed."""
    HOME.mkdir(parents=True, exist_ok=True)
    go_run(HOME, "build", "-o", f"{HOME}{os.sep}", "./load", "./agent", cwd=SOURCES)


def nginx() -> None:
    """Unpack Debian's: installed, it would serve port 80 from then on."""
    if not NGINX.exists():
        run(ROOT / ".ci/unpack", "bookworm", "libnginx-mod-stream", NGINX.parent, "usr/sbin/nginx")


def main() -> int:
    """Make what is not there; the exit code is the number of those that cannot be had."""
    failed = 0
    for build in (peers, nginx):
        try:
            build()
        except OSError as error:
            failed += 1
            print(f"{build.__name__} cannot be had: {error}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
