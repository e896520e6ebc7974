"""Continuous requests, and an agent process that a test can kill in the middle of them."""

import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from tests.integration.haproxy import Haproxy, Seen

START_S = 30.0


def plain(number: int) -> tuple[str, Mapping[str, str]]:
    """Return path and headers of that request."""
    return f"/load/{number}", {}


class Load:
    """``with Load(haproxy) as load``: so many clients ask one path after another, each path only once; ``load.seen`` by path.

    ``most``: how many in all; None: until the end of ``with``. ``per_second``: so many are asked in a second, whatever becomes
    of those before, as long as a client is free; None: each client asks as soon as it is answered. ``request``: path and headers
    of each by its number, from 1. ``asked_at``: when each was asked, in monotonic seconds.
    """

    def __init__(
        self,
        haproxy: Haproxy,
        clients: int = 8,
        most: int | None = None,
        per_second: float | None = None,
        request: Callable[[int], tuple[str, Mapping[str, str]]] = plain,
    ) -> None:
        self.seen: dict[str, Seen] = {}
        self.asked_at: dict[str, float] = {}
        self._haproxy = haproxy
        self._request = request
        self._numbers = itertools.count(1) if most is None else iter(range(1, most + 1))
        self._stop = threading.Event()
        self._gap_s = 1 / per_second if per_second else 0.0
        self.threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def turn_to(self, haproxy: Haproxy) -> None:
        """Ask that one from now on."""
        self._haproxy = haproxy

    def asked(self) -> int:
        """Return how many were asked so far, answered or not."""
        return len(self.asked_at)

    def waiting(self) -> set[str]:
        """Return the paths that were asked and not answered yet."""
        return self.asked_at.copy().keys() - self.seen.keys()

    def _ask(self) -> None:
        while not self._stop.is_set() and (number := next(self._numbers, None)) is not None:
            if self._gap_s and self._stop.wait(self._began + number * self._gap_s - time.monotonic()):
                return
            path, headers = self._request(number)
            self.asked_at[path] = time.monotonic()
            self.seen[path] = self._haproxy.get(path, headers)

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._stop.set()
        for thread in self.threads:
            thread.join()


class AgentProcess:
    """``python -m spoe_guard.lab`` with a delay, so that NOTIFYs are open at any time. ``port`` 0: the kernel chooses."""

    def __init__(self, *how: str, port: int = 0) -> None:
        command = [sys.executable, "-m", "spoe_guard.lab", "--port", str(port), *how]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self._lines: list[bytes] = []
        self.address = self.process.stdout.readline().decode().removeprefix("listening ").strip()
        self.port = int(self.address.rpartition(":")[2])
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.append(line)

    def kill(self) -> set[str]:
        """SIGKILL it and return the paths it had answered: a line is written past every buffer, after the ACK."""
        self.process.kill()
        self.process.wait(START_S)
        self._reader.join(START_S)
        return self.answered()

    def answered(self) -> set[str]:
        """Return the paths it has answered so far."""
        return {os.fsdecode(line).removeprefix("answered ").strip() for line in list(self._lines)}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.kill()
        assert self.process.stdout is not None
        self.process.stdout.close()
