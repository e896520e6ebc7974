"""``spoe-guard`` as a user starts it: a process, its log, its admin address, its exit code."""

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests import forked
from tests.peers import ROOT

RUN_S = 20.0
START_S = 30.0
FREE = "127.0.0.1:0"
OUR_RUN = tempfile.mkdtemp(prefix="spoe-guard-tests-")  # where guards of these tests find each other
atexit.register(shutil.rmtree, OUR_RUN, ignore_errors=True)


def environment(settings: dict[str, str] | None = None) -> dict[str, str]:
    """This process's environment without settings of the guard, and with those given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SPOE_GUARD_")}
    return kept | {"XDG_RUNTIME_DIR": OUR_RUN} | (settings or {})


def spoe_guard(
    *arguments: str, settings: dict[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return forked.run([sys.executable, "-m", "spoe_guard", *arguments], RUN_S, env=environment(settings), cwd=cwd)


def as_command(folder: Path) -> dict[str, str]:
    """Return an environment in which ``spoe-guard`` is a command, which runs this tree; ``folder`` keeps it."""
    command = folder / "bin/spoe-guard"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m spoe_guard "$@"\n')
    command.chmod(0o755)
    return {**environment(), "PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


def samples(address: str, seconds: float) -> list[Sample]:
    """Every sample of /metrics at ``address``, which is to answer within so many seconds."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=seconds) as page:
        return [sample for family in text_string_to_metric_families(page.read().decode()) for sample in family.samples]


def until(condition: Callable[[], bool]) -> None:
    """Wait for it."""
    deadline = time.monotonic() + START_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {START_S} s"
        time.sleep(0.005)


class Running:
    """A guard in front of ``agent``, or of what its settings name; ``log`` are the lines so far.

    ``by``: a command that ends by executing the one behind it, in the same process.
    """

    def __init__(
        self,
        folder: Path,
        agent: str | None,
        *options: str,
        settings: dict[str, str] | None = None,
        stdout: int | None = None,
        by: Sequence[str] = (),
    ) -> None:
        self._log_path = folder / "guard.log"
        flags = [] if agent is None else ["--listen", FREE, "--agent", agent, "--admin", FREE]
        command = [*by, sys.executable, "-m", "spoe_guard", "run", *flags, *options]
        with self._log_path.open("wb") as log:
            self.process = forked.Popen(
                command, stdout=log if stdout is None else stdout, stderr=subprocess.PIPE, env=environment(settings)
            )

    def log(self, event: str | None = None) -> list[dict[str, Any]]:
        whole = self._log_path.read_text().rpartition("\n")[0]
        lines = [json.loads(line) for line in whole.splitlines()]
        return [line for line in lines if event in (None, line["event"])]

    def wait_for(self, event: str) -> dict[str, Any]:
        deadline = time.monotonic() + START_S
        while not (found := self.log(event)):
            assert self.process.poll() is None, self.process.stderr.read() if self.process.stderr else ""
            assert time.monotonic() < deadline, f"no {event} in {START_S} s"
            time.sleep(0.01)
        return found[0]

    def ask(self, path: str, host: str | None = None) -> tuple[int, str]:
        """Get a page of the admin address, as ``host`` if that is no number."""
        url = f"http://{self.wait_for('listening')['admin']}{path}"
        asked = urllib.request.Request(url, headers={} if host is None else {"Host": host})
        try:
            with urllib.request.urlopen(asked, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """Send a signal; return the exit code and how long it took."""
        started = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(RUN_S), time.monotonic() - started


def end_all(guards: Iterable[Running]) -> None:
    """Kill the guards of a test; none may have written anything to standard error."""
    for guard in guards:
        guard.process.kill()
        guard.process.wait()
        assert guard.process.stderr
        with guard.process.stderr as errors:
            assert errors.read() == b""
