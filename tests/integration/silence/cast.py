"""The peers of one row, played one way: a silent agent, HAProxy with a rule that fails closed, and between them the guard."""

import asyncio
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from tests.integration.agent import Tap
from tests.integration.generations import Generation
from tests.integration.guard import Guard
from tests.integration.haproxy import MAIN, Haproxy, Seen, wait_until
from tests.integration.load import Load
from tests.integration.silence.quiet import QuietAgent
from tests.integration.silence.row import Result, Row, Way
from tests.integration.silence.scraper import Scraper
from tests.integration.silence.surfaces import ROUTE, Surfaces
from tests.integration.stage import Stage

ANSWERED: Final = "answered"
UNCHECKED: Final = "unchecked"
CLOSED: Final = "failed closed"
RUN_S: Final = 60.0
SLACK_S: Final = 3.0  # for what the guard says in a short run, which is not alone on its machine
STOP_S: Final = 5.0
LOG_BYTES: Final = 4000  # enough to see what went wrong
_RETURN: Final = "    http-request return status 200 "
# The rule of Coraza's own sample: a request of which HAProxy knows that it was not checked does not go on.
_DENY: Final = """\
    http-request return status 403 content-type text/plain hdr error "%[var(txn.guarded.error)]" hdr process "%pid" \
string "closed" if {{ var(txn.guarded.error) -m found }}
"""
LOGGED: Final = re.compile(r"^SPOE: \[guarded\] .* st=(\d+) ", re.MULTILINE)
PATH: Final = re.compile(rb"\x04path\x08(.)(/\w+/\d+)", re.DOTALL)


class ClosedHaproxy(Haproxy):
    """A request whose check failed is refused with 403; a 200 without a verdict went on unchecked."""

    main = MAIN.replace(_RETURN, _DENY + _RETURN)
    assert main != MAIN


class Watch(Tap):
    """Knows also when a NOTIFY went by."""

    def __init__(self, beyond: str) -> None:
        super().__init__(beyond)
        self._passed: list[tuple[bytearray, int, float]] = []  # which way, how many bytes by then, when

    async def stop(self) -> None:
        """Whoever connected has gone before this; what is on its way to the agent, and its end, still gets there."""
        await super().stop()
        if self.serving:
            await asyncio.wait(self.serving, timeout=STOP_S)

    def passing(self, kept: bytearray, data: bytes) -> None:
        super().passing(kept, data)
        self._passed.append((kept, len(kept), time.monotonic()))

    def notifies(self) -> list[tuple[str, float]]:
        """Return the path of each NOTIFY, and when it went by, in monotonic seconds."""
        found = []
        for kept in list(self.to_agent):
            for each in PATH.finditer(bytes(kept)):
                at = next(at for way, by_then, at in list(self._passed) if way is kept and by_then >= each.end())
                found.append((each[2][: each[1][0]].decode(), at))
        return found


