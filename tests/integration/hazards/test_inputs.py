"""Malformed input for each agent: without the guard some end, with it each serves the next connection.

An ordinary run plays one agent of each library, ``make hazards`` all of them.
"""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.agents.catalogue import CATALOGUE
from tests.agents.real import AgentProcess
from tests.integration.guard import Guard
from tests.integration.haproxy import wait_until
from tests.integration.hazards import results
from tests.integration.hazards.inputs import INPUTS, play

AT_A_TIME = 6
DEATH_S = 2.0  # for a process that serves nobody
LAST_WORDS_S = 0.3  # for one that may have served another connection while it was going
ORDINARY = ("criteo-1.0.8", "negasus-1.0.7", "dropmore-0.0.5", "haproxyspoa-0.0.1", "spop-0.13.1")
AGENTS = ORDINARY if results.folder() is None else tuple(CATALOGUE)


def port_of(address):
    return int(address.rpartition(":")[2])


def gone(agent, served):
    """Whether its process ends."""
    try:
        wait_until(lambda: not agent.alive(), "the agent ends", LAST_WORDS_S if served else DEATH_S)
    except AssertionError:
        return False
    return True


def alone(row, name, folder):
    """Send it to an agent of its own; whether its process ends."""
    folder.mkdir()
    with AgentProcess(CATALOGUE[name], folder) as agent:
        what, served = play(row, agent.port)
        died = gone(agent, served)
        results.keep("input", id=row.id, agent=name, guarded=False, what=what, served=served, died=died)
    return died


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", AGENTS)
def test_without_the_guard_some_inputs_end_the_agent(name, tmp_path):
    with ThreadPoolExecutor(AT_A_TIME) as pool:  # most of the time they wait for nothing to happen
        ends = pool.map(lambda row: alone(row, name, tmp_path / row.id.split()[0]), INPUTS.values())
        ended = [row.id for row, died in zip(INPUTS.values(), ends, strict=True) if died]
    assert ended == [row.id for row in INPUTS.values() if name in row.ends.split()]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", AGENTS)
def test_with_the_guard_every_agent_serves_the_next_connection(name, tmp_path):
    with AgentProcess(CATALOGUE[name], tmp_path) as agent, Guard(tmp_path, agent.address) as guard:
        for row in INPUTS.values():
            before = guard.anomalies()
            what, served = play(row, port_of(guard.address))
            counted = guard.anomalies() - before
            died = not served and gone(agent, served)
            anomalies = " ".join(sorted(counted))
            results.keep("input", id=row.id, agent=name, guarded=True, what=what, served=served, died=died, anomalies=anomalies)
            assert set(row.anomalies.split()) <= set(counted), row.id
            assert (served, agent.alive()) == (True, True), row.id
