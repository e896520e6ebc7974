"""An HAProxy from 3.1 on that does not run for moments, in the middle of bursts of ACKs: no request is lost to it (hazard A1).

SIGSTOP stands for whatever keeps it from running. An ordinary run plays a selection, briefly; SPOE_GUARD_STOP_REQUESTS=20000
(``make stops``) plays every row with so many requests.
"""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import pytest

from spoe_guard.lab import frames
from spoe_guard.lab.agent import Script
from spoe_guard.wire import frame
from tests.integration import generations
from tests.integration.haproxy import Haproxy, Options
from tests.integration.hazards import results
from tests.integration.stage import Stage

ASKED: Final = os.environ.get("SPOE_GUARD_STOP_REQUESTS")
REQUESTS: Final = int(ASKED or 600)
CLIENTS: Final = 20  # as many NOTIFYs as HAProxy has open on one connection
AFTERWARDS: Final = 40  # requests, when HAProxy runs again
RUNS_S: Final = 0.02  # between two stops HAProxy runs for so long, and no shorter than it stops
ANSWER_S: Final = 0.004  # the agent takes so long, so that NOTIFYs are open at any stop
MOST_BARE: Final = 20000  # until one is lost
SLOWEST_S: Final = 30.0  # a request of the test's own, whatever HAProxy does
LOOPS: Final = 3

DEFAULT_BUFSIZE: Final = 16384
SIZES: Final = (200, 900, 2000, 15000)  # of an ACK on the wire
STOPS_S: Final = (0.001, 0.003, 0.01, 0.05, 0.2)
NAME: Final = b"verdict"


@dataclass(frozen=True)
class Row:
    """``size``: bytes of each ACK; ``stop_s``: HAProxy stands still for so long, again and again."""

    size: int
    stop_s: float
    threads: int
    unix: bool
    bufsize: int = DEFAULT_BUFSIZE

    def __str__(self) -> str:
        stop = f"stopped for {1000 * self.stop_s:g} ms" if self.stop_s else "beside busy loops"
        threads = "one thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{stop}, ACKs of {self.size} bytes, {threads}, {'Unix' if self.unix else 'TCP'}"


EVERY_ROW: Final = [
    Row(size, stop_s, threads, unix) for size, stop_s, threads, unix in itertools.product(SIZES, STOPS_S, (1, 4), (False, True))
]
SELECTION: Final = [Row(900, 0.01, 1, unix=False), Row(2000, 0.05, 4, unix=True), Row(15000, 0.003, 1, unix=False)]
BARE: Final = [Row(900, 0.05, 1, unix=False), Row(2000, 0.05, 1, unix=True), Row(15000, 0.01, 1, unix=False)]
WHOLE: Final = results.folder() is not None  # `make hazards`: the same rows with the guard and without it
ROWS: Final = EVERY_ROW if ASKED else BARE if WHOLE else SELECTION
LONG: Final = pytest.mark.timeout(60 + REQUESTS / 20)


def padded(size: int) -> Callable[[frame.Frame], bytes]:
    """Return what answers a NOTIFY with an ACK of ``size`` bytes: the verdict, and another variable that is long."""

    def answer(notify: frame.Frame) -> bytes:
        verdict = frames.text_verdict(NAME, frames.first_argument(notify))
        bare = len(frames.ack(notify, verdict + frames.text_verdict(b"more", b"x" * 100)))
        return verdict + frames.text_verdict(b"more", b"x" * max(size - bare + 100, 0))

    return answer


