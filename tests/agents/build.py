"""``make agents`` (``python -m tests.agents.build``): build the agents of the catalogue, each into a folder of .cache/agents.

What they are built with is found on this machine: go, else that of Debian's trixie, unpacked into .cache; cargo; this Python.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tests.agents.catalogue import CATALOGUE, CROWDSEC, HOME, SOURCES, WAF, Language, RealAgent
from tests.peers import CACHE, ROOT

GO: Final = (1, 24)  # the newest that a go.mod of the tests asks for
CARGO: Final = (1, 85)  # the first with Rust 2024
SEARCH_PATH: Final = os.environ.get("PATH", os.defpath) + ":/usr/local/go/bin"
UNPACKED_GO: Final = CACHE / "go"


def run(*command: str | Path, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> str:
    """Run it and return what it printed.

    Raises:
        OSError: it failed; the message is what it said.
    """
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def tool(name: str, least: tuple[int, int], ask: str) -> str | None:
    """Return the path of that program if there is one of at least that version, which it says when asked with ``ask``."""
    found = shutil.which(name, path=SEARCH_PATH)
    message = re.search(r"(\d+)\.(\d+)", run(found, ask)) if found else None
    return found if message and (int(message[1]), int(message[2])) >= least else None


def go() -> str:
    """Return the path of a Go new enough."""
    if found := tool("go", GO, "version"):
        return found
    if not UNPACKED_GO.exists():
        run(ROOT / ".ci/unpack", "trixie", "golang-go", UNPACKED_GO)
    return str(UNPACKED_GO / "root/usr/bin/go")


def go_run(home: Path, *arguments: str | Path, cwd: Path) -> str:
    """Run ``go`` in ``cwd`` and return what it printed; what it downloads and keeps is under ``home``.

    Raises:
        OSError: it cannot be done; the message is what Go said.
    """
    env = {
        "CGO_ENABLED": "0",
        "GOCACHE": str(home / "go/build"),
        "GOFLAGS": "-buildvcs=false -modcacherw",  # so that `make clean` can remove what it downloads
        "GOMODCACHE": str(home / "go/modules"),
        "GOTOOLCHAIN": "local",
    }
    return run(go(), *arguments, cwd=cwd, env=env)


def build_go(agent: RealAgent) -> None:
    versions = f"-modfile=versions/{agent.name}.mod"
    go_run(HOME, "build", versions, "-o", agent.program, f"./{agent.family}", cwd=SOURCES / "go")


def build_python(agent: RealAgent) -> None:
    home = agent.program.parent.parent
    run(sys.executable, "-m", "venv", "--clear", "--without-pip", home)
    pip = (sys.executable, "-m", "pip", "--python", agent.program, "install", "--quiet", "--disable-pip-version-check")
    run(*pip, "--require-hashes", "--requirement", SOURCES / "python/requirements.txt")


def build_rust(agent: RealAgent) -> None:
    cargo = tool("cargo", CARGO, "--version")
    if cargo is None:
        raise OSError(f"no cargo {'.'.join(map(str, CARGO))} or later; on Debian 12: apt-get install cargo-web")
    folder, target = HOME / "rust-sources", HOME / "rust"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(SOURCES / "rust", folder)
    # The pins are committed without the registry's name; what cargo itself calls it is put in.
    run(cargo, "generate-lockfile", "--quiet", cwd=folder)
    lock = folder / "Cargo.lock"
    [source] = set(re.findall(r'^source = "(.*)"$', lock.read_text(), re.MULTILINE))
    lock.write_text((folder / "pinned.lock").read_text().replace("REGISTRY", source))
    run(cargo, "build", "--quiet", "--release", "--locked", "--target-dir", target, cwd=folder)
    agent.program.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(target / "release/agent", agent.program)


BUILDERS: Final[Mapping[Language, Callable[[RealAgent], None]]] = {
    Language.GO: build_go,
    Language.PYTHON: build_python,
    Language.RUST: build_rust,
}


def fresh(agent: RealAgent) -> bool:
    """Whether the program is there and nothing in its folder of sources is younger."""
    sources = [path for path in (SOURCES / agent.language.value).rglob("*") if path.is_file()]
    return agent.program.exists() and agent.program.lstat().st_mtime >= max(path.stat().st_mtime for path in sources)


def build(agent: RealAgent) -> None:
    """Build it unless it is fresh; a failure leaves nothing behind that could pass for it.

    Raises:
        OSError: it cannot be had; the message says what was tried.
    """
    if fresh(agent):
        return
    try:
        BUILDERS[agent.language](agent)
    except BaseException:
        shutil.rmtree(HOME / agent.name, ignore_errors=True)
        raise


def main() -> int:
    """Build what is not there or is older than its source; the exit code is the number of those that cannot be had."""
    failed = 0
    for agent in (*CATALOGUE.values(), WAF, CROWDSEC):
        began = time.monotonic()
        try:
            build(agent)
            message = f"{agent.version} of {agent.library} ({time.monotonic() - began:.1f} s)"
        except OSError as error:
            failed += 1
            message = f"cannot be had: {error}"
        print(f"{agent.name:20}{message}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
