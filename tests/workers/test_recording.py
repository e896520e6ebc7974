"""The flight recorder when several workers write to one folder."""

import asyncio

import pytest

from spoe_guard.capture.files.read import read
from spoe_guard.capture.record.store import WAITING
from spoe_guard.lab.agent import ScriptedAgent
from tests.workers.talk import ENGINES, address_of, engines, metrics, until_it_is, with_agent, workers_of

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
WRITTEN = "spoe_guard_captures_written_total"


@pytest.mark.parametrize("files", [100, 3])
def test_every_worker_records_and_they_keep_the_bounds_of_the_folder_together(run_guard, tmp_path, files):
    folder = tmp_path / "captures"
    folder.mkdir()
    capture = {"DIR": str(folder), "FILES": str(files), "RATE": "100/s"}

    async def talk(_agent: ScriptedAgent, port: int) -> None:
        settings = {f"SPOE_GUARD_CAPTURE__{key}": value for key, value in capture.items()}
        guard = run_guard(f"127.0.0.1:{port}", settings=settings)
        async with engines(address_of(guard)) as opened:
            for done in range(WAITING, ENGINES + 1, WAITING):  # of more at a time there might be no room for some
                for engine in opened[done - WAITING : done]:
                    await engine.send(GET)
                await until_it_is(lambda done=done: len(guard.log("capture_written")) == done)
        assert (await asyncio.to_thread(metrics, guard))[WRITTEN] == ENGINES
        kept = list(folder.iterdir())
        assert len(kept) == min(files, ENGINES)
        assert {int(path.stem.rpartition("-")[2]) for path in kept} <= set(workers_of(guard).values())
        assert {line["worker"] for line in guard.log("capture_written")} == {1, 2}
        assert all(read(str(path)) for path in kept)
        assert (await asyncio.to_thread(guard.stop))[0] == 0

    with_agent(talk)
