"""docs/init.md names the options that `init` and `check` have, and what is on the page about them holds."""

import re

import typer.main

from spoe_guard.cli import app
from spoe_guard.placement import commands, plan, recognise
from tests.peers import ROOT

PAGE = (ROOT / "docs/init.md").read_text()


def options(command: str) -> set[str]:
    parameters = typer.main.get_command(app).commands[command].params
    return {name for parameter in parameters for name in parameter.opts if name.startswith("--")}


def test_the_page_has_each_option_of_init_in_its_table():
    table = set(re.findall(r"^\| `(--[a-z-]+) ", PAGE, re.MULTILINE))
    assert table == options("init") - {"--write", "--help"}
    assert "--write" in PAGE


def test_what_check_takes_beside_its_settings_is_on_the_page():
    own = {"--haproxy", "--spoe", "--engine", "--haproxy-version", "--strict"}
    assert options("check") - options("run") >= own
    assert [option for option in own if option not in PAGE.partition("## Check that both agree")[2]] == []


def test_the_page_says_the_defaults_and_values_of_the_code():
    for text in (
        str(plan.FIRST_LISTEN),
        str(commands.USUAL_OUTPUT),
        str(commands.USUAL_HAPROXY),
        f"set-on-error {plan.ERROR_NAME}",
    ):
        assert text in PAGE
    row = next(line for line in PAGE.splitlines() if line.startswith("| `timeout processing`"))
    slow = {product.processing for product in recognise.TRAITS.values()}
    assert slow == {"5s", "1s"}
    assert "to 5 s for Coraza and CrowdSec" in row
    assert "to 1 s otherwise" in row
    assert {name for name in recognise.TRAITS if recognise.processing_of(name) == "5s"} == {"coraza", "crowdsec"}
    assert recognise.USUAL_PROCESSING == "1s"
