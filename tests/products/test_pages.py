"""The pages of docs/agents: each block on them is one that a test runs, and a stranger needs few commands."""

import re

import pytest

from spoe_guard.settings import load
from spoe_guard.settings.products import PRODUCTS
from tests.products.page import FOLDER, NAMES, Page

MOST_COMMANDS = 12
FIRST = "from nothing to guarded"
HAPROXY, SETTINGS = "/etc/haproxy/haproxy.cfg", "/etc/spoe-guard/spoe-guard.yaml"

# Every block of code by language and title. The files and their changes are run in the test of the page's own name, the commands
# in test_stranger.py.
BLOCKS = {
    "coraza": {
        ("sh", FIRST),
        ("sh", f"{FIRST}, with pipx"),
        ("sh", "go back"),
        ("diff", HAPROXY),
        ("diff", "/etc/haproxy/coraza.cfg"),
        ("diff", f"{HAPROXY}, two agents"),
        ("diff", f"{HAPROXY}, Unix socket"),
        ("yaml", SETTINGS),
        ("yaml", f"{SETTINGS}, two agents"),
        ("yaml", f"{SETTINGS}, Unix socket"),
        ("text", "the rule in haproxy.cfg"),
    },
    "crowdsec": {
        ("sh", FIRST),
        ("sh", "go back"),
        ("diff", HAPROXY),
        ("diff", "/etc/haproxy/crowdsec.cfg"),
        ("diff", f"{HAPROXY}, fail closed"),
        ("diff", f"{HAPROXY}, two bouncers"),
        ("yaml", SETTINGS),
        ("yaml", f"{SETTINGS}, two bouncers"),
        ("yaml", f"{SETTINGS}, another machine"),
        ("yaml", f"{SETTINGS}, Unix socket"),
        ("ini", "/etc/systemd/system/spoe-guard.service.d/crowdsec.conf"),
    },
    "modsecurity": {
        ("diff", HAPROXY),
        ("diff", "/etc/haproxy/spoe-modsecurity.conf"),
        ("yaml", SETTINGS),
    },
    "own-agent": {
        ("sh", "see what is in effect"),
        ("yaml", SETTINGS),
        ("text", "the rule in haproxy.cfg"),
    },
}


@pytest.mark.parametrize("name", NAMES)
def test_every_block_of_a_page_is_one_that_a_test_runs(name):
    page = Page(name)
    assert {(block.language, block.title) for block in page.blocks} == BLOCKS[name]
    assert len(page.blocks) == len(BLOCKS[name])
    assert page.text.count("```") == 2 * len(page.blocks)


def test_there_is_a_page_for_each_firewall_and_for_any_other_agent():
    assert {path.stem for path in FOLDER.glob("*.md")} == {*NAMES, "releases"}
    assert {name for name, product in PRODUCTS.items() if product.firewall} == {*NAMES} - {"own-agent"}


@pytest.mark.parametrize(("name", "title"), [("coraza", FIRST), ("coraza", f"{FIRST}, with pipx"), ("crowdsec", FIRST)])
def test_a_stranger_needs_at_most_twelve_commands(name, title):
    commands = Page(name).commands(title)
    assert len(commands) <= MOST_COMMANDS
    assert [command.prints for command in commands if command.prints] == ["403", "200"]


@pytest.mark.parametrize("name", ["coraza", "crowdsec"])
def test_each_profile_in_the_table_of_a_page_is_known(name, tmp_path):
    rows = re.findall(r"^\| .+ \| `profile: (\S+)` \|$", Page(name).text, re.MULTILINE)
    assert len(rows) == 2
    for profile in rows:
        (tmp_path / "guard.yaml").write_text(f"routes: [{{profile: {profile}}}]")
        assert load(tmp_path / "guard.yaml").settings.routes[0].profile == profile


def test_the_page_on_coraza_shows_a_rule_of_the_shipped_file():
    rule = Page("coraza").block("text", "the rule in haproxy.cfg").strip()
    assert rule in (FOLDER.parents[1] / "tests/products/shipped/coraza/haproxy.cfg").read_text()
