"""How a worker tells its numbers."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

from prometheus_client.registry import Collector

from spoe_guard.observe.stats import RouteStats
from spoe_guard.run.workers import worker
from spoe_guard.run.workers.worker import _Worker
from tests.workers.turns import every_step_is_a_slice, turns_of

MANY = 30


def telling(routes: dict[str, RouteStats], sent: list[dict[str, Any]]) -> _Worker:
    """Return as much of a worker as tells its numbers."""
    made = object.__new__(_Worker)
    made._process = SimpleNamespace(observer=SimpleNamespace(routes=routes))  # type: ignore[assignment]
    made._channel = SimpleNamespace(send=sent.append)  # type: ignore[assignment]
    made._process_metrics = None  # type: ignore[assignment]
    made._telling = asyncio.Lock()
    return made


def test_numbers_are_told_route_by_route_and_the_newest_last(monkeypatch):
    """Where the first telling takes long, the second one does not overtake it: no counter goes back."""
    every_step_is_a_slice(monkeypatch)
    routes = {f"r{number}": RouteStats() for number in range(MANY)}
    sent: list[dict[str, Any]] = []
    asked = []

    async def main() -> None:
        go_on = asyncio.Event()

        async def collected(_process: Collector) -> list[Any]:
            asked.append(1)
            if len(asked) == 1:
                await go_on.wait()
            return []

        monkeypatch.setattr(worker, "collected", collected)
        made = telling(routes, sent)
        first = asyncio.ensure_future(made._tell_numbers(id=1, answer=True))
        second = asyncio.ensure_future(made._tell_numbers(id=2, answer=True))
        for _ in range(5 * MANY):
            await asyncio.sleep(0)
        assert sent == []
        for stats in routes.values():
            stats.connections = stats.open = 1
        go_on.set()
        await asyncio.gather(first, second)
        turns, _ = await turns_of(made._tell_numbers())
        assert turns > MANY

    asyncio.run(main())
    assert [message.get("id") for message in sent] == [1, 2, None]
    assert [message["numbers"]["sessions"] for message in sent] == [MANY, MANY, MANY]
    told = [{json.loads(part)["connections"] for part in message["parts"]} for message in sent]
    assert told == [{0}, {1}, {1}]
    assert all(message["numbers"]["routes"] == list(routes) for message in sent)
