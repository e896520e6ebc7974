"""A real WAF behind HAProxy and the guard: no failure of it lets an attack through, and what one costs the others."""

import pytest

from tests.integration import generations
from tests.integration.waf import siege, visitors
from tests.integration.waf.siege import REQUESTS, Siege

AT = ["2.6", "3.2"]
ATTACKS = REQUESTS // visitors.EVERY
STOCK_MS = 500  # `timeout processing` in the documentation of coraza-spoa
LONG_MS = 5000  # longer than the WAF needs to load its rules
MANY = ATTACKS // 4  # so many have their verdict at least, else a test would say nothing


@pytest.mark.parametrize("at", AT)
def test_the_firewall_denies_every_kind_of_attack_and_nothing_else(at, stage):
    haproxy = Siege(stage, generations.find(at), None, LONG_MS).haproxy
    assert {kind: haproxy.get(*visitors.attack(kind, "/search")).status for kind in visitors.KINDS} == dict.fromkeys(
        visitors.KINDS, 403
    )
    clean = [number for number in range(1, 10) if not visitors.is_attack(number)]
    assert [haproxy.get(*visitors.request(number)).status for number in clean] == [200] * len(clean)


@pytest.mark.parametrize("at", AT)
def test_without_the_guard_requests_fail_and_no_attack_passes(at, stage):
    result = Siege(stage, generations.find(at), None, STOCK_MS).play(siege.all_kinds)
    assert result.attacks[200] == result.unchecked == 0
    assert result.attacks[403] > MANY
    assert result.failed > 0
