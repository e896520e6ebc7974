"""HAProxy in front of several workers, one of which is killed under load."""

import os
import signal

from spoe_guard.lab.agent import Script
from tests.integration.haproxy import Options, wait_until
from tests.integration.load import Load

CLIENTS = 16  # more than one connection, so that both workers have some


def number(path: str) -> int:
    return int(path.rpartition("/")[2])


def test_haproxy_loses_no_more_than_what_a_killed_worker_had_in_hand(stage):
    agent = stage.agent(Script(delay_s=0.02))
    guard = stage.guard(agent.address, settings={"WORKERS": "2"})
    haproxy = stage.haproxy(guard.address, Options(spoe=("no option pipelining", "no option async")))
    workers = guard.lines("listening")[0]["workers"]
    with Load(haproxy, CLIENTS) as load:
        wait_until(lambda: guard.metric("spoe_guard_connections_active") >= CLIENTS / 2, "HAProxy has its connections")
        os.kill(workers["1"], signal.SIGKILL)
        wait_until(lambda: guard.lines("worker_started"), "it was started again", 10.0)
        asked = max(map(number, list(load.seen))) + CLIENTS  # those of which it is not known when they were asked
        wait_until(lambda: len(load.seen) > asked + CLIENTS, "requests go on")
    [ended] = guard.lines("worker_ended")
    assert ended["sessions"] > 0
    unanswered = [path for path, seen in load.seen.items() if seen.verdict != path]
    assert {seen.status for seen in load.seen.values()} == {200}
    assert len(unanswered) <= CLIENTS  # each client had at most one on its way
    assert max(map(number, unanswered), default=0) <= asked
    assert haproxy.alive()
    assert guard.metric("spoe_guard_worker_restarts_total") == 1
    wait_until(lambda: guard.metric("spoe_guard_workers") == 2, "both answer")
