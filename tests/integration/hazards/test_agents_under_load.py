"""The agents people run, under a load that makes them misbehave: what the clients see without the guard and with it.

SPOE_GUARD_HAZARD_REQUESTS is how many requests (``make hazards REQUESTS=2000``). Without the guard nothing is asserted: it is a
measurement. With it no client gets another's answer or none without an error, and HAProxy and the agent live.
"""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.agents.catalogue import CATALOGUE
from tests.agents.real import AgentProcess
from tests.integration import generations
from tests.integration.guard import Guard
from tests.integration.haproxy import Haproxy, Options
from tests.integration.hazards import results

REQUESTS = int(os.environ.get("SPOE_GUARD_HAZARD_REQUESTS", "200"))
CLIENTS = 24
DELAY_MS = (0, 60)
IDLE_MS = 40  # where the agent has an idle timeout: it then ends connections on which it still has work to do
AT = ("2.6", "3.2")
ORDINARY = [("criteo-1.0.8", "2.6")]
SCENES = ORDINARY if results.folder() is None else [(name, generation) for name in CATALOGUE for generation in AT]


def outcome(seen, path):
    if seen.status == 0:
        return "no HTTP response"
    if seen.echo:
        return "answered" if (seen.echo, seen.allowed) == (path, "1") else "another's answer"
    return f"st={seen.error}" if seen.error else "nothing set, no error"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("guarded", [False, True], ids=["without_guard", "with_guard"])
@pytest.mark.parametrize(("name", "generation"), SCENES)
def test_under_load_no_client_gets_anothers_answer_and_haproxy_lives(name, generation, guarded, stage):
    kind = CATALOGUE[name]
    idle = {"idle_ms": IDLE_MS} if kind.idle_timeout else {}
    options = Options(program=generations.find(generation).program, spoe=("option continue-on-error",))
    with AgentProcess(kind, stage.folder(), delay_ms=DELAY_MS, **idle) as agent:
        guard: Guard | None = stage.guard(agent.address) if guarded else None
        haproxy: Haproxy = stage.haproxy(guard.address if guard else agent.address, options)
        paths = [f"/load/{number}" for number in range(REQUESTS)]
        with ThreadPoolExecutor(CLIENTS) as pool:
            seen = Counter(map(outcome, pool.map(haproxy.get, paths), paths))
        results.keep(
            "load",
            id=name,
            generation=generation,
            guarded=guarded,
            requests=REQUESTS,
            clients=CLIENTS,
            seen=dict(seen),
            agent_lives=agent.alive(),
            haproxy_lives=haproxy.alive(),
            anomalies=dict(guard.anomalies()) if guard else {},
        )
        assert seen.total() == REQUESTS
        if guard is not None:
            assert haproxy.alive()
            assert agent.alive()
            assert not seen["another's answer"]
            assert not seen["nothing set, no error"]
