"""The WAF behind HAProxy, without the guard: it knows its attacks, and where it fails HAProxy's rules keep closed."""

import pytest

from tests.integration import generations
from tests.integration.waf import siege, visitors
from tests.integration.waf.siege import LONG_MS, MANY, STOCK_MS, Siege


@pytest.mark.parametrize("at", ["2.6", "3.2"])
def test_the_firewall_denies_every_kind_of_attack_and_nothing_else(at, stage):
    haproxy = Siege(stage, generations.find(at), None, LONG_MS).haproxy
    assert {kind: haproxy.get(*visitors.attack(kind, "/search")).status for kind in visitors.KINDS} == dict.fromkeys(
        visitors.KINDS, 403
    )
    clean = [number for number in range(1, 10) if not visitors.is_attack(number)]
    assert [haproxy.get(*visitors.request(number)).status for number in clean] == [200] * len(clean)


@pytest.mark.parametrize("at", siege.on("2.6"))
def test_without_the_guard_requests_fail_and_no_attack_passes(at, stage):
    result = Siege(stage, generations.find(at), None, STOCK_MS).play(siege.all_kinds)
    assert result.attacks[200] == result.unchecked == 0
    assert result.attacks[403] > MANY
    assert result.failed > 0
