"""A real WAF behind HAProxy and the guard: no failure of it lets an attack through, and restarts cost no request."""

import pytest

from tests.integration import generations
from tests.integration.waf import siege
from tests.integration.waf.siege import ATTACKS, LONG_MS, MANY, REQUESTS, STOCK_MS, Siege

DEADLINE_MS = 500  # of the guard, where HAProxy is to hear of each NOTIFY from it and not from its own clock
PATIENT_MS = 4 * DEADLINE_MS
TOLD = {"HELLO__PROFILE": "dropmore", "HAPROXY__TIMEOUT_HELLO": "2s"}
WAYS = {"set": {"HAPROXY__SET_ON_ERROR": "error"}, "tell": {"UNANSWERED": "tell"}}


@pytest.mark.parametrize(("way", "at"), [*(("set", at) for at in siege.on("3.2")), *(("tell", at) for at in siege.on("2.6"))])
def test_no_attack_passes_while_the_firewall_comes_and_goes(way, at, stage):
    settings = TOLD | WAYS[way] | {"HAPROXY__TIMEOUT_PROCESSING": f"{STOCK_MS}ms"}
    result = Siege(stage, generations.find(at), settings, STOCK_MS).play(siege.all_kinds)
    assert result.attacks[200] == result.unchecked == 0
    assert result.attacks[403] > MANY
    assert result.failed > 0


@pytest.mark.parametrize("at", siege.on("3.2"))
def test_no_request_fails_over_restarts_where_haproxy_waits_longer(at, stage):
    settings = TOLD | WAYS["set"] | {"HAPROXY__TIMEOUT_PROCESSING": f"{LONG_MS}ms", "REDISPATCH": "unanswered"}
    played = Siege(stage, generations.find(at), settings, LONG_MS)
    result = played.play(siege.restarts)
    assert (result.attacks, result.others) == ({403: ATTACKS}, {200: REQUESTS - ATTACKS})
    assert played.guard.metric("spoe_guard_redispatched_notifies_total", kind="unanswered") > 0


@pytest.mark.parametrize("at", siege.on("2.6"))
def test_with_empty_acks_attacks_pass_and_the_guard_counts_each(at, stage):
    settings = TOLD | {
        "HAPROXY__TIMEOUT_PROCESSING": f"{PATIENT_MS}ms",
        "ANSWER_DEADLINE": f"{DEADLINE_MS}ms",
        "LINKS__PARK": f"{DEADLINE_MS}ms",
        "UNANSWERED": "empty-ack",
    }
    played = Siege(stage, generations.find(at), settings, PATIENT_MS)
    result = played.play(siege.all_kinds)
    assert result.attacks[200] == result.unchecked_attacks > 0
    counted = played.guard.metric("spoe_guard_unchecked_notifies_total")
    # HAProxy may give a request up that waits for a new connection, and so for HELLO; its NOTIFY then comes too late for it.
    assert result.unchecked <= counted <= result.unchecked + result.errors["1"]
