"""The guard as a user starts it, with its log, read line by line, and its metrics."""

import asyncio
import http.client
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.demo.child import POLL_S, Child, Failed
from spoe_guard.demo.client import LOCALHOST

START_S: Final = 15.0
SAID_S: Final = 5.0  # how long to wait for the log line of an event, or for /metrics


@dataclass(frozen=True)
class Done:
    """An anomaly and the guard's action, as logged."""

    anomaly: Anomaly
    action: Action


class Guard(Child):
    """``spoe-guard run`` in front of the agent at ``agent_port``. ``port`` and ``admin_port`` are set once it is ready."""

    def __init__(self, folder: Path, agent_port: int) -> None:
        free = f"{LOCALHOST}:0"
        command = [sys.executable, "-m", "spoe_guard", "run", "--listen", free, "--agent", f"{LOCALHOST}:{agent_port}"]
        # At debug level the guard also logs the ends of ordinary sessions.
        options = ["--admin", free, "--log-format", "json", "--log-level", "debug"]
        # Each act shows one session to its end, so the session must end with its agent link.
        ends_with_link = {"SPOE_GUARD_ROUTES__0__LINKS__GIVE_UP": "0"}
        super().__init__([*command, *options], folder / "guard.log", gentle=True, settings=ends_with_link)
        self._told = 0  # log lines that `did` has read
        self.port = 0
        self.admin_port = 0

    async def ready(self) -> None:
        """Wait until it listens.

        Raises:
            Failed: it does not listen in time.
        """
        listening = (await self._wait_for("listening", START_S))[-1]
        self.port, self.admin_port = (
            int(where.rpartition(":")[2]) for where in (listening["routes"]["default"], listening["admin"])
        )

    async def did(self) -> Sequence[Done]:
        """Wait for the end of the session that is ending, and return its anomalies in order.

        Raises:
            Failed: no session ends in time.
        """
        lines = await self._wait_for("session_closed", SAID_S)
        return [Done(Anomaly(line["anomaly"]), Action(line["action"])) for line in lines if line["event"] == "anomaly"]

    async def _wait_for(self, event: str, seconds: float) -> list[dict[str, Any]]:
        """Return the new lines up to ``event``."""
        deadline = time.monotonic() + seconds
        while True:
            lines = [_parsed(line) for line in self.log().splitlines(keepends=True)]
            for at in range(self._told, len(lines)):
                if lines[at].get("event") == event:
                    fresh, self._told = lines[self._told : at + 1], at + 1
                    return fresh
            if self.ended is not None or time.monotonic() > deadline:
                raise Failed(f"the guard does not say {event!r}; the end of its log:\n{self.log()[-2000:].strip()}")
            await asyncio.sleep(POLL_S)

    def metrics(self) -> list[Sample]:
        """Read /metrics.

        Raises:
            Failed: the guard does not serve them.
        """
        connection = http.client.HTTPConnection(LOCALHOST, self.admin_port, timeout=SAID_S)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise Failed(f"the guard does not serve /metrics: {error}") from error
        finally:
            connection.close()
        return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def _parsed(line: str) -> dict[str, Any]:
    """Return a line's fields; none for an incomplete line or one that is not JSON (a traceback)."""
    try:
        fields = json.loads(line) if line.endswith("\n") else {}
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}
