"""A process of the bench, measured or measuring: CPU placement, resource use, termination."""

import os
import re
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from tests.peers import SEARCH_PATH

START_S: Final = 30.0
STOP_S: Final = 10.0

T = TypeVar("T")


def wait_for(condition: Callable[[], T | None], what: str, seconds: float = START_S) -> T:
    """Return what ``condition`` returns as soon as that is something.

    Raises:
        TimeoutError: it was nothing for that long.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(0.01)
    return found


def environment() -> dict[str, str]:
    """This process's, less what would make the guard another one than it says."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SPOE_GUARD_", "PYTHONPATH"))}
    return kept | {"PATH": SEARCH_PATH}


def open_files() -> int:
    """Raise the limit of open files as far as it goes, for all that is started from here, and return it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


class Process:
    """A program with its log, on CPUs of its own where there are enough of them.

    ``command``: the program and what it is told; ``cpus``: their numbers, none: any;
    ``fds``: what it inherits.
    """

    def __init__(
        self,
        log: Path,
        command: Sequence[str | Path],
        cpus: Iterable[int] = (),
        cwd: Path | None = None,
        fds: Sequence[int] = (),
    ) -> None:
        self._log = log
        self._asked = False
        chosen = ",".join(map(str, cpus))
        pinned = ["taskset", "--cpu-list", chosen] if chosen else []
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [*pinned, *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=environment(),
                cwd=cwd,
                pass_fds=fds,
            )

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def printed(self, pattern: str) -> str:
        """Wait until the log has ``pattern`` and return its first group.

        Raises:
            TimeoutError: it never did, or the program ended first.
        """

        def found() -> re.Match[str] | None:
            if self.process.poll() is not None:
                raise TimeoutError(f"it ended with {self.process.returncode}: {self.log()}")
            return re.search(pattern, self.log())

        try:
            return wait_for(found, pattern)[1]
        except TimeoutError as error:
            raise TimeoutError(f"{self.process.args}: {error}\n{self.log()}") from None

    def pids(self) -> list[int]:
        """Return its process id and those of its children, and theirs."""
        children: dict[int, list[int]] = {}
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(status.read_text().rpartition(")")[2].split()[1])
            except OSError:  # it has just ended
                continue
            children.setdefault(parent, []).append(int(status.parent.name))
        family = [self.process.pid]
        for pid in family:
            family += children.get(pid, [])
        return family

    def pin(self, cpus: Iterable[int]) -> None:
        """Let all of its threads, and what they start from here on, run on those CPUs alone."""
        allowed = set(cpus)
        pinned: set[int] = set()
        while found := self.tasks() - pinned:  # once more: one that was begun meanwhile may be another's that was not pinned yet
            for task in found:
                with suppress(ProcessLookupError):  # it has just ended
                    os.sched_setaffinity(task, allowed)
            pinned |= found

    def tasks(self) -> set[int]:
        """Return the threads of all of its processes."""
        return {int(task.name) for pid in self.pids() for task in Path(f"/proc/{pid}/task").iterdir()}

    def cpu_us(self) -> float:
        """Return the CPU (user and system, all threads) its processes have used so far, as clock_getcpuclockid(3) counts it."""
        return sum(time.clock_gettime(~pid << 3 | 2) for pid in self.pids()) * 1e6

    def memory(self, what: str) -> int:
        """Return VmRSS (now) or VmHWM (the most so far) of all its processes, in KiB."""
        return sum(_kib(Path(f"/proc/{pid}/status").read_text(), what) for pid in self.pids())

    def ask_to_stop(self) -> None:
        """Send SIGTERM, once, and do not wait."""
        if not self._asked and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self._asked = True

    def stop(self) -> int:
        """End it, and return its exit code."""
        self.ask_to_stop()
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait(STOP_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()


def _kib(status: str, what: str) -> int:
    found = re.search(rf"^{what}:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) if found else 0
