"""What the page on Coraza has a reader copy, with Coraza and the Core Rule Set behind HAProxy 2.6 and 3.2."""

import signal
from contextlib import ExitStack

import pytest

from tests.agents.catalogue import WAF
from tests.agents.real import AgentProcess
from tests.integration.haproxy import free, wait_until
from tests.integration.load import Load
from tests.products.machine import LOAD_S, Machine, wait_answered
from tests.products.page import Page

PAGE = Page("coraza")
FILES = ("/etc/haproxy/haproxy.cfg", "/etc/haproxy/coraza.cfg")
SETTINGS = PAGE.block("yaml", "/etc/spoe-guard/spoe-guard.yaml")
ATTACK, CLEAN = "/?x=/etc/passwd", "/"
REQUESTS = 300
PER_SECOND = 100
AT_ONCE = 8
EVERY = 3  # so often an attack


@pytest.fixture
def waf(stage):
    """The agent, whose port stays its own while it is away."""
    listen = "{}:{}".format(*stage.enter(free()).getsockname())
    return stage.enter(AgentProcess(WAF, stage.folder(), listen=listen))


def install(stage, at, *wafs, titles=FILES):
    """Put the page's changes on the shipped files; return the machine."""
    machine = Machine(stage, "coraza", at, {f"127.0.0.1:{9000 + n}": waf.address for n, waf in enumerate(wafs)})
    for title in titles:
        machine.apply(PAGE.block("diff", title))
    return machine


def statuses(site):
    return [site.get(path).status for path in (ATTACK, CLEAN)]


def request(number):
    return (f"/load/{number}?x=/etc/passwd" if number % EVERY == 0 else f"/load/{number}"), {
        "User-Agent": "load",
        "Accept": "*/*",
    }


def test_the_shipped_files_work_before_and_after_the_change(stage, at, waf):
    machine = install(stage, at, waf, titles=())
    assert statuses(machine.haproxy()) == [403, 200]
    machine.guard_and_back(PAGE, FILES, statuses, [403, 200], notifies=2)


def test_check_has_nothing_to_warn_of(tmp_path):
    assert PAGE.warnings(tmp_path) == []


def test_a_restart_of_the_agent_costs_no_request(stage, at, waf):
    machine = install(stage, at, waf)
    guard = machine.guard(SETTINGS)
    site = machine.haproxy()
    with ExitStack() as stack, Load(site, AT_ONCE, REQUESTS, PER_SECOND, request) as load:
        for how in (signal.SIGTERM, signal.SIGKILL):
            wait_answered(load, 50)
            waf.process.send_signal(how)
            waf.process.wait(10)
            waf = stack.enter_context(AgentProcess(WAF, stage.folder(), listen=waf.address))
        wait_until(lambda: len(load.seen) == REQUESTS, "all requests", LOAD_S)
        found = [load.seen[request(number)[0]].status for number in range(1, REQUESTS + 1)]
        assert found == [403 if number % EVERY == 0 else 200 for number in range(1, REQUESTS + 1)]
    assert guard.metric("spoe_guard_agent_links_opened_total", reason="replacement") > 0


@pytest.mark.parametrize("at", ["2.6"], indirect=True)
def test_without_an_agent_no_request_passes(stage, at, waf):
    machine = install(stage, at, waf)
    machine.guard(SETTINGS, ROUTES__0__LINKS__GIVE_UP="200ms")
    site = machine.haproxy()
    assert statuses(site) == [403, 200]
    waf.kill()
    assert statuses(site) == [500, 500]


@pytest.mark.parametrize("at", ["3.2"], indirect=True)
def test_two_agents_share_the_requests_and_one_does_for_both(stage, at, waf):
    other = stage.enter(AgentProcess(WAF, stage.folder()))
    machine = install(stage, at, waf, other, titles=(*FILES, "/etc/haproxy/haproxy.cfg, two agents"))
    guard = machine.guard(PAGE.block("yaml", "/etc/spoe-guard/spoe-guard.yaml, two agents"))
    site = machine.haproxy()
    assert [statuses(site) for _ in range(4)] == [[403, 200]] * 4
    for name, agent in (("coraza-1", waf), ("coraza-2", other)):
        assert guard.metric("spoe_guard_agent_dials_total", route=name, agent=agent.address) > 0
    waf.kill()
    assert [statuses(site) for _ in range(4)] == [[403, 200]] * 4
    assert guard.metric("spoe_guard_agent_dials_total", route="coraza-1", agent=other.address) > 0


@pytest.mark.parametrize("at", ["2.6"], indirect=True)
def test_haproxy_reaches_the_guard_at_a_unix_socket(stage, at, waf):
    machine = install(stage, at, waf, titles=(*FILES, "/etc/haproxy/haproxy.cfg, Unix socket"))
    machine.guard(PAGE.block("yaml", "/etc/spoe-guard/spoe-guard.yaml, Unix socket"))
    assert statuses(machine.haproxy()) == [403, 200]
