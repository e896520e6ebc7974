"""Help, page and man page of the command line say the same, since they are made from the same commands."""

import re
import subprocess

import pytest
from typer.testing import CliRunner

from spoe_guard.cli import EXIT_STATUS, NAME, app
from tests import reference
from tests.peers import need

COMMANDS = list(reference.commands())
each_command = pytest.mark.parametrize("command", COMMANDS, ids=[command.words for command in COMMANDS])


def asked(*words: str) -> str:
    """Return what ``--help`` prints."""
    done = CliRunner().invoke(app, [*words, "--help"], prog_name=NAME)
    assert done.exit_code == 0
    return done.output


def one_line(text: str) -> str:
    """Return ``text`` with each run of blanks and newlines as one blank, and no word broken at the end of a line."""
    return " ".join(re.sub(r"[\u2010-]\n\s*", "-", text).split())


def rendered() -> str:
    """Return the man page as a terminal shows it."""
    command = [need("mandoc"), "-T", "utf8", "-O", "width=250", str(reference.MAN)]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    return one_line(re.sub(r".\x08", "", shown))  # bold and underlined


def test_the_page_and_the_man_page_are_views_of_the_commands():
    assert reference.PAGE.read_text() == reference.page(), "run `make docs`"
    assert reference.MAN.read_text() == reference.man(), "run `make docs`"


@each_command
def test_the_help_has_all_that_the_page_has_and_nothing_else(command):
    shown = asked(*command.words.split()[1:])
    text = one_line(shown)
    assert all(paragraph in text for paragraph in command.paragraphs)
    for name, told in (*command.arguments, *command.options):
        assert name.strip("[]").split(" ")[0] in text
        assert told.partition(" (")[0] in text
    options = {
        word.rstrip(",") for line in shown.splitlines() if line.startswith("  -") for word in line.split() if word[0] == "-"
    }
    assert options == {word.rstrip(",") for name, _ in command.options for word in name.split() if word[0] == "-"}


@each_command
def test_the_man_page_has_all_that_the_page_has(command):
    text = rendered()
    assert command.usage in text
    assert all(paragraph in text for paragraph in command.paragraphs)
    rows = [*command.arguments, *command.options[:-1], *(row for rows in command.rows.values() for row in rows)]
    assert all(f"{name} {told}" in text for name, told in rows)


def test_the_main_help_lists_the_commands_with_their_short_texts():
    text = one_line(asked())
    for command in COMMANDS:
        if command.words.count(" ") == 1:
            assert f"{command.words.split()[1]} {command.short}" in text
    assert one_line(EXIT_STATUS) in text
    assert all(told in text for _, told in reference.own_options())


def test_the_man_page_has_nothing_that_mandoc_warns_of():
    """But for the date: a page that is made anew must not differ from day to day."""
    command = [need("mandoc"), "-T", "lint", "-W", "warning", str(reference.MAN)]
    lint = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert [line for line in lint.stdout.splitlines() if "missing date" not in line] == []
