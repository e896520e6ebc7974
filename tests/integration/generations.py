"""HAProxy of four generations, as Debian packages them, side by side in .cache, and any other that you name.

``make haproxies`` (``python -m tests.integration.generations``) fetches what is not there. SPOE_GUARD_HAPROXIES=PATH[:PATH...]
names further binaries: each joins every test that takes ``generation``.
"""

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.integration import haproxy
from tests.peers import CACHE, ROOT, SEARCH_PATH, missing

HOME: Final = CACHE / "haproxies"
RELEASES: Final = {"2.2": "bullseye", "2.6": "bookworm", "3.0": "trixie", "3.2": "forky"}  # the Debian release that has it
FETCH_S: Final = 300.0


@dataclass(frozen=True)
class Generation:
    """One HAProxy. ``name``: as in RELEASES, or as SPOE_GUARD_HAPROXIES has it; ``mode``: of the backend with the agents."""

    name: str
    program: str
    version: tuple[int, int]

    @property
    def mode(self) -> str:
        return haproxy.backend_mode(self.version)


def names(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the name of every generation to test with."""
    return [*RELEASES, *filter(None, environ.get("SPOE_GUARD_HAPROXIES", "").split(":"))]


@functools.cache
def _version(program: str) -> tuple[int, int]:
    return haproxy.version(program)


def find(name: str) -> Generation:
    """Return that generation; skip the test, saying how to get it, where it is not there."""
    program: Path | str | None = HOME / name / "haproxy"
    if name not in RELEASES:
        program = shutil.which(name, path=SEARCH_PATH) or missing(f"SPOE_GUARD_HAPROXIES: {name} is no program", "name a binary")
    elif not (HOME / name).exists():
        missing(f"HAProxy {name} not found", "make haproxies, on Debian; elsewhere name yours in SPOE_GUARD_HAPROXIES")
    return Generation(name, str(program), _version(str(program)))


@pytest.fixture(params=names())
def generation(request: pytest.FixtureRequest) -> Generation:
    """Each HAProxy there is, one after the other."""
    return find(request.param)


def fetch(name: str, release: str) -> str:
    """Get that HAProxy from that Debian release unless it is there; return the version of the package.

    Raises:
        OSError: it cannot be had; the message says what was tried.
    """
    home = HOME / name
    if not home.exists():
        command = [ROOT / ".ci/unpack", release, "haproxy", home, "usr/sbin/haproxy"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=FETCH_S, check=False)
        if done.returncode != 0:
            raise OSError(f"package haproxy of {release}, from the Debian mirror of this machine's apt:\n{done.stdout.strip()}")
    packages = dict(line.split() for line in (home / "packages").read_text().splitlines())
    if not packages["haproxy"].startswith(f"{name}."):
        shutil.rmtree(home)
        raise OSError(f"{release} has HAProxy {packages['haproxy']} now")
    return packages["haproxy"]


def main() -> int:
    """Fetch what is not there; the exit code is the number of those that cannot be had."""
    failed = 0
    for name, release in RELEASES.items():
        try:
            outcome = f"{fetch(name, release):20}{(HOME / name / 'haproxy').relative_to(ROOT)}"
        except OSError as error:
            failed += 1
            outcome = f"cannot be had: {error}"
        print(f"HAProxy {name}  {outcome}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
