"""The command line: options, messages and exit codes. Each command imports what it needs when it runs."""

import io
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

if TYPE_CHECKING:
    from spoe_guard.settings import Loaded

CLEAN: Final = 0
CANNOT_RUN: Final = 1
WRONG_USE: Final = 2

ADMIN: Final = "127.0.0.1:9464"  # admin.listen's default, written here because `--help` loads no settings

# Raised for every wrong use: click's own exception, which typer bundles but does not export.
_ClickError: Final[type[typer.BadParameter]] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="spoe-guard",
    help="A transparent proxy between HAProxy and an SPOE agent: whatever the agent does, HAProxy lives.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> NoReturn:
    """Run a command and exit: 0 clean stop, 1 could not run, 2 wrong usage or configuration."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a peer's text may contain characters the terminal lacks
    try:
        code = app(standalone_mode=False) or CLEAN
    except _ClickError as error:
        _say(f"{' '.join(error.format_message().split()).rstrip('.')}; see spoe-guard --help")
        code = WRONG_USE
    except (KeyboardInterrupt, typer.Abort):
        code = CANNOT_RUN
    sys.exit(code)


def _say(*lines: object) -> None:
    for line in lines:
        print(f"spoe-guard: {line}", file=sys.stderr)  # noqa: T201 this is what stderr is for


def _with_settings(action: "Callable[[Loaded, Callable[[], Loaded]], int]") -> Callable[..., int]:
    """Add the options for settings to a command, and pass it the settings and a function that reads them again."""

    def command(  # noqa: PLR0913, PLR0917 one per flag
        config: Annotated[Path | None, typer.Option(metavar="FILE", help="Settings in YAML.")] = None,
        listen: Annotated[str | None, typer.Option(metavar="ADDR", help="Address that HAProxy connects to.")] = None,
        agent: Annotated[str | None, typer.Option(metavar="ADDR", help="Address of the agent.")] = None,
        admin: Annotated[str | None, typer.Option(metavar="ADDR", help="Admin address: page, metrics, health.")] = None,
        mode: Annotated[str | None, typer.Option(metavar="enforce|observe", help="Repair traffic, or only report.")] = None,
        workers: Annotated[str | None, typer.Option(metavar="N", help="Number of worker processes; 0: one per core.")] = None,
        log_format: Annotated[str | None, typer.Option(metavar="json|console", help="Log format.")] = None,
        log_level: Annotated[str | None, typer.Option(metavar="LEVEL", help="Log level: debug, info, warning or error.")] = None,
    ) -> int:
        # As PID 1 of a container it would ignore SIGTERM until it listens: the kernel drops signals to PID 1 without a handler.
        signal.signal(signal.SIGTERM, _leave)
        # The default of SIGHUP ends a process; an early one waits until the guard can handle it.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP,))
        from spoe_guard.settings import ConfigError, load  # noqa: PLC0415 `version` and `--help` do not need it

        flags = {
            "--listen": listen,
            "--agent": agent,
            "--admin": admin,
            "--mode": mode,
            "--workers": workers,
            "--log-format": log_format,
            "--log-level": log_level,
        }
        again = partial(load, config, os.environ, flags)
        try:
            loaded = again()
        except ConfigError as error:
            _say(*error.problems)
            return WRONG_USE
        return action(loaded, again)

    return command


def _leave(_number: int, _frame: object) -> NoReturn:
    sys.exit(CANNOT_RUN)


def _run(loaded: "Loaded", again: "Callable[[], Loaded]") -> int:
    from spoe_guard.run.serve import CannotRunError, serve  # noqa: PLC0415
    from spoe_guard.settings import usable_cores  # noqa: PLC0415

    workers = loaded.settings.workers or usable_cores()
    try:
        if workers == 1:
            return CLEAN if serve(loaded, again) else CANNOT_RUN
        from spoe_guard.run.workers.parent import serve as serve_with  # noqa: PLC0415  a single process does not need it

        return CLEAN if serve_with(loaded, again, workers) else CANNOT_RUN
    except CannotRunError as error:
        _say(error)
        return CANNOT_RUN


def _check(loaded: "Loaded", _again: "Callable[[], Loaded]") -> int:
    from spoe_guard.settings import hello_changes, warnings  # noqa: PLC0415

    rows = loaded.rows()
    key_width = max(len(key) for key, _, _ in rows)
    value_width = max(len(value) for _, value, _ in rows)
    for key, value, origin in rows:
        typer.echo(f"{key:<{key_width}}  {value:<{value_width}}  {origin}")
    for index, route in enumerate(loaded.settings.routes):
        typer.echo(f"\nroutes[{index}] ({route.name}): what is changed in the HELLOs of a healthy pair")
        for change in hello_changes(loaded.settings, route):
            typer.echo(f"  {change}")
    notes = warnings(loaded.settings)
    if notes:
        typer.echo("\nwarnings")
    for note in notes:
        typer.echo(f"  {note}")
    typer.echo("\nOK. Addresses were checked for syntax only.")
    return CLEAN


_RUN: Final = """Stand between HAProxy and the agent, until SIGTERM or SIGINT.

