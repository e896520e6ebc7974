"""The programs of the bench: where each is, and how it is had. ``python -m tests.bench.builds`` makes what can be made."""

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
TOXIPROXY: Final = HOME / "toxiproxy"
NGINX: Final = CACHE / "nginx" / "nginx"
NGINX_STREAM: Final = NGINX.parent / "root/usr/lib/nginx/modules/ngx_stream_module.so"
MITMPROXY: Final = HOME / "mitmproxy" / "bin" / "mitmdump"
GUARDS: Final = CACHE / "builds"  # a virtual environment for each build


def guard(build: str) -> tuple[list[str], Path] | None:
    """Return the command of that build of the guard, ``compiled`` or ``pure``, and the folder to run it in; None: not there.

    Without a pure one it is this checkout's own source.
    """
    python = GUARDS / build / "bin" / "python"  # not the script beside it, which names a path that may have moved
    home = HOME if python.exists() else ROOT
    command = [str(python) if python.exists() else sys.executable, "-m", "spoe_guard"]
    done = subprocess.run([*command, "version"], cwd=home, env=environment(), capture_output=True, text=True, check=False)
    return (command, home) if f"build {build}" in " ".join(done.stdout.split()) else None


def build_go(folder: Path, target: Path, *packages: str) -> None:
    """Build programs of a Go module into ``target``, from what its go.sum pins.

    Raises:
        OSError: it cannot be done; the message is what Go said.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    go_run(HOME, "build", "-o", f"{target}{os.sep}" if len(packages) > 1 else target, *packages, cwd=folder)


def peers() -> None:
    """Build the load generator and the agent; Go does nothing where nothing has changed."""
    build_go(SOURCES, HOME, "./load", "./agent")


def toxiproxy() -> None:
    build_go(SOURCES.parent / "toxiproxy", TOXIPROXY, "github.com/Shopify/toxiproxy/v2/cmd/server")


def nginx() -> None:
    """Unpack Debian's: installed, it would serve port 80 from then on."""
    if not NGINX.exists():
        run(ROOT / ".ci/unpack", "bookworm", "libnginx-mod-stream", NGINX.parent, "usr/sbin/nginx")


def mitmproxy() -> None:
    """Install it into a virtual environment of its own: what it depends on would change what the guard runs with."""
    if MITMPROXY.exists():
        return
    home = MITMPROXY.parent.parent
    python = home / "bin" / "python"
    run(sys.executable, "-m", "venv", "--clear", "--without-pip", home)
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check")
    run(*pip, "--requirement", SOURCES.parent / "mitmproxy.txt")


def main() -> int:
    """Make what is not there; the exit code is the number of those that cannot be had."""
    failed = 0
    for build in (peers, nginx, toxiproxy, mitmproxy):
        try:
            build()
        except OSError as error:
            failed += 1
            print(f"{build.__name__} cannot be had: {error}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
