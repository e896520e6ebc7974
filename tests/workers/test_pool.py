"""The pool and faulty workers, as processes."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from spoe_guard.observe.health import Health
from spoe_guard.run.workers.pool import StartError, Timing, WorkerPool
from spoe_guard.run.workers.totals import Numbers
from spoe_guard.run.workers.views import PoolExposition, PoolHealth, PoolLive
from spoe_guard.run.workers.worker_process import WorkerProcess, start
from tests.observe.conftest import Lines
from tests.workers import fakes

WITHIN_S = 10.0
QUICK = Timing(start=WITHIN_S, ask=0.5, every=0.05, silent=0.6)


class Played:
    """A crew of fakes: ``programs`` by number of start, the last one for all that come after.

    ``replace``: none of those that come after the first ``count`` is started before it is set.
    """

    def __init__(self, count: int, *programs: str, timing: Timing = QUICK) -> None:
        self.lines = Lines()
        self.programs = list(programs)
        self.starts: list[float] = []
        self.workers: list[WorkerProcess] = []
        self.pool = WorkerPool(count, self._spawn, ["default"], self.lines.log(), timing)
        self.replace = asyncio.Event()
        self.replace.set()
        self._count = count

    async def _spawn(self, number: int) -> WorkerProcess:
        if len(self.starts) >= self._count:
            await self.replace.wait()
        self.starts.append(time.monotonic())
        program = self.programs.pop(0) if len(self.programs) > 1 else self.programs[0]
        told = {**fakes.numbers(10), "rows": {"1": fakes.rows(1, 1, 3), "2": fakes.rows(2, 2, 4)}}
        self.workers.append(await start(number, told, {}, 1, ("-S", "-c", fakes.PROLOGUE + program)))
        return self.workers[-1]

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines.logged if line["event"] == event]

    def pids_alive(self) -> list[int]:
        return [worker.process.pid for worker in self.workers if Path(f"/proc/{worker.process.pid}").exists()]


def play(pool: Played, scene: Callable[[Played], Awaitable[None]]) -> Played:
    async def main() -> None:
        try:
            await scene(pool)
        finally:
            await pool.pool.kill()

    asyncio.run(main())
    assert pool.pids_alive() == []
    return pool


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("program", "why", "timing"),
    [
        (fakes.DIES_AT_ONCE, "worker 2: exit code 7", QUICK),
        (fakes.CANNOT, "worker 2: no room here", QUICK),
        ("os.kill(os.getpid(), 9)", "worker 2: killed by SIGKILL", QUICK),
        (fakes.NEVER_LISTENS, "worker 2 does not listen after 2 s", Timing(start=2.0)),
    ],
)
def test_a_worker_that_does_not_listen_ends_the_start_for_good(program, why, timing):
    async def scene(played: Played) -> None:
        with pytest.raises(StartError, match=f"^{why}$"):
            await played.pool.start()

    played = play(Played(2, fakes.SERVES, program, timing=timing), scene)
    assert len(played.starts) == 2
    assert played.lines.logged == []


def test_a_worker_that_keeps_dying_is_started_again_ever_more_slowly(monkeypatch):
    monkeypatch.setattr("spoe_guard.run.workers.pause.LONGEST_S", 0.3)

    async def scene(played: Played) -> None:
        await played.pool.start()
        await until(lambda: len(played.starts) == 6)

    played = play(Played(2, fakes.SERVES, fakes.DIES_WHEN_IT_LISTENS), scene)
    assert [line["again_in"] for line in played.logged("worker_ended")][:4] == [0.1, 0.2, 0.3, 0.3]
    gaps = [after - before for before, after in zip(played.starts[1:], played.starts[2:], strict=False)]
    assert all(gap >= wanted for gap, wanted in zip(gaps, (0.1, 0.2, 0.3, 0.3), strict=True))
    assert played.pool.restarts >= 4
    ended = played.logged("worker_ended")[0]
    assert (ended["worker"], ended["how"], ended["level"]) == (2, "exit code 7", "warning")


def test_one_that_cannot_be_started_again_is_tried_again():
    async def scene(played: Played) -> None:
        await played.pool.start()
        await until(lambda: len(played.starts) == 4)
        await until(lambda: played.logged("worker_started"))

    played = play(Played(1, fakes.DIES_WHEN_IT_LISTENS, fakes.CANNOT, fakes.DIES_AT_ONCE, fakes.SERVES), scene)
    assert [line["how"] for line in played.logged("worker_ended")] == ["exit code 7", "no room here", "exit code 7"]
    assert played.logged("worker_started")[0]["pid"] == played.workers[-1].process.pid


def test_no_process_to_be_had_is_said_and_tried_again():
    async def scene(played: Played) -> None:
        spawn, failed = played.pool._spawn, []

        async def fails_once(number: int) -> WorkerProcess:
            if not failed:
                failed.append(number)
                raise BlockingIOError(11, "Resource temporarily unavailable")
            return await spawn(number)

        await played.pool.start()
        played.pool._spawn = fails_once
        played.workers[0].process.kill()
        await until(lambda: played.logged("worker_started"))

    played = play(Played(1, fakes.SERVES), scene)
    assert [line["how"] for line in played.logged("worker_ended")] == [
        "killed by SIGKILL",
        "cannot be started: Resource temporarily unavailable",
    ]


def test_a_hung_worker_keeps_its_counts_unreadies_the_guard_and_is_replaced():
    async def scene(played: Played) -> None:
        health = PoolHealth(played.pool)
        health.listening = True
        await played.pool.start()
        await played.pool.refresh()
        assert played.pool.totals.routes["default"].connections == 20
        played.replace.clear()
        await until(lambda: not health.ready()[0])
        assert health.ready()[1].endswith("worker 2: no answer\nworkers: 1 of 2\n")
        assert b"\nspoe_guard_workers 1.0\n" in b"".join(await PoolExposition(played.pool, {}).render())
        assert played.pool.totals.routes["default"].connections == 20
        played.replace.set()
        await until(lambda: played.logged("worker_started"))
        await played.pool.refresh()
        assert health.ready() == (True, "default: ready, the agent was not dialled yet\nworkers: 2 of 2\n")
        assert played.pool.totals.routes["default"].connections == 30
        assert played.pool.totals.routes["default"].open == 20

    played = play(Played(2, fakes.SERVES, fakes.FALLS_SILENT, fakes.SERVES), scene)
    assert [line["worker"] for line in played.logged("worker_hung")] == [2]
    assert played.logged("worker_ended")[0]["sessions"] == 10


def test_the_guard_is_ready_as_long_as_a_worker_is_left(monkeypatch):
    monkeypatch.setattr("spoe_guard.run.workers.pause.SHORTEST_S", WITHIN_S)

    async def scene(played: Played) -> None:
        health: Health = PoolHealth(played.pool)
        await played.pool.start()
        assert health.ready() == (False, "not listening yet\n")
        health.listening = True
        for left in (1, 0):
            played.workers[left].process.kill()
            await until(lambda: len(played.pool.workers) == left)  # noqa: B023  awaited in this turn
            assert health.ready() == (left > 0, f"default: ready, the agent was not dialled yet\nworkers: {left} of 2\n")
        health.draining = True
        assert health.ready() == (False, "draining: the guard is stopping\n")

    play(Played(2, fakes.SERVES), scene)


def test_one_sum_is_made_at_a_time_and_shared():
    """An older one would take the place of a newer one."""

    async def scene(played: Played) -> None:
        pool, sum_up, log = played.pool, played.pool.totals.sum_up, []
        go_on = asyncio.Event()

        async def slow(living: Iterable[Numbers]) -> None:
            log.append("begins")
            await go_on.wait()
            await sum_up(living)
            log.append("ends")

        pool.totals.sum_up = slow
        await pool.start()
        first = asyncio.ensure_future(pool.refresh())
        await until(lambda: log == ["begins"])
        others = [asyncio.ensure_future(pool.refresh()) for _ in range(3)]
        await until(lambda: pool._next_sum is not None)
        await asyncio.gather(*(worker.ask("numbers", WITHIN_S) for worker in pool.workers))  # theirs are answered, too
        others[0].cancel()
        assert log == ["begins"]
        go_on.set()
        await asyncio.gather(first, *others[1:])
        assert log == ["begins", "ends"] * 2
        assert pool.totals.routes["default"].connections == 20

    play(Played(2, fakes.SERVES, timing=Timing(every=WITHIN_S)), scene)


def test_workers_can_be_asked_for_anything_they_know():
    async def scene(played: Played) -> None:
        await played.pool.start()
        assert await played.pool.ask("status") == {1: ["status", 1], 2: ["status", 2]}

    play(Played(2, fakes.SERVES), scene)


def test_the_live_page_covers_all_workers_and_keeps_the_dead_ones_incidents(monkeypatch):
    monkeypatch.setattr("spoe_guard.run.workers.pause.SHORTEST_S", WITHIN_S)

    async def scene(played: Played) -> None:
        live = PoolLive(played.pool, health := PoolHealth(played.pool), {"version": "1"}, "observe")
        await played.pool.start()
        assert (await live.status())["sentence"] == "Not listening yet."
        health.listening = True
        status, other = await asyncio.gather(live.status(), live.status())
        together = [["2-At4"], ["1-At3"], ["2-At2"], ["1-At1"], ["1-All", "2-All"]]
        for each in (status, other):
            assert [row["ids"] for row in each["incidents"]] == together
            assert [row["count"] for row in each["incidents"]] == [1, 1, 1, 1, 2]
            assert (each["incidents"][4]["first_worker"], each["incidents"][4]["last_worker"]) == (1, 2)
        assert status["guard"]["workers"] == {"count": 2, "well": 2, "restarts": 0}
        assert (status["guard"]["mode"], status["state"], status["sentence"]) == ("observe", "ok", "All is well.")
        assert status["routes"][0]["total"]["sessions"] == status["routes"][0]["now"]["sessions"] == 20
        played.workers[1].process.kill()
        await until(lambda: len(played.pool.workers) == 1)
        status = await live.status()
        assert [row["ids"] for row in status["incidents"]] == together
        assert status["guard"]["workers"] == {"count": 2, "well": 1, "restarts": 0}
        assert (status["state"], status["sentence"]) == ("degraded", "1 of 2 workers answer.")
        assert (status["routes"][0]["total"]["sessions"], status["routes"][0]["now"]["sessions"]) == (20, 10)

    play(Played(2, fakes.SERVES), scene)


def test_a_point_of_the_history_is_of_its_own_moment():
    async def scene(played: Played) -> None:
        live = PoolLive(played.pool, PoolHealth(played.pool), {})
        await played.pool.start()
        await live.sample()
        assert live.history.of["default"].samples()["sessions"] == [20]

    play(Played(2, fakes.SERVES, timing=Timing(every=WITHIN_S)), scene)


@pytest.mark.parametrize(("program", "counted"), [(fakes.SERVES, 10), (fakes.DEAF, 0)])
def test_who_does_not_stop_in_time_is_killed(program, counted):
    async def scene(played: Played) -> None:
        await played.pool.start()
        [process] = [worker.process for worker in played.workers]
        await played.pool.stop(WITHIN_S if counted else 0.3)
        assert process.returncode == (0 if counted else -signal.SIGKILL)

    slow = Timing(start=WITHIN_S, every=WITHIN_S)  # nobody was asked before: it counts what was said at the end
    played = play(Played(1, program, timing=slow), scene)
    asyncio.run(played.pool.totals.sum_up([]))
    assert played.pool.totals.routes["default"].connections == counted
    assert played.logged("worker_ended") == []
