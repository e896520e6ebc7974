"""The two ends of every measurement: the agent, and the load that plays HAProxy."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench import builds
from tests.bench.process import Process, environment
from tests.bench.shapes import Shape

SPARE_S = 30.0  # beyond the time it counts


class Agent(Process):
    """Answers at once, unless ``how`` says otherwise; ``address`` is HOST:PORT."""

    def __init__(self, folder: Path, cpus: Sequence[int] = (), how: Sequence[str] = ()) -> None:
        super().__init__(folder / "agent.log", [builds.AGENT, *how], cpus)
        self.address = self.printed(r"listening (\S+)\n")


def load(
    address: str,
    shape: Shape,
    seconds: float,
    *,
    cpus: Sequence[int] = (),
    watch: Sequence[int] = (),
    how: Sequence[str] = (),
    held: int = 0,
) -> dict[str, Any]:
    """Put that load on ``address`` and return what the load generator saw (see ``result`` in go/load/main.go).

    ``watch``: process ids whose CPU it measures; ``how``: further flags; ``held``: so many on each connection the agent
    keeps open. Those may stay without an answer at the end: the guard owes HAProxy none behind its DISCONNECT.

    Raises:
        AssertionError: an answer was wrong, or one was missing.
    """
    pinned = ["taskset", "--cpu-list", ",".join(map(str, cpus))] if cpus else []
    flags = [
        f"-connect={address}",
        *shape.flags,
        f"-held={held}",
        f"-time={seconds}s",
        f"-watch={','.join(map(str, watch))}",
        *how,
    ]
    done = subprocess.run(
        [*pinned, str(builds.LOAD), *flags],
        capture_output=True,
        text=True,
        timeout=seconds + SPARE_S,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, f"{shape.name}: {done.stderr}"
    seen: dict[str, Any] = json.loads(done.stdout)
    assert seen["unanswered"] <= held * shape.connections, seen
    return seen
