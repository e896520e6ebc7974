"""``spoe-guard run`` as its own process, and its metrics."""

import json
import signal
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests import forked
from tests.integration.haproxy import cpu_s, wait_until
from tests.running import environment, samples

START_S = 30.0
STOP_S = 20.0  # timeouts.close and disconnect_hold are 1.5 s together by default; the rest is this machine's


class Guard:
    """``settings`` are environment variables without their ``SPOE_GUARD_``; ``listen`` and ``admin`` as on the command line.

    ``agent`` is the one of the only route; or those of several, by the routes' names, the first of which is ``address``; or None
    where ``config`` has the routes.
    ``program``: what runs in the place of ``python -m spoe_guard``. ``config``: a file with further settings.

    At the end it must stop on SIGTERM with exit code 0, with nothing held, nothing open and no error of its own.
    """

    def __init__(
        self,
        folder: Path,
        agent: str | Mapping[str, str] | None,
        *,
        mode: str = "enforce",
        listen: str = "127.0.0.1:0",
        admin: str = "127.0.0.1:0",
        settings: dict[str, str] | None = None,
        program: Sequence[str] | None = None,
        config: Path | None = None,
    ) -> None:
        self._log_path = folder / "guard.log"
        self._error_path = folder / "guard.err"
        flags = []
        if isinstance(agent, str):
            flags = ["--listen", listen, "--agent", agent]
        elif agent is not None:  # flags are for one route only
            routes = [{"NAME": name, "LISTEN": listen, "AGENT": address} for name, address in agent.items()]
            keys = {f"ROUTES__{at}__{key}": value for at, route in enumerate(routes) for key, value in route.items()}
            settings = keys | (settings or {})
        text = environment({f"SPOE_GUARD_{name}": value for name, value in (settings or {}).items()})
        command = [*(program or (sys.executable, "-m", "spoe_guard")), "run", *flags]
        command += ["--admin", admin, "--mode", mode, "--log-format", "json"]
        command += ["--config", str(config)] if config else []
        with self._log_path.open("wb") as log, self._error_path.open("wb") as error:
            self.process = forked.Popen(command, stdout=log, stderr=error, env=text)
        try:
            wait_until(self._listens, "spoe-guard listens", START_S)
        except AssertionError:
            self.kill()
            raise AssertionError(self.log() + self.errors()) from None

    def _listens(self) -> bool:
        assert self.process.poll() is None
        for line in self.lines("listening"):
            self.addresses = {
                name: where.replace("unix:", "unix@") for name, where in line["routes"].items()
            }  # in HAProxy's words
            self.address = next(iter(self.addresses.values()))
            self.admin: str = line["admin"]
            return True
        return False

    def log(self) -> str:
        return self._log_path.read_text()

    def errors(self) -> str:
        return self._error_path.read_text()

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Return what was logged of that kind, oldest first."""
        whole = self.log().rpartition("\n")[0]
        return [line for line in map(json.loads, whole.splitlines()) if line["event"] == event]

    def metrics(self) -> list[tuple[str, dict[str, str], float]]:
        """Return every sample of /metrics: name, labels, value."""
        return [(sample.name, sample.labels, sample.value) for sample in samples(self.admin, START_S)]

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of that name with at least those labels."""
        found = [value for name_, has, value in self.metrics() if name_ == name and labels.items() <= has.items()]
        assert found or labels, f"no metric {name}"
        return sum(found)

    def anomalies(self, applied: bool = True) -> Counter[str]:
        """Return how often each anomaly was counted."""
        counted: Counter[str] = Counter()
        for name, labels, value in self.metrics():
            if name == "spoe_guard_anomalies_total" and value and labels["applied"] == str(applied).lower():
                counted[labels["anomaly"]] += int(value)
        return counted

    def cpu_s(self) -> float:
        return cpu_s(self.process.pid)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def wait_stopped(self, seconds: float = STOP_S) -> int:
        """Wait for its end and return its exit code."""
        return self.process.wait(seconds)

    def _check_books(self) -> None:
        wait_until(lambda: self.metric("spoe_guard_connections_active") == 0, "every session ended")
        for name in ("open_notifies", "parked_notifies", "agent_links", "held_bytes", "internal_errors_total"):
            assert self.metric(f"spoe_guard_{name}") == 0, name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            if self.process.poll() is None:
                self._check_books()
                self.terminate()
            assert self.wait_stopped() == 0
            assert self.errors() == ""
            assert not self.lines("internal_error"), self.lines("internal_error")
        finally:
            self.kill()
