"""HAProxy in front of several workers; one is killed under load."""

import os
import signal

import pytest

from spoe_guard.lab.agent import Script
from tests.integration.haproxy import NEVER_SENT, Options, wait_until
from tests.integration.load import Load

CLIENTS = 16  # more than one connection, so that both workers have some
TIMED_OUT, BROKEN = "1", "257"  # HAProxy's words for why a request has no answer: st= in its log


def number(path: str) -> int:
    return int(path.rpartition("/")[2])


@pytest.mark.parametrize("spoe", ["no option pipelining", "option pipelining"])
def test_haproxy_loses_no_more_than_what_a_killed_worker_had_in_hand(stage, spoe):
    agent = stage.agent(Script(delay_s=0.02))
    guard = stage.guard(agent.address, settings={"WORKERS": "2", "LOG__LEVEL": "debug"})
    haproxy = stage.haproxy(guard.address, Options(spoe=(spoe, "no option async")))
    workers = guard.lines("listening")[0]["workers"]
    with Load(haproxy, CLIENTS) as load:
        wait_until(lambda: len(load.seen) > 2 * CLIENTS, "requests are answered")
        killed = guard.lines("session_opened")[0]["worker"]
        assert guard.metric("spoe_guard_connections_active") > 1  # and now the parent knows how many each has
        os.kill(workers[str(killed)], signal.SIGKILL)
        wait_until(lambda: guard.lines("worker_ended"), "its end is seen")
        asked = max(map(number, list(load.seen))) + CLIENTS  # those of which it is not known when they were asked
        wait_until(lambda: guard.lines("worker_started"), "it was started again", 10.0)
        again = max(map(number, list(load.seen))) + CLIENTS
        wait_until(lambda: len(load.seen) > again + CLIENTS, "requests go on")
    [ended] = guard.lines("worker_ended")
    assert ended["worker"] == killed
    assert ended["sessions"] > 0
    assert {seen.status for seen in load.seen.values()} == {200}
    unanswered = {path: seen.error for path, seen in load.seen.items() if seen.verdict != path}
    assert set(unanswered.values()) <= {TIMED_OUT, BROKEN}
    broken = [number(path) for path, error in unanswered.items() if error == BROKEN]
    assert max(broken, default=0) <= asked
    assert list(unanswered.values()).count(TIMED_OUT) == len(NEVER_SENT.findall(haproxy.log()))
    assert haproxy.alive()
    assert guard.metric("spoe_guard_worker_restarts_total") == 1
    wait_until(lambda: guard.metric("spoe_guard_workers") == 2, "both answer")
