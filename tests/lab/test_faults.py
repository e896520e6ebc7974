"""Each fault of the lab's agent raises the anomaly whose name it has, at a guard that runs as a user starts it."""

import asyncio
import contextlib

import pytest
import yaml

from spoe_guard.core.terms.anomalies import Anomaly
from spoe_guard.lab.agent import Script, ScriptedAgent
from spoe_guard.lab.engine import Engine
from spoe_guard.lab.faults import FAULTS, On
from spoe_guard.lab.frames import Family, healthcheck_hello
from spoe_guard.wire import frame
from tests.core.scenes import FROM_AGENT
from tests.running import FREE, START_S, Running, end_all, samples

LATE_S = 0.4
TRIES, TRY_S = 200, 0.05  # the last one is seen within half a second
NEEDED = {  # as the rows say
    "late_ack": {"haproxy": {"timeout_processing": "100ms", "set_on_error": "error"}},
    "notify_unanswered": {"haproxy": {"timeout_processing": "100ms"}},
    "foreign_ack": {"hello": {"capabilities": ["pipelining", "async"]}},
    "disconnect_status": {"links": {"give_up": 0}},
}


def every_time() -> bool:
    return True


async def ask(fault, port, open_until):
    """Do what HAProxy does until the fault is due, on connections that stay open."""
    family, count = (Family.APPLET, 2) if fault.asynchronous else (Family.MUX, 1)
    engines = [await open_until.enter_async_context(await Engine.tcp(port, family)) for _ in range(count)]
    for engine in engines:
        answered = await engine.hello(healthcheck_hello() if fault.on is On.CHECK else None)
        assert fault.on is not On.NOTIFY or answered.type == frame.AGENT_HELLO
    if fault.on is On.NOTIFY:
        await engines[0].notify(b"/1")


def counted(admin):
    """Return the anomalies of agents that the guard has counted, by route."""
    found = {name: set() for name in FAULTS}
    for sample in samples(admin, START_S):
        if sample.name == "spoe_guard_anomalies_total" and sample.value and sample.labels["side"] == "agent":
            found[sample.labels["route"]].add(sample.labels["anomaly"])
    return found


async def provoked(folder):
    """Return what a guard counted that has a route for each fault, to an agent that commits it."""
    async with contextlib.AsyncExitStack() as open_until:
        routes = []
        for name, fault in FAULTS.items():
            agent = ScriptedAgent(Script(fault=fault, turn=every_time, late_s=LATE_S))
            open_until.push_async_callback(agent.stop)
            where = f"127.0.0.1:{await agent.listen_tcp()}"
            routes.append({"name": name, "listen": FREE, "agent": where, **NEEDED.get(name, {})})
        (folder / "guard.yaml").write_text(yaml.safe_dump({"routes": routes, "admin": {"listen": FREE}}))
        guard = Running(folder, None, "--config", str(folder / "guard.yaml"))
        open_until.callback(end_all, [guard])
        listening = await asyncio.to_thread(guard.wait_for, "listening")
        ports = {name: int(where.rpartition(":")[2]) for name, where in listening["routes"].items()}
        await asyncio.gather(*(ask(fault, ports[name], open_until) for name, fault in FAULTS.items()))
        for _ in range(TRIES):
            found = await asyncio.to_thread(counted, listening["admin"])
            if all(name in seen for name, seen in found.items()):
                break
            await asyncio.sleep(TRY_S)
        return found


@pytest.fixture(scope="module")
def anomalies(tmp_path_factory):
    return asyncio.run(provoked(tmp_path_factory.mktemp("faults")))


@pytest.mark.parametrize("name", FAULTS)
def test_the_fault_raises_its_anomaly_at_a_running_guard(anomalies, name):
    assert name in anomalies[name]


def test_there_is_a_fault_for_each_anomaly_that_agents_cause():
    caused = {scene.anomaly for scene in FROM_AGENT}
    assert list(FAULTS) == [anomaly.value for anomaly in Anomaly if anomaly in caused]


def test_what_a_fault_needs_at_the_guard_stands_in_its_row():
    assert {name for name, fault in FAULTS.items() if fault.needs} == {*NEEDED, "glitch_flood", "hello_trailing"}
