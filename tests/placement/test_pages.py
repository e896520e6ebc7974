"""`check --haproxy` has nothing against what the pages of docs/agents make of the shipped files, step by step."""

from pathlib import Path

import pytest

from spoe_guard.haproxy_config.source import Sources
from spoe_guard.placement.compare import contradictions
from spoe_guard.placement.findings import Request, find_all
from spoe_guard.settings import load
from tests.placement.files import in_memory
from tests.placement.test_changes import applied
from tests.products.machine import SHIPPED
from tests.products.page import Page

SETTINGS = "/etc/spoe-guard/spoe-guard.yaml"
HAPROXY = Path("/etc/haproxy/haproxy.cfg")

# Per page: the block with the settings, and those with the changes that belong to them.
STEPS = [
    ("coraza", "", ("/etc/haproxy/haproxy.cfg", "/etc/haproxy/coraza.cfg")),
    ("coraza", ", two agents", ("/etc/haproxy/haproxy.cfg", "/etc/haproxy/coraza.cfg", "/etc/haproxy/haproxy.cfg, two agents")),
    ("coraza", ", Unix socket", ("/etc/haproxy/haproxy.cfg", "/etc/haproxy/coraza.cfg", "/etc/haproxy/haproxy.cfg, Unix socket")),
    ("crowdsec", "", ("/etc/haproxy/haproxy.cfg", "/etc/haproxy/crowdsec.cfg")),
    (
        "crowdsec",
        ", two bouncers",
        (
            "/etc/haproxy/haproxy.cfg",
            "/etc/haproxy/crowdsec.cfg",
            "/etc/haproxy/haproxy.cfg, two bouncers",
        ),
    ),
    ("modsecurity", "", ("/etc/haproxy/haproxy.cfg", "/etc/haproxy/spoe-modsecurity.conf")),
]


@pytest.mark.parametrize(("name", "settings", "changes"), STEPS, ids=[f"{name}{settings}" for name, settings, _ in STEPS])
def test_check_has_nothing_against_what_a_page_makes_of_shipped_files(tmp_path, name, settings, changes):
    page = Page(name)
    shipped = {Path("/etc/haproxy") / path.name: path.read_text() for path in (SHIPPED / name).iterdir()}
    files = {path: in_memory(shipped).get(path) for path in shipped}
    for title in changes:
        files = applied(files, page.block("diff", title).splitlines())
    (tmp_path / "guard.yaml").write_text(page.block("yaml", f"{SETTINGS}{settings}"))
    found = find_all(Request((HAPROXY,)), Sources(files), {})
    assert found.failed == []
    assert contradictions(load(tmp_path / "guard.yaml").settings, found.engines) == []
