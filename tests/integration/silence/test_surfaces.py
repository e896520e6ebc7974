"""What the guard says is read right: all five surfaces of a dead agent, and each one noticed that says something else."""

import socket
import time
from dataclasses import replace

import pytest

from spoe_guard.lab.frames import haproxy_hello
from tests.integration.silence.quiet import QuietAgent
from tests.integration.silence.scraper import Scraper
from tests.integration.silence.surfaces import Says, Surfaces

DEAD = Says(
    "down",
    ready=False,
    within=5.0,
    sentence="unreachable: .*Connection refused",
    readyz="default: .*Connection refused",
    metrics=("agent_up == 0", 'agent_connect_failures_total[reason="refused"] >= 1'),
    log={"event": "^agent_unreachable$", "reason": "^refused$"},
    alerts=frozenset({"SpoeGuardAgentDown"}),
)
OTHERWISE = {
    "page": {"sentence": "Served"},
    "readyz": {"ready": True},
    "metrics": {"metrics": ("agent_up == 0", 'agent_connect_failures_total[reason="refused"] == 0')},
    "log": {"log": {"event": "^agent_unreachable$", "reason": "timeout"}},
    "alert": {"alerts": frozenset({"SpoeGuardUnanswered"})},
}


@pytest.fixture
def surfaces(stage):
    agent = stage.enter(QuietAgent(up=False))
    admin, prometheus = stage.enter(Scraper(stage.folder)).take()
    guard = stage.guard(agent.address, settings={"ROUTES__0__LINKS__GIVE_UP": "0"}, admin=admin)
    heard = Surfaces(guard, prometheus)
    host, _, port = guard.address.rpartition(":")
    with socket.create_connection((host, int(port))) as haproxy:
        haproxy.sendall(haproxy_hello())
        yield heard


def test_all_five_surfaces_of_a_dead_agent_are_read(surfaces):
    said = surfaces.hear([DEAD], time.monotonic())
    assert {name: text for name, (_, text) in said.items()} == {
        "page": "down: The agent is unreachable: refused: AGENT: Connection refused",
        "readyz": "503 default: the agent is unreachable: refused: AGENT: Connection refused",
        "metrics": "agent_up AGENT 0, agent_connect_failures_total refused 1",
        "log": "agent_unreachable refused",
        "alert": "SpoeGuardAgentDown pending",
    }
    for name, other in OTHERWISE.items():
        with pytest.raises(AssertionError, match=f"not within 0 s: .{{'{name}'"):
            surfaces.hear([replace(DEAD, within=0, **other)], time.monotonic())
