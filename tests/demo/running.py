"""``spoe-guard demo`` as a process in its own folder, so that a test finds whatever it leaves behind."""

import os
import resource
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Self

MARK = "DEMO_TEST_MARK"
DEADLINE_S = 60.0


def _as_from_a_terminal() -> None:
    """No signal ignored, which a test run in the background hands on, and core dumps wanted."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))


class Demo:
    """Started, with ``env`` over the test's own environment (None: without that one). ``message`` is empty with a ``stdout``."""

    def __init__(self, folder: Path, env: dict[str, str | None] | None = None, stdout: int | None = None) -> None:
        self._folder = folder
        self._mark = uuid.uuid4().hex
        self._out, self._err = folder / "out", folder / "err"
        for name in ("tmp", "work"):
            (folder / name).mkdir()
        wanted = {**os.environ, "SPOE_GUARD_HAPROXY": None, MARK: self._mark, "TMPDIR": str(folder / "tmp"), **(env or {})}
        self.began = time.monotonic()
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "spoe_guard", "demo"],
                env={name: value for name, value in wanted.items() if value is not None},
                cwd=folder / "work",
                stdin=subprocess.DEVNULL,
                stdout=out if stdout is None else stdout,
                stderr=err,
                start_new_session=True,
                preexec_fn=_as_from_a_terminal,  # noqa: PLW1509  no threads in this test process
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait(DEADLINE_S)

    def end(self) -> int:
        """Wait for its end and return the exit code; it has left nothing behind."""
        code = self.process.wait(DEADLINE_S)
        assert self.processes() == [], "a process is left"
        assert [*self._folder.glob("tmp/*"), *self._folder.glob("work/*")] == [], "a file is left"
        return code

    def wait_for(self, text: str) -> None:
        """Wait until it has printed ``text``."""
        deadline = time.monotonic() + DEADLINE_S
        while text not in self.printed():
            assert self.process.poll() is None, self.printed() + self.complained()
            assert time.monotonic() < deadline, self.printed()
            time.sleep(0.005)

    def ctrl_c(self) -> None:
        """Do what a terminal does: SIGINT to the whole process group in the foreground."""
        os.killpg(self.process.pid, signal.SIGINT)

    def printed(self) -> str:
        return self._out.read_text()

    def complained(self) -> str:
        return self._err.read_text()

    def processes(self) -> list[int]:
        """Return it and its children, of whatever process group, by the mark in their environment."""
        found = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                if f"{MARK}={self._mark}".encode() in environ.read_bytes().split(b"\0"):
                    found.append(int(environ.parent.name))
            except OSError:  # not ours to look at, or gone
                continue
        return found
