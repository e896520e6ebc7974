"""What the page on CrowdSec has a reader copy, with an agent that decides as its bouncer does behind HAProxy 2.6 and 3.2."""

import os
import signal
import sys

import pytest

from tests.agents.catalogue import CROWDSEC
from tests.agents.real import AgentProcess
from tests.integration.haproxy import free, wait_until
from tests.integration.load import Load
from tests.peers import need, need_root
from tests.products.machine import BROWSER, LOAD_S, Machine, wait_answered
from tests.products.page import Page

PAGE = Page("crowdsec")
FILES = ("/etc/haproxy/haproxy.cfg", "/etc/haproxy/crowdsec.cfg")
TWO = "/etc/haproxy/haproxy.cfg, two bouncers"
CLOSED = "/etc/haproxy/haproxy.cfg, fail closed"
SETTINGS = PAGE.block("yaml", "/etc/spoe-guard/spoe-guard.yaml")
ALLOWED, BANNED, ASKED = "127.0.0.1", "127.0.0.2", "127.0.0.3"  # clients, on this machine all of them
CLIENTS = (ALLOWED, BANNED, ASKED)
DECISIONS = f"{BANNED} ban\n{ASKED} captcha\n"
CAPTCHA = 202  # our script's status where CrowdSec's would show a page
REQUESTS = 400
PER_SECOND = 200
AT_ONCE = 8
UNNAMED = 64242  # a group and a user that nobody has


def start(stage, listen=None):
    """Start the agent with the decisions of these tests; its port stays its own while it is away."""
    folder = stage.folder()
    listen = listen or "{}:{}".format(*stage.enter(free()).getsockname())
    (folder / "decisions").write_text(DECISIONS)
    return stage.enter(AgentProcess(CROWDSEC, folder, listen=listen, more=("--decisions", str(folder / "decisions"))))


def install(stage, at, *bouncers, titles=(*FILES, CLOSED)):
    """Put the page's changes on the shipped files; return the machine."""
    machine = Machine(stage, "crowdsec", at, {f"127.0.0.1:{9000 + n}": agent.address for n, agent in enumerate(bouncers)})
    for title in titles:
        machine.apply(PAGE.block("diff", title))
    return machine


def statuses(site):
    return [site.get("/", client=client).status for client in CLIENTS]


def client_of(path):
    """Return who asks for that path of the load, each in turn."""
    return CLIENTS[int(path.rpartition("/")[2] or 0) % len(CLIENTS)]


def test_the_shipped_files_work_before_and_after_the_change(stage, at):
    machine = install(stage, at, start(stage), titles=())
    assert statuses(machine.haproxy()) == [200, 403, CAPTCHA]
    machine.guard_and_back(PAGE, (*FILES, CLOSED), statuses, [200, 403, CAPTCHA], notifies=2 * len(CLIENTS))


def test_check_has_nothing_to_warn_of(tmp_path):
    assert PAGE.warnings(tmp_path) == []


def test_a_restart_of_the_bouncer_costs_no_request_and_lets_nobody_in(stage, at):
    bouncer = start(stage)
    machine = install(stage, at, bouncer)
    guard = machine.guard(SETTINGS)
    with Load(machine.haproxy(client_of), AT_ONCE, REQUESTS, PER_SECOND, lambda number: (f"/load/{number}", BROWSER)) as load:
        for how in (signal.SIGTERM, signal.SIGKILL):
            wait_answered(load, 100)
            bouncer.process.send_signal(how)
            bouncer.process.wait(10)
            bouncer = start(stage, bouncer.address)
        wait_until(lambda: len(load.seen) == REQUESTS, "all requests", LOAD_S)
    expected = dict(zip(CLIENTS, (200, 403, CAPTCHA), strict=True))
    assert {path: seen.status for path, seen in load.seen.items()} == {path: expected[client_of(path)] for path in load.seen}
    assert guard.metric("spoe_guard_agent_links_opened_total", reason="replacement") > 0


