"""``proxy_protocol: accept`` behind a real HAProxy with `send-proxy` or `send-proxy-v2` on its server line.

For a connection of its own SPOE filter HAProxy writes "PROXY UNKNOWN" or LOCAL: there is no client that it could name.
"""

import pytest

from tests.integration import generations
from tests.integration.generations import Generation
from tests.integration.guard import Guard
from tests.integration.haproxy import Haproxy, Options, wait_until
from tests.integration.stage import Stage

ACCEPT = {"ROUTES__0__PROXY_PROTOCOL": "accept", "LOG__LEVEL": "debug"}
# HAProxy 2.2 dies of the other, with the guard and without: make_proxy_line_v2 takes the client that is not there.
PAIRS = [
    (name, word)
    for name in generations.names()
    for word in ("send-proxy", "send-proxy-v2")
    if (name, word[-3:]) != ("2.2", "-v2")
]
ONE_OF_EACH = [("2.6", "send-proxy"), ("3.2", "send-proxy-v2")]  # where the version of HAProxy and of the header matter little


def haproxy(stage: Stage, name: str, guard: Guard, word: str, **options: bool) -> Haproxy:
    return stage.haproxy(guard.address, Options(program=generations.find(name).program, server=word, **options))


@pytest.mark.parametrize(
    ("name", "word", "mode"), [(*pair, "enforce") for pair in PAIRS] + [(*pair, "observe") for pair in ONE_OF_EACH]
)
def test_requests_of_haproxy_with_send_proxy_are_answered(stage: Stage, name: str, word: str, mode: str) -> None:
    guard = stage.guard(stage.agent().address, settings=ACCEPT, mode=mode)
    web = haproxy(stage, name, guard, word)
    assert [web.get(path).verdict for path in ("/1", "/2", "/3")] == ["/1", "/2", "/3"]
    assert guard.anomalies() == guard.anomalies(applied=False) == {}
    assert guard.lines("session_named") == []


@pytest.mark.parametrize(
    ("name", "word", "checked"), [(*pair, "") for pair in PAIRS] + [(*pair, "check-send-proxy") for pair in ONE_OF_EACH]
)
def test_health_checks_with_the_header_find_the_agent_up(stage: Stage, name: str, word: str, checked: str) -> None:
    guard = stage.guard(stage.agent().address, settings=ACCEPT)
    web = haproxy(stage, name, guard, f"{word} {checked}", check=True)
    wait_until(lambda: web.health() == "UP", "the check passes")
    assert web.get("/1").verdict == "/1"
    assert guard.anomalies() == {}
    named = guard.lines("session_named")  # version 1 names HAProxy itself in its checks
    assert bool(named) == (word == "send-proxy")
    assert [line["peer"] for line in named] == [line["via"] for line in named]


@pytest.mark.parametrize(("name", "word"), ONE_OF_EACH)
def test_a_plain_check_fails_while_the_agent_is_away_and_passes_again(stage: Stage, name: str, word: str) -> None:
    agent = stage.agent_process()
    guard = stage.guard(agent.address, settings=ACCEPT | {"ROUTES__0__HEALTH": "listen"})
    web = haproxy(stage, name, guard, word, plain_check=True)
    wait_until(lambda: web.health() == "UP", "the check passes")
    assert web.get("/1").verdict == "/1"
    agent.kill()
    wait_until(lambda: web.health() == "DOWN", "the check fails", 15.0)
    stage.agent_process(port=agent.port)
    wait_until(lambda: web.health() == "UP", "the check passes again", 15.0)
    assert guard.anomalies()["not_spop"] == 0


def test_a_haproxy_without_the_header_is_refused_with_the_words_to_add(stage: Stage, generation: Generation) -> None:
    guard = stage.guard(stage.agent().address, settings=ACCEPT)
    assert stage.haproxy(guard.address, Options(program=generation.program)).get("/1").verdict == ""
    wait_until(lambda: guard.lines("anomaly"), "the guard says why")
    assert "put `send-proxy` or `send-proxy-v2` on HAProxy's server line" in guard.lines("anomaly")[0]["sentence"]