The first one lets open NOTIFYs be answered and ends with exit code 0; a second one cuts them short and ends with 1. SIGHUP
reads the settings again: new sessions get them, and settings that cannot be used change nothing."""
app.command("run", help=_RUN)(_with_settings(_run))
app.command("check", help="Check the settings; print those in effect and where each comes from.")(_with_settings(_check))


def _loaded(config: Path | None) -> "Loaded | None":
    """Return the settings; if they are invalid, print the reason and return None."""
    from spoe_guard.settings import ConfigError, load  # noqa: PLC0415

    try:
        return load(config, os.environ)
    except ConfigError as error:
        _say(*error.problems)
        return None


_DECODE: Final = """Print a capture frame by frame, both sides in time order, with every anomaly and what the guard would do.

FILE: pcapng (of the flight recorder, or of tcpdump between HAProxy and its agent), raw bytes, hex, or recorded streams in JSON.
Marks: ! an anomaly, > what the guard would do, # about the capture."""


@app.command(help=_DECODE)
def decode(
    file: Annotated[str, typer.Argument(metavar="FILE|-")],
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="Settings to judge by.")] = None,
    route: Annotated[int, typer.Option(metavar="N", min=0, help="Which of their routes, from 0.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,  # noqa: FBT002 a flag
) -> int:
    """Run the command."""
    from spoe_guard.capture.files.model import CaptureError  # noqa: PLC0415
    from spoe_guard.capture.tell import commands  # noqa: PLC0415 only this command needs its dependencies
    from spoe_guard.settings import session_config  # noqa: PLC0415

    loaded = _loaded(config)
    if loaded is None:
        return WRONG_USE
    routes = loaded.settings.routes
    if route >= len(routes):
        _say(f"--route: {route}: there are {len(routes)} routes, counted from 0")
        return WRONG_USE
    try:
        for line in commands.decode(file, session_config(loaded.settings, routes[route]), as_json=as_json):
            typer.echo(line)
    except CaptureError as error:
        _say(error)
        return WRONG_USE
    except BrokenPipeError:  # e.g. `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return CLEAN


_REPLAY: Final = """Play one side of a capture again, with its segmentation and its pauses.

--to agent: dials ADDR and is HAProxy. --to haproxy: listens on ADDR and is the agent, whose ACKs get the ids of the NOTIFYs
that HAProxy really sends. It waits for what the other side sent in the recording before it goes on."""


@app.command(help=_REPLAY)
def replay(
    file: Annotated[str, typer.Argument(metavar="FILE|-")],
    address: Annotated[str, typer.Argument(metavar="ADDR")],
    to: Annotated[str, typer.Option(metavar="agent|haproxy", help="Which peer to replay to.")],
    speed: Annotated[float, typer.Option(metavar="X", min=0, help="2: twice as fast; 0: without pauses.")] = 1.0,
    patience: Annotated[float, typer.Option(metavar="SECONDS", min=0.001, help="How long to wait for the other side.")] = 5.0,
    conversation: Annotated[int, typer.Option(metavar="N", min=0, help="Which one of the file, from 0.")] = 0,
) -> int:
    """Run the command."""
    from spoe_guard.address import parse  # noqa: PLC0415
    from spoe_guard.capture.files.model import CaptureError  # noqa: PLC0415
    from spoe_guard.capture.tell import commands  # noqa: PLC0415
    from spoe_guard.core.terms.anomalies import Side  # noqa: PLC0415

    if to not in ("agent", "haproxy"):
        _say(f"--to: {to!a}: allowed: agent, haproxy")
        return WRONG_USE
    try:
        where = parse(address)
    except ValueError as error:
        _say(f"ADDR: {address!a}: {error}")
        return WRONG_USE
    try:
        commands.play(file, Side(to), where, (speed, patience), conversation, sys.stdout)
    except CaptureError as error:
        _say(error)
        return CANNOT_RUN
    return CLEAN


@app.command(help="Tell the whole story in one terminal: a buggy agent, HAProxy, first without then with the guard.")
def demo() -> int:
    """Run the demo."""
    from spoe_guard import demo as story  # noqa: PLC0415

    return story.main()


@app.command(help="Live view of a running guard, from its admin address. Keys: q quits, s sorts, p pauses.")
def top(
    address: Annotated[str, typer.Argument(metavar="[ADDR]", help="Admin address of the guard.", show_default=True)] = ADMIN,
) -> int:
    """Show what the live page shows."""
    from spoe_guard.address import parse  # noqa: PLC0415
    from spoe_guard.top.ask import NoAnswerError  # noqa: PLC0415
    from spoe_guard.top.main import NotInstalledError, main  # noqa: PLC0415

    try:
        where = parse(address)
    except ValueError as error:
        _say(f"top: {address!r}: {error}")
        return WRONG_USE
    try:
        main(where)
    except (NoAnswerError, NotInstalledError) as error:
        _say(f"top: {error}")
        return CANNOT_RUN
    return CLEAN


@app.command(help="Print what is installed here.")
def version() -> int:
    """Print version, python, event loop, and whether the hot path is compiled."""
    from spoe_guard.about import about  # noqa: PLC0415

    known = about()
    typer.echo(f"spoe-guard {known['version']}")
    typer.echo(f"python     {known['python']}")
    typer.echo(f"event loop {known['loop']}")
    typer.echo(f"build      {'compiled' if known['compiled'] == 'true' else 'pure'}")
    return CLEAN
