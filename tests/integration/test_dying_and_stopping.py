"""Agents are killed, and guards and HAProxys are stopped, all in the middle of their work."""

import time

import pytest

from spoe_guard.lab.agent import Script
from spoe_guard.lab.frames import first_argument
from spoe_guard.lab.misbehaviour import MISBEHAVIOURS
from tests.integration.haproxy import Options, need_2_6, wait_until
from tests.integration.load import Load

UNDER_WAY = 200  # responses, before something happens
DELAY_S = 0.02  # of each answer, so that NOTIFYs are open at any time
REST_S = 5.0
STOPS_WITHIN_S = 20.0
AT_REST = 0.05  # of one core
BUSY = 100  # connections tried for one request
REFUSED_AFTER_S = 0.25  # no sooner is HAProxy told that there is no agent
LATE = "1"  # `timeout processing`


def share_of_a_core(haproxy, action):
    """Return how much of one core HAProxy used while ``action`` ran."""
    used, began = haproxy.cpu_s(), time.monotonic()
    action()
    return (haproxy.cpu_s() - used) / (time.monotonic() - began)


def test_an_agent_killed_under_load_costs_no_answer_that_it_gave(stage):
    agent = stage.agent_process("--delay", str(DELAY_S))
    guard = stage.guard(agent.address)
    haproxy = stage.haproxy(guard.address)
    with Load(haproxy) as load:
        wait_until(lambda: len(load.seen) >= UNDER_WAY, "the load is under way", 10)
        answered = agent.kill()
        successor = stage.agent_process("--delay", str(DELAY_S), port=agent.port)
        so_far = len(load.seen)
        wait_until(lambda: len(load.seen) >= so_far + UNDER_WAY, "the load goes on with the next agent", 10)
    answered |= successor.answered()
    assert len(answered) >= 2 * UNDER_WAY - 2 * len(load.threads)
    lost = {path: seen for path, seen in load.seen.items() if seen.verdict != path}
    assert not answered & lost.keys()
    assert {(seen.status, seen.verdict) for seen in lost.values()} == {(200, "")}
    assert all(seen.error for seen in lost.values())  # 269, or what HAProxy makes of having no agent to connect to
    assert guard.metric("spoe_guard_unanswered_notifies_total", reason="agent_gone") >= 1
    assert guard.anomalies()["disconnect_missing"] >= 1
    assert guard.anomalies().keys() <= {"disconnect_missing", "notify_unanswered", "agent_unreachable"}
    assert share_of_a_core(haproxy, lambda: time.sleep(REST_S)) < AT_REST  # this is the measurement
    assert haproxy.get("/after").verdict == "/after"


@pytest.mark.parametrize("guarded", [False, True], ids=["without_guard", "with_guard"])
def test_a_dead_agent_keeps_haproxy_busy_only_without_the_guard(stage, guarded):
    """An applet HAProxy connects anew thousands of times a second for one waiting request."""
    agent = stage.agent_process()
    guard = stage.guard(agent.address) if guarded else need_2_6("from 3.1 on it tries once per request")
    haproxy = stage.haproxy(guard.address if guard else agent.address)
    assert haproxy.get("/before").verdict == "/before"
    agent.kill()
    seen = haproxy.get("/dead")
    assert seen.verdict == ""
    assert seen.error
    if guard:
        assert not haproxy.refused()
        assert guard.metric("spoe_guard_connections_total") <= 2 + seen.seconds / REFUSED_AFTER_S
        assert guard.metric("spoe_guard_agent_connect_failures_total", reason="refused") >= 1
    else:
        assert haproxy.refused() > BUSY
    stage.agent_process(port=agent.port)
    assert haproxy.get("/after").verdict == "/after"


def test_a_guard_that_is_told_to_stop_under_load_loses_no_answer(stage):
    agent = stage.agent(Script(delay_s=DELAY_S))
    guard = stage.guard(agent.address)
    # One NOTIFY at a time: on a connection with several there may always be one open, up to the end of disconnect_hold.
    haproxy = stage.haproxy(guard.address, Options(spoe=("no option pipelining", "no option async")))
    with Load(haproxy) as load:
        wait_until(lambda: len(load.seen) >= UNDER_WAY, "the load is under way", 10)
        assert guard.metric("spoe_guard_open_notifies") > 0
        guard.terminate()
        assert guard.wait_stopped() == 0
    answered = {first_argument(notify).decode() for notify in agent.agent.answered}
    assert len(answered) >= UNDER_WAY
    assert len(answered) == agent.agent.notifies  # what had reached the agent was waited for
    assert {path for path in answered if load.seen[path].verdict != path} == set()
    assert guard.lines("stopped")[0]["clean"] is True


def test_a_guard_stops_at_once_when_nothing_is_open(stage):
    agent = stage.agent()
    guard = stage.guard(agent.address, settings={"ROUTES__0__DISCONNECT_HOLD": "60s", "ROUTES__0__TIMEOUTS__CLOSE": "60s"})
    haproxy = stage.haproxy(guard.address)
    assert haproxy.get("/before").verdict == "/before"  # HAProxy keeps the connection
    guard.terminate()
    assert guard.wait_stopped() == 0


@pytest.mark.parametrize("guarded", [False, True], ids=["without_guard", "with_guard"])
def test_a_hanging_agent_keeps_a_stopping_haproxy_alive_only_without_the_guard(stage, guarded):
    """HAProxy says DISCONNECT and waits for the agent's close: without the guard for all of `timeout idle`."""
    agent = stage.agent(Script(MISBEHAVIOURS["hang"], on_notify=2))
    guard = stage.guard(agent.address) if guarded else need_2_6("from 3.1 on it does not wait")
    haproxy = stage.haproxy(guard.address if guard else agent.address, Options(idle="60s" if guarded else "3s"))
    assert haproxy.get("/before").verdict == "/before"
    assert haproxy.get("/hangs").error == LATE
    began = time.monotonic()
    haproxy.soft_stop()
    assert haproxy.wait_dead(STOPS_WITHIN_S) == 0
    assert guarded or time.monotonic() - began > 2.5
