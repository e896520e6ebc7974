"""A peer of one route throws bad frames as fast as it can: the other route loses no request, and the page names the peer."""

import itertools
import json
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pytest

from tests.integration.flood import FROM_AGENT, FROM_HAPROXY, Flood
from tests.integration.guard import Guard
from tests.integration.haproxy import Options, wait_until
from tests.integration.load import Load
from tests.integration.stage import Stage
from tests.service_manager import Manager

SIDES: Final[Mapping[str, Mapping[str, bytes]]] = {"haproxy": FROM_HAPROXY, "agent": FROM_AGENT}
# What the guard must have said of the kinds that grew dearer with each byte: fragments (S2), pieces (S3), a broken stream (S14).
MET: Final = {"haproxy": {"notify_oversize"}, "agent": {"fragmented_ack", "interleaved_frames", "garbled_stream"}}
BRIEFLY_S: Final = 1.0
LONG_S: Final = 10.0
PATIENT: Final = Options(processing="10s")
P99_S: Final = 0.02
LIFE_SIGN_S: Final = 1.0


@contextmanager
def flooded(stage: Stage, side: str, mode: str, seconds: float) -> Iterator[tuple[Guard, Load]]:
    """Yield a guard, the first of whose two routes was flooded from ``side`` for so long, and the load on the other."""
    with Flood(SIDES[side], by_agent=side == "agent") as flood:
        guard = stage.guard({"first": flood.address, "other": stage.agent().address}, mode=mode)
        haproxy = stage.haproxy(guard.addresses["other"], PATIENT)
        for number in range(5):
            assert haproxy.get(f"/warm/{number}").verdict == f"/warm/{number}"
        with Load(haproxy, clients=4, per_second=100) as load:
            flood.haproxy_at(guard.addresses["first"])
            time.sleep(seconds)
            wait_until(lambda: all(flood.thrown.values()), "every kind was thrown", 30)
    yield guard, load


def lost(load: Load) -> dict[str, Any]:
    return {path: seen for path, seen in load.seen.items() if seen.verdict != path or seen.error}


def status(guard: Guard) -> Any:
    with urllib.request.urlopen(f"http://{guard.admin}/api/status") as answer:
        return json.load(answer)


@pytest.mark.parametrize("mode", ["enforce", "observe"])
@pytest.mark.parametrize("side", SIDES)
def test_a_flood_at_one_route_costs_the_other_no_request(stage: Stage, side: str, mode: str) -> None:
    with flooded(stage, side, mode, BRIEFLY_S) as (guard, load):
        assert lost(load) == {}
        assert len(load.seen) > 10
        first, other = status(guard)["routes"]
        assert max(first["anomalies"], key=lambda row: row["count"])["side"] == side
        assert MET[side] <= {row["anomaly"] for row in first["anomalies"]}
        ended = [row for row in first["anomalies"] if row["anomaly"] == "glitch_flood"]
        assert [(row["side"], row["action"], row["applied"]) for row in ended] == [(side, "close", mode == "enforce")]
        closed = guard.metric("spoe_guard_connections_closed_total", route="first", reason="glitches")
        assert (closed > 0) == (mode == "enforce")
        assert (first["state"] != "ok", other["state"], other["sentence"]) == (True, "ok", "Served")


class LifeSigns:
    """When the guard told the service manager that it lives; the time in between is what a watchdog sees."""

    def __init__(self, folder: Path) -> None:
        self.at: list[float] = []
        self._manager = Manager(folder)
        self.address = self._manager.address
        self._thread = threading.Thread(target=self._hear)

    def _hear(self) -> None:
        while (lines := self._manager.hear()) != ["over"]:
            if "WATCHDOG=1" in lines:
                self.at.append(time.monotonic())

    def longest_gap_s(self) -> float:
        return max(later - before for before, later in itertools.pairwise(self.at.copy()))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"over", self.address)
        self._thread.join()
        self._manager.close()


@pytest.mark.measure
@pytest.mark.parametrize("mode", ["enforce", "observe"])
@pytest.mark.parametrize("side", SIDES)
def test_a_flood_at_one_route_does_not_slow_the_other(
    stage: Stage, side: str, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LifeSigns(tmp_path) as signs:
        monkeypatch.setenv("NOTIFY_SOCKET", signs.address)
        monkeypatch.setenv("WATCHDOG_USEC", "400000")
        with flooded(stage, side, mode, LONG_S) as (guard, load):
            took = sorted(seen.seconds for seen in load.seen.values())
            p50, p99, longest, gap = (took[len(took) // 2], took[len(took) * 99 // 100], took[-1], signs.longest_gap_s())
            print(f"{side} {mode}: {len(took)} requests, p50 {1000 * p50:.1f} ms, p99 {1000 * p99:.1f} ms, "
                  f"longest {1000 * longest:.1f} ms; longest time between life signs {1000 * gap:.0f} ms")  # fmt: skip
            assert lost(load) == {}
            assert status(guard)["routes"][1]["sentence"] == "Served"
            assert gap < LIFE_SIGN_S
            assert p99 < P99_S
