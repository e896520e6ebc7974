"""The command line's page and man page, made from the commands as ``--help`` is (``make docs``)."""

import inspect
import os.path
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, get_args

import typer
from typer.models import ArgumentInfo, CommandInfo, OptionInfo

from spoe_guard import __version__
from spoe_guard.cli import EXIT_STATUS, NAME, app
from tests.peers import ROOT

PAGE = ROOT / "docs/reference/cli.md"
MAN = ROOT / "docs/reference/spoe-guard.1"
HELP = ("-h, --help", "Show this message and exit.")  # every command's own
MAN_WIDTH = 80

Rows = list[tuple[str, str]]  # an option and what it does


@dataclass(frozen=True)
class Command:
    """What ``--help`` says of one command. ``rows``: what stands below its options, by title."""

    words: str
    short: str
    paragraphs: list[str]
    arguments: Rows
    options: Rows
    rows: dict[str, Rows]

    @property
    def usage(self) -> str:
        """How it is called."""
        return " ".join([self.words, "[OPTIONS]", *(name for name, _ in self.arguments)])


def commands(group: typer.Typer = app, before: str = NAME) -> Iterator[Command]:
    """Yield every command, in the order of the help; of a group of commands, those in it."""
    for info in group.registered_commands:
        yield _command(info, before)
    for inner in group.registered_groups:
        yield from commands(inner.typer_instance, f"{before} {inner.name}")


def own_options() -> Rows:
    """Return the options of ``spoe-guard`` itself."""
    return [*_rows(app.registered_callback.callback, OptionInfo), HELP]


def _command(info: CommandInfo, before: str) -> Command:
    name = info.name or info.callback.__name__
    return Command(
        f"{before} {name}",
        info.short_help or info.help,
        _paragraphs(info.help),
        _rows(info.callback, ArgumentInfo),
        [*_rows(info.callback, OptionInfo), HELP],
        info.cls.rows() if hasattr(info.cls, "rows") else {},
    )


def _paragraphs(text: str) -> list[str]:
    return [" ".join(part.split()) for part in text.split("\n\n")]


def _rows(callback: Callable[..., Any], kind: type) -> Rows:
    """Return the options, or the arguments, of a command."""
    parameters = inspect.signature(callback).parameters.values()
    described = [(parameter, info) for parameter in parameters for info in get_args(parameter.annotation)[1:]]
    return [(_named(parameter, info), _told(parameter, info)) for parameter, info in described if isinstance(info, kind)]


def _named(parameter: inspect.Parameter, info: Any) -> str:
    if isinstance(info, ArgumentInfo):
        return info.metavar if parameter.default is parameter.empty else f"[{info.metavar}]"
    names = [*([info.default] if isinstance(info.default, str) else []), *(info.param_decls or ())]  # `default` is the first name
    names = names or [f"--{parameter.name.replace('_', '-')}"]
    return ", ".join(sorted(names, key=len)) + (f" {info.metavar}" if info.metavar else "")


def _told(parameter: inspect.Parameter, info: Any) -> str:
    limits = {(True, True): "from {0} to {1}", (True, False): "{0} or more"}.get((info.min is not None, info.max is not None), "")
    about = [limits.format(info.min, info.max)] if limits else []
    if isinstance(parameter.default, str | int | float) and not isinstance(parameter.default, bool):
        about.append(f"default {parameter.default}")
    if isinstance(info, OptionInfo) and parameter.default is parameter.empty:
        about.append("required")
    return f"{info.help} ({', '.join(about)})" if about else info.help


# --- the page ---------------------------------------------------------------------------------------------

INTRO = """\
# The command line

Every command with its options, as `spoe-guard COMMAND --help` and `man spoe-guard` say it. This page is written from the commands
by `make docs`. [What `check --json` prints]({check_json}) and [the lab]({lab}) have pages of their own.

```sh
spoe-guard --help                # the commands; -h does the same, in every command
spoe-guard --version             # one line; `spoe-guard version` says what it runs on, too
spoe-guard completion bash       # what makes bash complete commands and options; also zsh and fish
```

Without a command `spoe-guard` prints its help to standard error and ends with 2: nothing was run.
"""


def page() -> str:
    """Return docs/reference/cli.md."""
    beside = {"check_json": "docs/reference/check-json.md", "lab": "docs/lab.md"}
    links = {name: os.path.relpath(ROOT / path, PAGE.parent) for name, path in beside.items()}
    parts = [INTRO.format(**links), f"\n{EXIT_STATUS}\n"]
    for command in commands():
        parts.append(f"\n## {command.words}\n\n```\n{command.usage}\n```\n\n" + "\n\n".join(command.paragraphs) + "\n")
        rows = [*command.arguments, *command.options[:-1]]
        parts.append("".join([f"\n- `{name}`: {text}" for name, text in rows]) + ("\n" if rows else ""))
        for title, each in command.rows.items():
            parts.append(f"\n### {title}\n\n" + "".join(f"- `{name}`: {text}\n" for name, text in each))
    return "".join(parts)


# --- the man page -------------------------------------------------------------------------------------------


def man() -> str:
    """Return the man page, in the macros of man(7)."""
    lines = [
        '.\\" Written from the commands by `make docs`.',
        f'.TH SPOE-GUARD 1 "" "{NAME} {__version__}" "User Commands"',
        ".SH NAME",
        _roff(f"{NAME} - a transparent proxy between HAProxy and an SPOE agent"),
        ".SH SYNOPSIS",
        f".B {_roff(NAME)}",
        "[OPTIONS] COMMAND [ARGS]",
        ".SH DESCRIPTION",
        _roff(app.info.help),
        ".SH OPTIONS",
        *_tagged(own_options()),
        ".SH COMMANDS",
    ]
    for command in commands():
        lines += [
            f".SS {_roff(command.words)}",
            f".B {_roff(command.words)}",
            _roff(command.usage.removeprefix(command.words).strip()),
        ]
        lines += [line for paragraph in command.paragraphs for line in (".PP", _roff(paragraph))]
        lines += _tagged([*command.arguments, *command.options[:-1]])
        for title, rows in command.rows.items():
            lines += [".PP", f"{title}:", *_tagged(rows)]
    status = EXIT_STATUS.removeprefix("Exit status: ")
    lines += [".SH EXIT STATUS", _roff(" ".join(status.split())), ".SH SEE ALSO", ".BR haproxy (1)"]
    return "\n".join(line for each in lines for line in _folded(each)) + "\n"


def _tagged(rows: Rows) -> Iterator[str]:
    for name, text in rows:
        yield from (".TP", f".B {_roff(name)}", _roff(text))


def _roff(text: str) -> str:
    """Return ``text`` so that it stays as it is: nothing of it is a command, and a hyphen can be copied."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped[:1] in (".", "'") else escaped


def _folded(line: str) -> list[str]:
    """Break a long line of text, but no command."""
    if line.startswith("."):
        return [line]
    folded = textwrap.wrap(line, MAN_WIDTH, break_long_words=False, break_on_hyphens=False)
    return [f"\\&{each}" if each[:1] in (".", "'") else each for each in folded]
