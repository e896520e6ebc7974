"""A real agent as a process: starts it, reads its listening address, stops it by process id."""

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pytest

from tests.agents.catalogue import CATALOGUE, RealAgent
from tests.integration.haproxy import wait_until
from tests.peers import missing

START_S: Final = 10.0
STOP_S: Final = 10.0
FREE: Final = "127.0.0.1:0"


class AgentProcess:
    """``with AgentProcess(CATALOGUE["criteo-1.0.8"], folder) as agent``: it listens at ``agent.address`` and answers each NOTIFY.

    The answer sets ``txn.allowed`` to true and ``txn.echo`` to the argument ``path``, after ``delay_ms``: two bounds,
    between which it is at random. ``listen``: HOST:PORT, where 0 lets the kernel choose, or of those in Go ``unix:/path``.
    ``idle_ms``: None for the library's own; only where ``kind.idle_timeout``. WAF takes the message of coraza-spoa instead and
    answers with its verdict; CROWDSEC those of CrowdSec's bouncer, and ``more`` may be its ``--decisions FILE``.

    ``built_on``: the library and its version, as the program says them; ``parts``: the versions of others beside it, by name.
    """

    def __init__(
        self,
        kind: RealAgent,
        folder: Path,
        *,
        delay_ms: tuple[int, int] = (0, 0),
        idle_ms: int | None = None,
        listen: str = FREE,
        more: Sequence[str] = (),
    ) -> None:
        assert idle_ms is None or kind.idle_timeout, f"{kind.name} has no idle timeout"
        if not kind.program.exists():
            missing(f"agent {kind.name} not built", "make agents")
        self.kind = kind
        self._said, self._stderr = folder / f"{kind.name}.out", folder / f"{kind.name}.err"
        how = ["--listen", listen, "--delay-ms", "{}:{}".format(*delay_ms)]
        if idle_ms is not None:
            how += ["--idle-ms", str(idle_ms)]
        with self._said.open("wb") as message, self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen([*kind.command, *how, *more], stdout=message, stderr=stderr)
        try:
            wait_until(self._listens, f"{kind.name} listens", START_S)
        except AssertionError:
            self.kill()
            raise AssertionError(self.stderr()) from None
        line = json.loads(self._said.read_text().partition("\n")[0])
        self.address: str = line["address"]
        self.port = int(self.address.rpartition(":")[2]) if ":" in self.address else 0  # 0: it is a Unix socket's path
        self.built_on: tuple[str, str] = (line["library"], line["version"])
        self.parts: dict[str, str] = line.get("parts", {})

    def _listens(self) -> bool:
        assert self.alive(), self.stderr()
        return "\n" in self._said.read_text()

    def alive(self) -> bool:
        return self.process.poll() is None

    def stderr(self) -> str:
        """Return what it has said so far; a Go program that crashed says where."""
        return self._stderr.read_text(errors="replace")

    def terminate(self) -> int:
        """Stop it as a service manager does; return how it went (negative: the signal)."""
        self.process.terminate()
        return self.process.wait(STOP_S)

    def kill(self) -> None:
        """End it, however it stands."""
        if self.alive():
            self.process.kill()
        self.process.wait(STOP_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.kill()


StartAgent = Callable[..., AgentProcess]


@pytest.fixture(params=CATALOGUE)
def agent_kind(request: pytest.FixtureRequest) -> RealAgent:
    """Each agent of the catalogue, one after the other."""
    return CATALOGUE[request.param]


@pytest.fixture
def start_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartAgent]:
    """Start agents: ``start_agent(kind, delay_ms=(0, 5))``; see AgentProcess. All are ended with the test."""
    with ExitStack() as stack:
        started = []

        def start(kind: RealAgent, **how: object) -> AgentProcess:
            agent = AgentProcess(kind, tmp_path_factory.mktemp("agent"), **how)  # type: ignore[arg-type]
            started.append(agent)
            return stack.enter_context(agent)

        yield start
    for agent in started:
        print(f"--- {agent.kind.name} ---\n{agent.stderr()}")  # pytest shows it where the test failed
