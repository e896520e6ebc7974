"""What HAProxy up to 3.0 does where each connection is closed: it connects again at once. The guard holds each for a while (N5).

`send-proxy`, `send-proxy-v2` or `ssl` on its server line, and more connections than ``limits.connections``.
"""

import time

import pytest

from spoe_guard.lab.misbehaviour import End
from tests.integration import generations
from tests.integration.guard import Guard
from tests.integration.haproxy import Haproxy, Options, wait_until
from tests.integration.hazards import results
from tests.integration.hazards.peer import HazardAgent, Peer
from tests.integration.load import Load
from tests.integration.stage import Stage

THREADS = 4
CLIENTS = 16  # so many requests wait at any time: each thread has some
SECONDS = 2.0
MOST = 10.0  # connections a second
STORM = 300.0  # of a HAProxy without the guard, on a busy machine; measured: 950 and more
WORDS = {"send-proxy": "send-proxy", "send-proxy-v2": "send-proxy-v2", "ssl": "ssl verify none"}

WHOLE = results.folder() is not None  # `make hazards`
SHORT = [("2.6", "send-proxy"), ("3.0", "send-proxy-v2"), ("2.6", "ssl")]
BARE = [(name, word) for name in ("2.6", "3.0") for word in WORDS] if WHOLE else SHORT

APPLETS = pytest.mark.parametrize("name", ["2.6", "3.0"])
EACH = pytest.mark.parametrize("word", WORDS)


def haproxy(stage: Stage, name: str, address: str, words: str = "") -> Haproxy:
    """Start a HAProxy with those words on its server line; a request waits for 2.5 s in it."""
    program = generations.find(name).program
    return stage.haproxy(address, Options(processing="2500ms", hello="2500ms", program=program, threads=THREADS, server=words))


def connections_a_second(web: Haproxy, count, seconds: float = SECONDS) -> float:
    """Return how often HAProxy connects while requests wait; ``count`` returns how often it has so far."""
    with Load(web, CLIENTS, CLIENTS) as load:
        wait_until(lambda: load.asked() == CLIENTS and count() > 0, "requests wait, and HAProxy connects")
        before, began = count(), time.monotonic()
        time.sleep(seconds)
        return (count() - before) / (time.monotonic() - began)


def opened(guard: Guard) -> int:
    return int(guard.metric("spoe_guard_connections_total"))


@pytest.mark.parametrize(("name", "word"), BARE)
def test_without_the_guard_haproxy_storms_an_agent_that_closes(stage: Stage, name: str, word: str) -> None:
    with HazardAgent(Peer(accept=[End.CLOSE])) as agent:
        agent.armed = True
        rate = connections_a_second(haproxy(stage, name, agent.address, WORDS[word]), lambda: agent.connections, 1.0)
    results.keep("refused", id=word, generation=name, guarded=False, rate=rate)
    assert rate > STORM


@APPLETS
@EACH
def test_whoever_speaks_no_spop_connects_fewer_than_ten_times_a_second(stage: Stage, name: str, word: str) -> None:
    guard = stage.guard(stage.agent().address)
    rate = connections_a_second(haproxy(stage, name, guard.address, WORDS[word]), lambda: opened(guard))
    results.keep("refused", id=word, generation=name, guarded=True, rate=rate)
    assert rate < MOST
    assert guard.anomalies()["not_spop"] == guard.metric("spoe_guard_connections_total")
    assert f"take `{word}` off HAProxy's server line" in guard.lines("anomaly")[0]["sentence"]


@APPLETS
def test_at_the_limit_haproxy_connects_fewer_than_ten_times_a_second(stage: Stage, name: str) -> None:
    guard = stage.guard(stage.agent().address, settings={"ROUTES__0__LIMITS__CONNECTIONS": "1"})
    rate = connections_a_second(haproxy(stage, name, guard.address), lambda: opened(guard))
    results.keep("refused", id="limit", generation=name, guarded=True, rate=rate)
    assert rate < MOST
