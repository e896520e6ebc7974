"""What the page on ModSecurity has a reader copy, with a stand-in that sets the agent's variable, behind HAProxy 2.6 and 3.2."""

import pytest

from spoe_guard.lab.agent import Script
from spoe_guard.settings import load, warnings
from spoe_guard.wire import actions, frame, typed_data, walk
from tests.integration.haproxy import free, wait_until
from tests.products.machine import Machine
from tests.products.page import Page

PAGE = Page("modsecurity")
FILES = ("/etc/haproxy/haproxy.cfg", "/etc/haproxy/spoe-modsecurity.conf")
SETTINGS = PAGE.block("yaml", "/etc/spoe-guard/spoe-guard.yaml")
ATTACK, CLEAN = "/?x=/etc/passwd", "/"
DEFAULT = "127.0.0.1:12345"  # where the agent listens


def verdict(notify: frame.Frame) -> bytes:
    """Set the variable `code`: 403 for an attack, 0 for any other request."""
    code = 403 if b"/etc/passwd" in notify.raw else 0
    return actions.set_var(walk.SCOPE_TXN, b"code", typed_data.INT32, code)


def statuses(site):
    return [site.get(path).status for path in (ATTACK, CLEAN)]


def test_the_shipped_files_work_before_and_after_the_change(stage, at):
    machine = Machine(stage, "modsecurity", at, {DEFAULT: stage.agent(Script(answer=verdict)).address})
    unguarded = machine.haproxy()
    wait_until(lambda: statuses(unguarded) == [403, 200], "a verdict within 15 ms")
    machine.guard_and_back(PAGE, FILES, statuses, [403, 200], notifies=2)


@pytest.mark.parametrize("at", ["2.6"], indirect=True)
def test_without_an_agent_requests_pass_as_shipped_and_none_after_the_change(stage, at):
    gone = free()  # bound and not listening: it refuses connections
    with gone:
        machine = Machine(stage, "modsecurity", at, {DEFAULT: "{}:{}".format(*gone.getsockname())})
        assert statuses(machine.haproxy()) == [200, 200]
        for title in FILES:
            machine.apply(PAGE.block("diff", title))
        machine.guard(SETTINGS)
        assert statuses(machine.haproxy()) == [503, 503]


def test_check_warns_until_it_knows_the_variable_for_errors(tmp_path):
    file = tmp_path / "spoe-guard.yaml"
    file.write_text(SETTINGS)
    assert warnings(load(file).settings) == []
    file.write_text(SETTINGS.replace(", set_on_error: error", ""))
    [note] = warnings(load(file).settings)
    assert note.startswith("routes[0].haproxy.set_on_error: not known.")
