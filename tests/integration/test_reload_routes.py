"""A route that is added and removed every second, beside one on which HAProxy is under load: that one notices nothing.

An ordinary run takes a few seconds; SPOE_GUARD_RELOAD_SECONDS=60 (``make reloads``) is the long version.
"""

import json
import os
import signal
import time

import pytest

from tests.integration import generations
from tests.integration.haproxy import Options, free, wait_until
from tests.integration.load import Load

SECONDS = int(os.environ.get("SPOE_GUARD_RELOAD_SECONDS") or 5)
EVERY_S = 1.0
UNDER_WAY = 100  # responses

PEERS = pytest.mark.parametrize("at", ["2.6", "3.2"])


def written(file, routes):
    file.write_text(f"routes: {json.dumps(routes)}\n")


@pytest.mark.timeout(SECONDS + 90)
@PEERS
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_route_beside_one_that_comes_and_goes_loses_nothing(stage, tmp_path, at, workers):
    agent = stage.agent_process("--delay", "0.005")
    where = ["{}:{}".format(*stage.enter(free()).getsockname()) for _ in range(2)]
    stays, comes = ({"name": name, "listen": each, "agent": agent.address} for name, each in zip("ab", where, strict=True))
    file = tmp_path / "guard.yaml"
    written(file, [stays])
    guard = stage.guard(None, config=file, settings={"WORKERS": workers})
    options = Options(program=generations.find(at).program)
    haproxy, other = stage.haproxy(where[0], options), stage.haproxy(where[1], options)
    with Load(haproxy) as load:
        wait_until(lambda: len(load.seen) >= UNDER_WAY, "the load is under way", 10)
        sessions = guard.metric("spoe_guard_connections_total", route="a")
        began = time.monotonic()
        served = 0
        for count in range(1, SECONDS + 1):
            is_there = bool(count % 2)
            written(file, [comes, stays] if is_there else [stays])
            guard.process.send_signal(signal.SIGHUP)
            wait_until(lambda count=count: len(guard.lines("reloaded")) == count, "the reload is over")
            if is_there:
                served += other.get(f"/other/{count}").verdict == f"/other/{count}"
            time.sleep(max(0.0, began + count * EVERY_S - time.monotonic()))  # that is how often
        so_far = len(load.seen)
        wait_until(lambda: len(load.seen) >= so_far + UNDER_WAY, "the load goes on", 10)
        assert guard.metric("spoe_guard_connections_total", route="a") == sessions
    assert {path for path, seen in load.seen.items() if (seen.status, seen.verdict) != (200, path)} == set()
    assert served == (SECONDS + 1) // 2
    assert guard.metric("spoe_guard_unanswered_notifies_total", route="a") == 0
    assert guard.metric("spoe_guard_connections_closed_total", route="a", by="guard") == 0
    assert guard.anomalies() == {}
    ended = [line for line in guard.lines("route_ended") if line["sessions"]]
    assert {(line["route"], line["reset"]) for line in ended} == {("b", 0)}
    assert guard.lines("worker_ended") == []
