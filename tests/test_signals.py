"""The signals that fingers know from HAProxy and nginx: SIGQUIT stops gracefully, the others do nothing and say so."""

import asyncio
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from spoe_guard.lab.engine import Engine
from spoe_guard.net import loop as event_loop
from spoe_guard.observe.logs import Log
from spoe_guard.run.process import IGNORED, STOPS, stop_signals
from spoe_guard.run.reload import hang_ups
from spoe_guard.wire import frame
from tests.integration.agent import AgentThread
from tests.running import START_S, Running, end_all, until

OTHERS = [signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM]
WAYS = pytest.mark.parametrize(
    ("loop", "options"), [("uvloop", ()), ("asyncio", ()), ("uvloop", ("--workers", "2"))], ids=["uvloop", "asyncio", "workers"]
)


@pytest.fixture
def run_guard(tmp_path) -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def start(agent: str = "127.0.0.1:9", *options: str, **named: Any) -> Running:
        running.append(Running(tmp_path, agent, *options, **named))
        return running[-1]

    yield start
    end_all(running)


@pytest.fixture
def handlers_put_back() -> Iterator[None]:
    """This process has its handlers again, and SIGHUP is no longer blocked."""
    before = {number: signal.getsignal(number) for number in (*STOPS, *IGNORED, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGHUP,))


@WAYS
def test_others_are_ignored_with_a_line_and_sigquit_drains(run_guard, options, loop):
    async def talk(port: int) -> None:
        async with await Engine.tcp(port, deadline_s=START_S) as engine:
            await engine.hello()
            for pid in pids:
                for number in OTHERS:
                    os.kill(pid, number)
            expected = sorted(number.name for number in OTHERS) * len(pids)
            await asyncio.to_thread(until, lambda: len(guard.log("signal_ignored")) == len(expected))
            assert sorted(line["signal"] for line in guard.log("signal_ignored")) == sorted(expected)
            await engine.notify(b"/x")
            answer = await engine.read()
            assert answer is not None
            assert answer.type == frame.ACK

    with AgentThread() as agent:
        guard = run_guard(agent.address, *options, settings={"SPOE_GUARD_LOOP": loop})
        listening = guard.wait_for("listening")
        pids = [listening["pid"], *listening.get("workers", {}).values()]
        asyncio.run(talk(int(listening["routes"]["default"].rpartition(":")[2])))
        assert guard.stop(signal.SIGQUIT)[0] == 0
        assert [line["signal"] for line in guard.log("draining")] == ["SIGQUIT"]
        assert [line["clean"] for line in guard.log("stopped")] == [True]


def test_such_a_signal_while_it_starts_does_not_end_it(run_guard):
    guard = run_guard()
    until(lambda: _ignores_or_handles(guard.process.pid, OTHERS[-1]))
    for number in OTHERS:
        guard.process.send_signal(number)
    guard.wait_for("listening")
    assert guard.stop()[0] == 0


def _ignores_or_handles(pid: int, number: signal.Signals) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    return any(int(status.partition(kind)[2].split()[0], 16) >> (number - 1) & 1 for kind in ("SigCgt:", "SigIgn:"))


@pytest.mark.usefixtures("handlers_put_back")
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_from_the_last_log_line_to_the_end_they_are_ignored(monkeypatch, loop):
    monkeypatch.setenv("SPOE_GUARD_LOOP", loop)

    async def main() -> None:
        with stop_signals(Log(Lines(), "json", "info")):
            assert signal.SIG_IGN not in [signal.getsignal(number) for number in OTHERS]

    event_loop.run(main())
    assert [signal.getsignal(number) for number in OTHERS] == [signal.SIG_IGN] * len(OTHERS)


@pytest.mark.usefixtures("handlers_put_back")
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_signals_that_come_while_the_loop_takes_up_another_one_count_once(monkeypatch, loop):
    """A SIGTERM that counted as two would end the sessions in place of draining them."""
    monkeypatch.setenv("SPOE_GUARD_LOOP", loop)
    ignored, stops, hang_ups_seen = Ignored(), [], []

    async def main() -> None:
        with stop_signals(Log(ignored, "json", "info")) as came, hang_ups(lambda: hang_ups_seen.append(signal.SIGHUP)):
            first = signal.getsignal(signal.SIGALRM)

            def and_others(number: int, where: FrameType | None) -> None:  # the loop has read its pipe and asks Python
                first(number, where)
                for other in (signal.SIGUSR2, signal.SIGHUP, signal.SIGTERM):
                    os.kill(os.getpid(), other)

            signal.signal(signal.SIGALRM, and_others)
            signal.setitimer(signal.ITIMER_REAL, 0.02)  # the loop has nothing to do by then
            stops.append(await asyncio.wait_for(came.get(), START_S))
            os.kill(os.getpid(), signal.SIGUSR1)  # behind all others
            await asyncio.wait_for(ignored.wait_for("SIGUSR1"), START_S)
            while not came.empty():
                stops.append(came.get_nowait())

    event_loop.run(main())
    assert ignored.names == ["SIGALRM", "SIGUSR2", "SIGUSR1"]
    assert stops == [signal.SIGTERM]
    assert hang_ups_seen == [signal.SIGHUP]


class Ignored:
    """A log's sink that keeps which signals were ignored."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._another = asyncio.Event()

    def write(self, line: str) -> bool:
        self.names.append(json.loads(line)["signal"])
        self._another.set()
        return True

    async def wait_for(self, name: str) -> None:
        while name not in self.names:
            self._another.clear()
            await self._another.wait()


class Lines:
    def write(self, line: str) -> bool:
        raise AssertionError(line)
