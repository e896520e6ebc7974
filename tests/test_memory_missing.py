"""Memory that nothing explains is told of."""

import asyncio
from types import SimpleNamespace
from typing import Any

from spoe_guard.collector import Found
from spoe_guard.run import process
from tests.net.stage import until


def test_the_log_says_what_was_found_where_memory_was_missing(monkeypatch):
    monkeypatch.setattr(process, "SUM_UP_EVERY_S", 0)
    said: list[tuple[str, str, dict[str, Any]]] = []
    found = iter((None, Found(objects=7, seconds=0.1234)))

    async def counted() -> None:
        pass

    async def play() -> None:
        observer = SimpleNamespace(journal=SimpleNamespace(sum_up=lambda: None))
        guard = SimpleNamespace(count_open=counted, load=None)
        collector = SimpleNamespace(look=lambda _load: next(found, None))
        log = SimpleNamespace(say=lambda level, event, **what: said.append((level, event, what)))
        task = asyncio.ensure_future(process._every_second(observer, guard, collector, log))
        await until(lambda: said)
        task.cancel()

    asyncio.run(play())
    [(level, event, what)] = said
    assert (level, event, what["found"], what["seconds"]) == ("warning", "memory_missing", 7, 0.123)