async def ask(port: int, path: str) -> str:
    """Return the verdict that HAProxy has for a request for ``path``, empty if it has none."""
    async with asyncio.timeout(SLOWEST_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
        lines = (await reader.read()).decode().splitlines()
        writer.close()
        await writer.wait_closed()
    return next((line.partition(": ")[2] for line in lines if line.startswith("verdict: ")), "")


@dataclass
class Asking:
    """Clients that ask HAProxy for one path after another, ``most`` in all. ``lost``: those that got no verdict of their own.

    ``one_is_enough``: they stop when one is lost; those under way may be lost, too.
    """

    port: int
    name: str
    most: int
    one_is_enough: bool = True
    lost: list[str] = field(default_factory=list)

    def _paths(self) -> Iterator[str]:
        for number in range(self.most):
            if self.lost and self.one_is_enough:
                return
            yield f"/{self.name}/{number}"

    async def by(self, clients: int) -> list[str]:
        paths = self._paths()
        await asyncio.gather(*(self._client(paths) for _ in range(clients)))
        return self.lost

    async def _client(self, paths: Iterator[str]) -> None:
        for path in paths:
            if await ask(self.port, path) != path:
                self.lost.append(path)


async def stop_again_and_again(haproxy: Haproxy, stop_s: float) -> None:
    try:
        while True:
            await asyncio.sleep(max(RUNS_S, stop_s))
            haproxy.process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(stop_s)
            haproxy.process.send_signal(signal.SIGCONT)
    finally:
        haproxy.process.send_signal(signal.SIGCONT)


async def lost_of(haproxy: Haproxy, stop_s: float, during: Asking) -> tuple[list[str], list[str]]:
    """Return which requests were lost during the stops, and which of AFTERWARDS then."""
    async with asyncio.TaskGroup() as stops:
        stopping = stops.create_task(stop_again_and_again(haproxy, stop_s)) if stop_s else None
        await during.by(CLIENTS)
        if stopping is not None:
            stopping.cancel()
    return during.lost, await Asking(haproxy.port, "after", AFTERWARDS, one_is_enough=False).by(1)


def lost(stage: Stage, row: Row, *, guarded: bool) -> tuple[list[str], list[str]]:
    """Play ``row``; see ``lost_of``."""
    agent = stage.agent(Script(answer=padded(row.size), delay_s=ANSWER_S), unix=row.unix)
    address = agent.address
    guard = None
    if guarded:
        listen = f"unix:{stage.folder()}/guard.sock" if row.unix else "127.0.0.1:0"
        guard = stage.guard(address.replace("unix@", "unix:"), listen=listen)
        address = guard.address
    options = Options(
        program=generations.find("3.2").program,
        processing="2s" if guarded else "200ms",
        tune=f"nbthread {row.threads}\n    tune.bufsize {row.bufsize}",
    )
    haproxy = stage.haproxy(address, options)
    during = Asking(haproxy.port, "during", REQUESTS if guarded else MOST_BARE)
    found = asyncio.run(lost_of(haproxy, row.stop_s, during))
    if guard is not None:
        assert guard.anomalies() == {}
    asked = REQUESTS if guarded else MOST_BARE
    if row.bufsize == DEFAULT_BUFSIZE:
        results.keep("stops", id=str(row), guarded=guarded, asked=asked, during=len(found[0]), after=len(found[1]))
    return found


@LONG
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_no_request_is_lost_to_an_haproxy_that_stands_still_for_moments(stage: Stage, row: Row) -> None:
    assert lost(stage, row, guarded=True) == ([], [])


@LONG
@pytest.mark.parametrize("unix", [False, True])
def test_no_request_is_lost_to_an_haproxy_with_a_small_buffer(stage: Stage, unix: bool) -> None:
    assert lost(stage, Row(900, 0.01, 1, unix=unix, bufsize=4096), guarded=True) == ([], [])


@pytest.mark.parametrize("row", BARE, ids=str)
def test_without_the_guard_requests_are_lost_even_when_it_runs_again(stage: Stage, row: Row) -> None:
    """It goes on to give requests to the connection that is dead."""
    during, afterwards = lost(stage, row, guarded=False)
    assert during
    assert afterwards


@pytest.fixture
def busy() -> Iterator[None]:
    """Three processes that take all the CPU they get."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(LOOPS)]
    yield
    for loop in loops:
        loop.kill()
        loop.wait()


@pytest.mark.skipif(not ASKED, reason="the long version alone: it takes this machine's CPUs, make stops")
@LONG
@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize("size", SIZES)
def test_no_request_is_lost_on_a_machine_that_is_busy(stage: Stage, size: int) -> None:
    assert lost(stage, Row(size, 0.0, 1, unix=False), guarded=True) == ([], [])