@pytest.mark.parametrize("at", ["2.6"], indirect=True)
@pytest.mark.parametrize(("titles", "status"), [((*FILES, CLOSED), 503), (FILES, 200)], ids=["closed", "as shipped"])
def test_without_a_bouncer_it_is_the_rule_that_decides(stage, at, titles, status):
    bouncer = start(stage)
    machine = install(stage, at, bouncer, titles=titles)
    machine.guard(SETTINGS, ROUTES__0__LINKS__GIVE_UP="200ms")
    site = machine.haproxy()
    assert statuses(site) == [200, 403, CAPTCHA]
    bouncer.kill()
    assert statuses(site) == [status] * len(CLIENTS)


@pytest.mark.parametrize("at", ["3.2"], indirect=True)
def test_two_bouncers_share_the_requests_and_one_does_for_both(stage, at):
    bouncers = [start(stage), start(stage)]
    machine = install(stage, at, *bouncers, titles=(*FILES, CLOSED, TWO))
    guard = machine.guard(PAGE.block("yaml", "/etc/spoe-guard/spoe-guard.yaml, two bouncers"))
    site = machine.haproxy()
    assert [statuses(site) for _ in range(4)] == [[200, 403, CAPTCHA]] * 4
    for name, bouncer in zip(("crowdsec-1", "crowdsec-2"), bouncers, strict=True):
        assert guard.metric("spoe_guard_agent_dials_total", route=name, agent=bouncer.address) > 0
    bouncers[0].kill()
    assert [statuses(site) for _ in range(4)] == [[200, 403, CAPTCHA]] * 4
    assert guard.metric("spoe_guard_agent_dials_total", route="crowdsec-1", agent=bouncers[1].address) > 0


@pytest.mark.parametrize("at", ["2.6"], indirect=True)
def test_a_server_that_is_down_is_left_if_its_line_says_so(stage, at):
    """Otherwise HAProxy up to 3.0 goes on using its connections to it. docs/haproxy.md says so of any agent."""
    bouncers = [start(stage), start(stage)]
    machine = install(stage, at, *bouncers, titles=(*FILES, CLOSED, TWO))
    checked = "option spop-check\n    default-server check inter 200ms on-marked-down shutdown-sessions"
    machine.files[FILES[0]] = machine.files[FILES[0]].replace("balance roundrobin", checked)
    alone = {f"ROUTES__{n}__AGENT": bouncer.address for n, bouncer in enumerate(bouncers)}
    settings = PAGE.block("yaml", "/etc/spoe-guard/spoe-guard.yaml, two bouncers")
    machine.guard(settings, **alone, ROUTES__0__LINKS__GIVE_UP="200ms", ROUTES__1__LINKS__GIVE_UP="200ms")
    site = machine.haproxy()
    assert [statuses(site) for _ in range(4)] == [[200, 403, CAPTCHA]] * 4
    bouncers[0].kill()
    wait_until(lambda: [statuses(site) for _ in range(4)] == [[200, 403, CAPTCHA]] * 4, "the other has all of them", LOAD_S)


@pytest.mark.parametrize("at", ["3.2"], indirect=True)
@pytest.mark.parametrize("member", [True, False])
def test_a_member_of_its_group_reaches_the_bouncer_at_its_socket(stage, at, member):
    """The bouncer's folder has mode 2750 and the group's bit goes to the socket: the guard is no owner of either.

    That the page's drop-in makes it a member is seen in test_stranger.py, where systemd runs.
    """
    need_root("take on a group")
    run = stage.folder()
    os.chown(run, UNNAMED, UNNAMED)
    run.chmod(0o2750)
    start(stage, f"unix:{run}/spoa.sock")
    machine = install(stage, at)
    settings = PAGE.block("yaml", "/etc/spoe-guard/spoe-guard.yaml, Unix socket").replace("/run/crowdsec-spoa", str(run))
    groups = str(UNNAMED) if member else "0"
    command = [need("setpriv", "util-linux"), f"--groups={groups}", "--bounding-set=-all", "--inh-caps=-all"]
    guard = machine.guard(settings, program=(*command, sys.executable, "-m", "spoe_guard"), ROUTES__0__LINKS__GIVE_UP="200ms")
    assert statuses(machine.haproxy()) == ([200, 403, CAPTCHA] if member else [503] * len(CLIENTS))
    assert bool(guard.lines("agent_unreachable")) is not member