class Cast:
    """``whole``: at full length. ``result`` is what was seen so far."""

    def __init__(self, stage: Stage, scraper: Scraper, row: Row, way: Way, generation: Generation, *, whole: bool) -> None:
        self.stage, self.row, self.way, self.whole = stage, row, way, whole
        self._scraper = scraper
        self.result = Result()
        self.options = replace(row.options, program=generation.program)
        self.agent = stage.enter(QuietAgent(hello_s=row.hello_s, answer_s=row.answer_s, up=not row.absent))
        self.guard: Guard | None = None
        self.surfaces: Surfaces | None = None
        self.haproxy: Haproxy | None = None

    def begin(self, *agents: str) -> Haproxy:
        """Start guard and HAProxy before ``agents``, those addresses, or the agent."""
        address = ",".join(agents or [self.agent.address])
        if self.way.settings is not None:
            settings = {f"ROUTES__0__{key}": value for key, value in self.way.settings.items()}
            admin, prometheus = self._scraper.take()
            self.guard = self.stage.guard(address, settings=settings, admin=admin)
            self.surfaces = Surfaces(self.guard, prometheus, slack_s=0.0 if self.whole else SLACK_S)
            address = self.guard.address
        self.haproxy = self.stage.enter(ClosedHaproxy(self.stage.folder(), address, self.options))
        return self.haproxy

    def tap(self) -> Watch:
        """Put a tap before the agent."""
        return self.stage.enter(Watch(self.agent.address))

    @contextmanager
    def load(self, clients: int = 8, per_second: float | None = None, root: str = "/load") -> Iterator[Load]:
        """Ask until the end of ``with``; nothing is counted."""
        assert self.haproxy is not None
        with Load(self.haproxy, clients, None, per_second, _below(root)) as load:
            yield load

    def ask(self, count: int, clients: int = 1, per_second: float | None = None, root: str = "/load") -> Load:
        """Make so many requests, which count."""
        assert self.haproxy is not None
        with Load(self.haproxy, clients, count, per_second, _below(root)) as load:
            wait_until(lambda: len(load.seen) >= count, f"{count} requests", RUN_S)
        self.count(load)
        return load

    def count(self, load: Load, since: float = 0.0, until: float = float("inf")) -> None:
        """Count the requests of that load, which is over, that were made in that time."""
        for path, seen in load.seen.items():
            if since <= load.asked_at[path] < until:
                self.result.seconds.append(seen.seconds)
                self.result.got[outcome(seen, path)] += 1

    def get(self, path: str) -> str:
        """Make one request, which does not count; return what its client got."""
        assert self.haproxy is not None
        return outcome(self.haproxy.get(path), path)

    def ask_one(self, path: str) -> None:
        """Make one request, which counts."""
        assert self.haproxy is not None
        seen = self.haproxy.get(path)
        self.result.seconds.append(seen.seconds)
        self.result.got[outcome(seen, path)] += 1

    def hear(self, moment: str, since: float) -> None:
        """With the guard: wait until its five surfaces say what they have to say then; the scene goes on when they do not."""
        if self.surfaces is not None and (one_of := {**self.row.says, **self.way.says}.get(moment)):
            try:
                self.result.said[moment] = self.surfaces.hear(one_of, since)
            except AssertionError as error:
                self.result.unsaid[moment] = str(error)

    def metric(self, name: str) -> float:
        """Return that of the guard's only route."""
        assert self.guard is not None
        return self.guard.metric(f"spoe_guard_{name}", route=ROUTE)

    @property
    def processing_s(self) -> float:
        """`timeout processing`, in seconds."""
        text = self.options.processing
        return float(text.removesuffix("ms")) / 1000 if text.endswith("ms") else float(text.removesuffix("s"))

    @property
    def goes_down(self) -> bool:
        """Whether HAProxy's checks are told of an agent that is away."""
        listens = self.guard is not None and (self.way.settings or {}).get("HEALTH") != "listen"
        return not (self.options.plain_check and listens)

    def logs(self) -> str:
        """Return the last that HAProxy and the guard logged."""
        return "\n".join(peer.log()[-LOG_BYTES:] for peer in (self.haproxy, self.guard) if peer is not None)

    def end(self) -> Result:
        """Read HAProxy's log, and say what came of it."""
        assert self.haproxy is not None
        assert self.haproxy.alive()
        self.result.logged.update(f"st={code}" for code in LOGGED.findall(self.haproxy.log()))
        return self.result


def _below(root: str) -> Callable[[int], tuple[str, Mapping[str, str]]]:
    """Return what asks for paths that begin so."""
    return lambda number: (f"{root}/{number}", {})


def outcome(seen: Seen, path: str) -> str:
    """Say what the client of ``path`` got."""
    if seen.status == 0:
        return "no HTTP response"
    if seen.status == 403:
        return f"{CLOSED} ({seen.error})"
    if not seen.verdict:
        return UNCHECKED
    return ANSWERED if seen.verdict == path else "another's answer"
