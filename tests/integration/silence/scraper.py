"""One Prometheus for many guards, one after the other: behind its start it needs 5 s until it scrapes."""

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from spoe_guard.lab import streams
from tests.alerts.prometheus import Prometheus

ADDRESSES: Final = 40  # for so many guards, and then another Prometheus is started


class Scraper:
    """Addresses that a Prometheus scrapes already, for the admin address of guards. ``folder`` makes a new folder for each."""

    def __init__(self, folder: Callable[[], Path]) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._held: list[socket.socket] = []  # bound and not listening: the ports are ours, and the guard may bind to them
        self._free: list[str] = []
        self._prometheus: Prometheus | None = None

    def take(self) -> tuple[str, Prometheus]:
        """Return an address that no guard has had before, and the Prometheus that scrapes it."""
        with self._lock:
            if not self._free:
                self._start()
            assert self._prometheus is not None
            return self._free.pop(), self._prometheus

    def _start(self) -> None:
        self.close()
        for _ in range(ADDRESSES):
            held = socket.socket()
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind((streams.LOCALHOST, 0))
            self._held.append(held)
        addresses = [f"{streams.LOCALHOST}:{held.getsockname()[1]}" for held in self._held]
        self._prometheus = Prometheus(self._folder(), addresses)
        self._free = addresses

    def close(self) -> None:
        """End the Prometheus, and give up the addresses."""
        if self._prometheus is not None:
            self._prometheus.__exit__(None, None, None)
        for held in self._held:
            held.close()
        self._held.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()
