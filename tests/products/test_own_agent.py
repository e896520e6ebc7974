"""What the page on an agent of one's own has a reader copy, with an agent on the library that its settings name."""

import re

import pytest

from spoe_guard.settings import load, warnings
from spoe_guard.settings.profiles import PROFILES
from tests.agents.catalogue import CATALOGUE, LIBRARIES
from tests.agents.real import AgentProcess
from tests.integration.haproxy import Haproxy, Options
from tests.products.page import Page
from tests.running import spoe_guard

PAGE = Page("own-agent")
SETTINGS = PAGE.block("yaml", "/etc/spoe-guard/spoe-guard.yaml")


class Closed(Haproxy):
    """HAProxy with the rule of the page."""

    main = Haproxy.main.replace(
        "    http-request return",
        "    {}    http-request return".format(
            PAGE.block("text", "the rule in haproxy.cfg").replace("{", "{{").replace("}", "}}")
        ),
    )


@pytest.mark.parametrize("at", ["3.2"], indirect=True)
def test_the_settings_and_the_rule_keep_a_request_closed(stage, at):
    agent = stage.enter(AgentProcess(CATALOGUE["dropmore-0.0.7"], stage.folder()))
    folder = stage.folder()
    (folder / "spoe-guard.yaml").write_text(
        SETTINGS.replace("127.0.0.1:12345", "127.0.0.1:0").replace("127.0.0.1:9000", agent.address)
    )
    guard = stage.guard(None, config=folder / "spoe-guard.yaml", settings={"ROUTES__0__LINKS__GIVE_UP": "200ms"})
    haproxy = stage.enter(Closed(stage.folder(), guard.address, Options(program=at.program)))
    assert (haproxy.get("/path").status, haproxy.get("/path").echo) == (200, "/path")
    agent.kill()
    assert haproxy.get("/path").status == 503


def test_the_command_shows_the_settings_and_has_nothing_to_warn_of(tmp_path):
    file = tmp_path / "spoe-guard.yaml"
    file.write_text(SETTINGS)
    [command] = PAGE.commands("see what is in effect")
    program, *arguments = command.line.replace("/etc/spoe-guard/spoe-guard.yaml", str(file)).split()
    assert program == "spoe-guard"
    assert spoe_guard(*arguments).returncode == 0
    assert warnings(load(file).settings) == []


def test_each_library_on_the_page_has_the_profile_of_its_name():
    rows = dict(re.findall(r"^\| (github\.com/\S+) \| `hello: \{profile: ([a-z-]+)\}` \|$", PAGE.text, re.MULTILINE))
    assert rows == {place: family for family, (place, _) in LIBRARIES.items() if family in PROFILES}
