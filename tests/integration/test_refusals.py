"""HAProxy up to 3.0 with an agent that refuses: it retries ever less often, and requests wait no longer than before (B6)."""

import pytest

from spoe_guard.lab.misbehaviour import End
from tests.core.frames import agent_disconnect
from tests.integration import generations
from tests.integration.haproxy import Options, Seen
from tests.integration.hazards.peer import HazardAgent, Peer
from tests.integration.stage import Stage

PROCESSING_S = 2.0
STORM = 1000  # connections while one stream waits; measured without the guard: 10,000 in these two seconds


def refused(stage: Stage, name: str, peer: Peer, *, guarded: bool) -> tuple[Seen, int]:
    """Return what one request saw of an agent that refuses, and how often HAProxy connected."""
    options = Options(program=generations.find(name).program, processing=f"{PROCESSING_S:.0f}s")
    with HazardAgent(peer) as agent:
        agent.armed = True
        guard = stage.guard(agent.address) if guarded else None
        haproxy = stage.haproxy(guard.address if guard else agent.address, options)
        seen = haproxy.get("/")
        return seen, int(guard.metric("spoe_guard_connections_total")) if guard else agent.connections


REFUSES = Peer(hello=lambda offer: [agent_disconnect(50, b"go away"), End.CLOSE])
CLOSES = Peer(accept=[End.CLOSE])
PEERS = pytest.mark.parametrize("peer", [REFUSES, CLOSES], ids=["refuses", "closes"])
APPLETS = pytest.mark.parametrize("name", ["2.6", "3.0"])


@APPLETS
@PEERS
def test_without_the_guard_one_request_makes_a_storm_of_connections(stage: Stage, name: str, peer: Peer) -> None:
    seen, connections = refused(stage, name, peer, guarded=False)
    assert (seen.error, seen.verdict) == ("1", "")
    assert connections > STORM


@APPLETS
def test_with_the_guard_it_connects_at_longer_and_longer_intervals(stage: Stage, name: str) -> None:
    """At 0, 0.25 and 0.75 s, and then each time its own timeout hello of 1 s is over; flat 250 ms would be eight times."""
    seen, connections = refused(stage, name, REFUSES, guarded=True)
    assert (seen.error, seen.verdict) == ("1", "")
    assert 2 <= connections <= 5


@APPLETS
def test_where_the_agent_says_nothing_the_guard_tells_haproxy_at_once(stage: Stage, name: str) -> None:
    seen, connections = refused(stage, name, CLOSES, guarded=True)
    assert (seen.error, seen.verdict) == ("269", "")
    assert seen.seconds < PROCESSING_S / 2
    assert connections == 1


def test_the_mux_is_told_after_the_shortest_time_however_often_it_asks(stage: Stage) -> None:
    options = Options(program=generations.find("3.2").program, processing=f"{PROCESSING_S:.0f}s")
    with HazardAgent(REFUSES) as agent:
        agent.armed = True
        haproxy = stage.haproxy(stage.guard(agent.address).address, options)
        for path in ("/1", "/2", "/3", "/4"):
            seen = haproxy.get(path)
            assert seen.error == "260"  # had each been held twice as long, the fourth would have met `timeout processing`
            assert seen.seconds > 0.2
