"""A process that the demo starts and always ends."""

import contextlib
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

POLL_S: Final = 0.01
END_S: Final = 4.0  # for a clean stop after SIGTERM; then SIGKILL
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


class Failed(Exception):  # noqa: N818  the name reads well without "Error"
    """The demo cannot continue; the message gives the reason, for a person."""


class Child:
    """``with Child(command, log_path) as child``: runs in its own process group, so that Ctrl-C reaches the demo alone.

    ``gentle``: send SIGTERM before SIGKILL. ``settings``: additional environment variables.
    """

    def __init__(
        self,
        command: Sequence[str],
        log_path: Path,
        pass_fds: Sequence[int] = (),
        *,
        gentle: bool,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.began = time.monotonic()
        self._gentle = gentle
        self._log_path = log_path
        # Settings for the user's own guard must not reach this one.
        environment = {name: value for name, value in os.environ.items() if not name.upper().startswith("SPOE_GUARD_")}
        with log_path.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603  the demo's own commands
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=pass_fds,
                process_group=0,
                env={**environment, **(settings or {})},
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self.ended is None and self._gentle and error is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_S)
        if self.ended is None:
            self._process.kill()
        self._process.wait()

    @property
    def ended(self) -> int | None:
        """The exit code (negative: the signal), or None while it runs."""
        return self._process.poll()

    def log(self) -> str:
        """Return its output so far."""
        return self._log_path.read_text(errors="replace")

    def cpu_s(self) -> float:
        """Return the CPU seconds used so far; 0 when the process is gone."""
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S  # proc(5): utime, stime
