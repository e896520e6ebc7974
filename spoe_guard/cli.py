"""The command line: options, messages and exit codes. Each command imports what it needs when it runs."""

import contextlib
import inspect
import io
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn, TextIO

import typer
import typer.core

from spoe_guard import __version__
from spoe_guard.counted import counted

if TYPE_CHECKING:
    from spoe_guard.address import Address
    from spoe_guard.settings import Loaded

CLEAN: Final = 0
CANNOT_RUN: Final = 1
WRONG_USE: Final = 2

CONTROL: Final = "unix:/run/spoe-guard/control"  # where `ctl` looks; there is no default for admin.control
ADMIN: Final = "127.0.0.1:9464"  # admin.listen's default, written here because `--help` loads no settings

# Raised for every wrong use: click's own exception, which typer bundles but does not export.
_ClickError: Final[type[typer.BadParameter]] = typer.BadParameter.__mro__[2]

NAME: Final = "spoe-guard"
_COMPLETE: Final = "_SPOE_GUARD_COMPLETE"  # set by the shell that asks what may stand next

EXIT_STATUS: Final = """Exit status: 0, done, or stopped as asked; 1, it could not run, or what was asked for failed; 2, wrong
use or wrong settings, and nothing was done."""

app = typer.Typer(
    name=NAME,
    help="A transparent proxy between HAProxy and an SPOE agent: whatever the agent does, HAProxy lives.",
    epilog=EXIT_STATUS,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,  # `spoe-guard completion` has it, and changes no file of the user's
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> NoReturn:
    """Run a command and exit: 0 clean stop, 1 could not run, 2 wrong usage or configuration."""
    _open_standard_descriptors()
    output = _Output.instead_of(sys.stdout)
    try:
        if _COMPLETE in os.environ:
            # Only a shell that asks needs it. typer.completion says of neither function that it exports it.
            from typer.completion import completion_init  # type: ignore[attr-defined]  # noqa: PLC0415

            completion_init()
        code = app(prog_name=NAME, standalone_mode=False) or CLEAN
        output.flush()
    except _ClickError as error:
        _say(f"{' '.join(error.format_message().split()).rstrip('.')}; see spoe-guard --help")
        code = WRONG_USE
    except _WrongUseError as error:
        _say(error)
        code = WRONG_USE
    except (KeyboardInterrupt, typer.Abort):
        code = CANNOT_RUN
    except _LostOutputError as lost:
        os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())  # where Python's own last flush goes
        code = CLEAN  # e.g. `| head`, which has read what it wants
        if not isinstance(lost.why, BrokenPipeError):
            _say(f"standard output cannot be written: {lost.why.strerror}")
            code = CANNOT_RUN
    sys.exit(code)


def _open_standard_descriptors() -> None:
    """Open those of 0, 1 and 2 that are closed on /dev/null: a socket with such a number would get what is printed."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # noqa: FBT003  the lowest free number is this one


class _LostOutputError(Exception):
    def __init__(self, why: OSError) -> None:
        super().__init__(why)
        self.why = why


class _Output(io.TextIOWrapper):
    """Standard output. That it cannot be written is told from other errors."""

    @classmethod
    def instead_of(cls, stdout: TextIO | None) -> TextIO:
        """Put it in the place of ``stdout``, if that is a file; return what there is, a sink if there is nothing."""
        if not isinstance(stdout, io.TextIOWrapper):  # it is closed, or a test's
            return stdout or io.StringIO()
        how = stdout.encoding, stdout.line_buffering, stdout.write_through
        # A peer's text may contain characters the terminal lacks.
        output = cls(stdout.detach(), how[0], "backslashreplace", line_buffering=how[1], write_through=how[2])
        sys.stdout = sys.__stdout__ = output  # type: ignore[misc]  # the one from before has no file any more
        return output

    def write(self, text: str) -> int:
        """Write ``text``."""
        try:
            return super().write(text)
        except OSError as error:
            raise _LostOutputError(error) from None

    def flush(self) -> None:
        """Write what was held back."""
        try:
            super().flush()
        except OSError as error:
            raise _LostOutputError(error) from None


class _WrongUseError(Exception):
    """The command cannot be carried out as it was given; the text says why, in one line."""


def _address(option: str, text: str) -> "Address":
    from spoe_guard.address import parse  # noqa: PLC0415

    try:
        return parse(text)
    except ValueError as error:
        raise _WrongUseError(f"{option}: {text!a}: {error}") from None


def _tell(line: str) -> None:
    """Print a line of a command that goes on, so that whoever reads it sees it now."""
    typer.echo(line)
    sys.stdout.flush()


def _say(*lines: object) -> None:
    with contextlib.suppress(OSError):  # nobody can be told
        for line in lines:
            print(f"spoe-guard: {line}", file=sys.stderr)  # noqa: T201 this is what stderr is for


def _one_of(*choices: str) -> Callable[[str], list[str]]:
    """Return what a shell asks for what may stand there."""
    return lambda incomplete: [choice for choice in choices if choice.startswith(incomplete)]


def _print_version(wanted: bool) -> None:  # noqa: FBT001  typer calls it
    if wanted:
        typer.echo(f"{NAME} {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _begin(
    context: typer.Context,
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", "-V", help="Print the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        _help(context)


def _help(context: typer.Context) -> NoReturn:
    """Print the help to standard error: a command is missing, and nothing was done."""
    with contextlib.suppress(OSError):
        print(context.get_help(), file=sys.stderr)  # noqa: T201 this is what stderr is for
    raise typer.Exit(WRONG_USE)


def _with_settings(action: Callable[..., int]) -> Callable[..., int]:
    """Add the options for settings to a command, and pass it a function that reads the settings.

    The arguments of ``action`` that have a name only are options of that command alone.
    """

    def command(  # noqa: PLR0913, PLR0917 one per flag
        config: Annotated[Path | None, typer.Option(metavar="FILE", help="Settings in YAML.")] = None,
        listen: Annotated[str | None, typer.Option(metavar="ADDR", help="Address that HAProxy connects to.")] = None,
        agent: Annotated[str | None, typer.Option(metavar="ADDR", help="Address of the agent.")] = None,
        admin: Annotated[str | None, typer.Option(metavar="ADDR", help="Admin address: page, metrics, health.")] = None,
        mode: Annotated[
            str | None,
            typer.Option(
                metavar="enforce|observe", help="Repair traffic, or only report.", autocompletion=_one_of("enforce", "observe")
            ),
        ] = None,
        workers: Annotated[str | None, typer.Option(metavar="N", help="Number of worker processes; 0: one per core.")] = None,
        log_format: Annotated[
            str | None, typer.Option(metavar="json|console", help="Log format.", autocompletion=_one_of("json", "console"))
        ] = None,
        log_level: Annotated[
            str | None,
            typer.Option(
                metavar="LEVEL",
                help="Log level: debug, info, warning or error.",
                autocompletion=_one_of("debug", "info", "warning", "error"),
            ),
        ] = None,
        **own: object,
    ) -> int:
        # As PID 1 of a container it would ignore SIGTERM until it listens: the kernel drops signals to PID 1 without a handler.
        signal.signal(signal.SIGTERM, _leave)
        signal.signal(signal.SIGQUIT, _leave)
        # Their default ends a process, too; a guard that runs says that it ignores them.
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM):
            signal.signal(number, signal.SIG_IGN)
        # The default of SIGHUP ends a process; an early one waits until the guard can handle it.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP,))
        from spoe_guard.settings import load  # noqa: PLC0415 `version` and `--help` do not need it

        flags = {
            "--listen": listen,
            "--agent": agent,
            "--admin": admin,
            "--mode": mode,
            "--workers": workers,
            "--log-format": log_format,
            "--log-level": log_level,
        }
        return action(partial(load, config, os.environ, flags), **own)

    shared = [each for each in inspect.signature(command).parameters.values() if each.kind is not each.VAR_KEYWORD]
    own_options = [each for each in inspect.signature(action).parameters.values() if each.kind is each.KEYWORD_ONLY]
    command.__signature__ = inspect.Signature([*shared, *own_options])  # type: ignore[attr-defined]  # what typer reads
    return command


def _leave(_number: int, _frame: object) -> NoReturn:
    sys.exit(CANNOT_RUN)


def _read(read: "Callable[[], Loaded]") -> "Loaded | None":
    """Return the settings; if they are invalid, print the reason and return None."""
    from spoe_guard.settings import ConfigError  # noqa: PLC0415

    try:
        return read()
    except ConfigError as error:
        _say(*error.lines())
        return None


def _run(again: "Callable[[], Loaded]") -> int:
    loaded = _read(again)
    if loaded is None:
        return WRONG_USE
    from spoe_guard.run.serve import CannotRunError, serve  # noqa: PLC0415
    from spoe_guard.settings import usable_cores  # noqa: PLC0415
    from spoe_guard.threads import NoThreadError  # noqa: PLC0415

    workers = loaded.settings.workers or usable_cores()
    try:
        if workers == 1:
            return CLEAN if serve(loaded, again) else CANNOT_RUN
        from spoe_guard.run.workers.parent import serve as serve_with  # noqa: PLC0415  a single process does not need it

        return CLEAN if serve_with(loaded, again, workers) else CANNOT_RUN
    except CannotRunError as error:
        _say(error)
    except NoThreadError as error:
        _say(error.strerror)
    return CANNOT_RUN


_HAProxy = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="HAProxy's configuration, a file or a folder as for its -f; may be given several times."),
]
_Spoe = Annotated[Path | None, typer.Option(metavar="FILE", help="spoe.conf, if it is not where `filter spoe` says.")]
_Engine = Annotated[str | None, typer.Option(metavar="NAME", help="Which engine, where HAProxy has several.")]
_HAProxyVersion = Annotated[str | None, typer.Option(metavar="X.Y", help="HAProxy's version, such as 3.2.")]


def _check(  # noqa: PLR0913 one per flag
    read: "Callable[[], Loaded]",
    *,
    diff: Annotated[bool, typer.Option("--diff", help="Only what differs from the defaults.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="All of it as one JSON object, also what is wrong.")] = False,
    haproxy: _HAProxy = None,
    spoe: _Spoe = None,
    engine: _Engine = None,
    haproxy_version: _HAProxyVersion = None,
    strict: Annotated[bool, typer.Option("--strict", help="End with 2 if there is a warning.")] = False,
) -> int:
    from spoe_guard.placement import commands as placement  # noqa: PLC0415
    from spoe_guard.settings import ConfigError, effective, warnings  # noqa: PLC0415

    try:
        loaded = read()
    except ConfigError as error:
        if as_json:
            typer.echo(effective.refused(error))
        else:
            _say(*error.lines())
        return WRONG_USE
    notes = warnings(loaded.settings)
    try:
        request = placement.request_of(haproxy or [], spoe, engine, haproxy_version)
        notes += placement.haproxy_warnings(request, loaded.settings, os.environ)
    except placement.PlacementError as error:
        if as_json:
            typer.echo(effective.refused_with("--haproxy", str(error)))
        else:
            _say(error)
        return WRONG_USE
    code = WRONG_USE if strict and notes else CLEAN
    if as_json:
        typer.echo(effective.document(loaded, notes, diff=diff))
        return code
    for line in effective.differences(loaded) if diff else effective.everything(loaded):
        typer.echo(line)
    if notes:
        typer.echo("\nwarnings")
    for note in notes:
        typer.echo(f"  {note}")
    if code == CLEAN:
        typer.echo("\nOK. Addresses were checked for syntax only.")
    else:
        typer.echo("\nNot OK: there are warnings, and --strict was given.")
    return code


_RUN: Final = """Stand between HAProxy and the agent, until SIGTERM, SIGINT or SIGQUIT.

Settings are in a file in YAML; variables of the environment, such as SPOE_GUARD_MODE=observe, come before it, and options
before them.

The first one lets open NOTIFYs be answered and ends with exit code 0; a second one cuts them short and ends with 1. SIGHUP
reads the settings again: new sessions get them, and settings that cannot be used change nothing."""
app.command("run", help=_RUN, short_help="Stand between HAProxy and the agent.")(_with_settings(_run))

_CHECK: Final = """Check the settings; print those in effect and where each comes from.

With --haproxy it warns of each contradiction between them and HAProxy's files, too, and says what to do about it."""
app.command("check", help=_CHECK, short_help="Check the settings; print those in effect.")(_with_settings(_check))


_INIT: Final = """Put the guard in front of the agent: read HAProxy's files; show what was found, the guard's settings for it, and
which lines of HAProxy's files change.

It writes nothing without --write, and then keeps a copy of each file that it changes. A file with settings that is there already
is never written over."""


def _profiles(incomplete: str) -> list[str]:
    from spoe_guard.placement.recognise import profile_names  # noqa: PLC0415

    return _one_of(*profile_names())(incomplete)


@app.command(help=_INIT, short_help="Put the guard in front of the agent, from HAProxy's own files.")
def init(  # noqa: PLR0913, PLR0917 one per flag
    haproxy: _HAProxy = None,
    spoe: _Spoe = None,
    engine: _Engine = None,
    profile: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Which agent it is: coraza, coraza@0.7, ...; none: any.", autocompletion=_profiles),
    ] = None,
    listen: Annotated[
        str | None, typer.Option(metavar="ADDR", help="Where the guard listens; further routes take the next ports.")
    ] = None,
    haproxy_version: _HAProxyVersion = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Where the guard's settings go.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Write the settings, and change HAProxy's files.")] = False,  # noqa: FBT002
) -> int:
    """Propose settings and changes, or make them."""
    from spoe_guard.placement import commands as placement  # noqa: PLC0415 only this command and `check` need it

    ask = _ask_for_profile if profile is None and sys.stdin.isatty() and sys.stdout.isatty() else None
    try:
        request = placement.request_of(haproxy or [placement.USUAL_HAPROXY], spoe, engine, haproxy_version)
        for line in placement.init(request, os.environ, placement.Options(profile, listen, output, write), ask):
            typer.echo(line)
    except placement.PlacementError as error:
        _say(error)
        return WRONG_USE
    except placement.CannotWriteError as error:
        _say(error)
        return CANNOT_RUN
    return CLEAN


def _ask_for_profile(default: str, allowed: Sequence[str]) -> str:
    answer: str = typer.prompt(f"Which agent is it ({', '.join(allowed)})", default=default)
    return answer


def _examples(incomplete: str) -> list[str]:
    from spoe_guard.examples import EXAMPLES  # noqa: PLC0415

    return _one_of(*EXAMPLES)(incomplete)


_EXAMPLE: Final = """Print the configuration files that come with spoe-guard; without NAME, list them.

NAME is one of the list, such as config, haproxy, systemd, compose, alerts, dashboard or fleet, or one file of it. Of several
files each is printed below its path."""


@app.command(help=_EXAMPLE, short_help="Print the configuration files that come with spoe-guard.")
def example(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="What to print.", autocompletion=_examples)] = None,
    to: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write the files below this folder; none that is there is replaced.")
    ] = None,
) -> int:
    """Print the files of an example, or write them."""
    from spoe_guard import examples  # noqa: PLC0415

    try:
        if name is None:
            lines: Iterable[object] = examples.listed()
        else:
            lines = examples.printed(name) if to is None else examples.written(name, to)
        for line in lines:
            typer.echo(line)
    except examples.WrongUseError as error:
        _say(error)
        return WRONG_USE
    except OSError as error:
        _say(f"example: {error.filename}: {error.strerror}")
        return CANNOT_RUN
    return CLEAN


_DECODE: Final = """Print a capture frame by frame, both sides in time order, with every anomaly and what the guard would do.

FILE: pcapng (of the flight recorder, or of tcpdump between HAProxy and its agent), raw bytes, hex, or recorded streams in JSON.
Marks: ! an anomaly, > what the guard would do, # about the capture."""


@app.command(help=_DECODE, short_help="Print a capture frame by frame, and what the guard would do.")
def decode(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="The capture; -: standard input.")],
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="Settings to judge by.")] = None,
    route: Annotated[int, typer.Option(metavar="N", min=0, help="Which of their routes, from 0.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,  # noqa: FBT002 a flag
) -> int:
    """Run the command."""
    from spoe_guard.capture.files.model import CaptureError  # noqa: PLC0415
    from spoe_guard.capture.tell import commands  # noqa: PLC0415 only this command needs its dependencies
    from spoe_guard.settings import load, session_config  # noqa: PLC0415

    loaded = _read(partial(load, config, os.environ))
    if loaded is None:
        return WRONG_USE
    routes = loaded.settings.routes
    if route >= len(routes):
        _say(f"--route: {route}: there {'is' if len(routes) == 1 else 'are'} {counted(len(routes), 'route')}, counted from 0")
        return WRONG_USE
    try:
        for line in commands.decode(file, session_config(loaded.settings, routes[route]), as_json=as_json):
            typer.echo(line)
    except CaptureError as error:
        _say(error)
        return WRONG_USE
    return CLEAN


_REPLAY: Final = """Play one side of a capture again, with its segmentation and its pauses.

--to agent: dials ADDR and is HAProxy. --to haproxy: listens on ADDR and is the agent, whose ACKs get the ids of the NOTIFYs
that HAProxy really sends. It waits for what the other side sent in the recording before it goes on."""


@app.command(help=_REPLAY, short_help="Play one side of a capture again.")
def replay(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="The capture; -: standard input.")],
    address: Annotated[str, typer.Argument(metavar="ADDR", help="Of the agent, or where HAProxy looks for it.")],
    to: Annotated[
        str,
        typer.Option(metavar="agent|haproxy", help="Which peer to replay to.", autocompletion=_one_of("agent", "haproxy")),
    ],
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


_DEMO: Final = "Tell the whole story in one terminal: a buggy agent, HAProxy, first without then with the guard."


@app.command(help=_DEMO, short_help="Tell the whole story in one terminal.")
def demo() -> int:
    """Run the demo."""
    from spoe_guard import demo as story  # noqa: PLC0415

    return story.main()


_TOP: Final = "Live view of a running guard, from its admin address. Keys: q quits, s sorts, p pauses."


@app.command(help=_TOP, short_help="Live view of a running guard.")
def top(
    address: Annotated[str, typer.Argument(metavar="ADDR", help="Admin address of the guard.", show_default=True)] = ADMIN,
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


ctl = typer.Typer(
    help="Ask a running guard, and change things in it, over the Unix socket that admin.control opens (docs/control.md).",
    short_help="Ask a running guard, and change things in it.",
    invoke_without_command=True,
    rich_markup_mode=None,
)
app.add_typer(ctl, name="ctl")

_Socket = Annotated[str, typer.Option("--socket", metavar="ADDR", help="The guard's admin.control.", show_default=True)]
_AsJson = Annotated[bool, typer.Option("--json", help="The answer as one JSON object.")]
_RouteName = Annotated[str, typer.Argument(metavar="ROUTE", help="The name of a route.")]
_OfRoute = Annotated[str | None, typer.Option("--route", metavar="ROUTE", help="Of this route alone.")]


@ctl.callback()
def _ctl(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        _help(context)


def _asked(socket: str, request: dict[str, object], *, as_json: bool, patience_s: float | None = None) -> int:
    """Have the guard do something, and print what comes of it."""
    import json  # noqa: PLC0415

    from spoe_guard.control import client, text  # noqa: PLC0415
    from spoe_guard.control.protocol import RefusedError  # noqa: PLC0415

    path = _address("--socket", socket).path
    if path is None:
        raise _WrongUseError(f"--socket: {socket!a}: expected unix:/path, the guard's admin.control")
    request = {key: value for key, value in request.items() if value is not None}
    try:
        for last, told in client.ask(path, request, patience_s or client.PATIENCE_S):
            if as_json:
                _tell(json.dumps(told))
            else:
                for line in text.lines(str(request["do"]), told) if last else text.item(told):
                    _tell(line)
    except (client.NoAnswerError, RefusedError) as error:
        _say(f"ctl {request['do']}: {error}")
        return CANNOT_RUN
    return CLEAN


@ctl.command("status", help="Print whether all is well, and the numbers of each route.")
def ctl_status(socket: _Socket = CONTROL, *, as_json: _AsJson = False) -> int:
    """Ask for it."""
    return _asked(socket, {"do": "status"}, as_json=as_json)


@ctl.command("sessions", help="List HAProxy's connections: who, for how long, in which mode, with how many open NOTIFYs.")
def ctl_sessions(route: _OfRoute = None, socket: _Socket = CONTROL, *, as_json: _AsJson = False) -> int:
    """Ask for them."""
    return _asked(socket, {"do": "sessions", "route": route}, as_json=as_json)


@ctl.command("links", help="List the connections to agents.")
def ctl_links(route: _OfRoute = None, socket: _Socket = CONTROL, *, as_json: _AsJson = False) -> int:
    """Ask for them."""
    return _asked(socket, {"do": "links", "route": route}, as_json=as_json)


@ctl.command("routes", help="List the routes: where each listens, its agent, its mode, and whether it is drained.")
def ctl_routes(socket: _Socket = CONTROL, *, as_json: _AsJson = False) -> int:
    """Ask for them."""
    return _asked(socket, {"do": "routes"}, as_json=as_json)


@ctl.command("config", help="Print the settings in effect, and where each comes from.")
def ctl_config(socket: _Socket = CONTROL, *, as_json: _AsJson = False) -> int:
    """Ask for them."""
    return _asked(socket, {"do": "config"}, as_json=as_json)


_CTL_MODE: Final = """Let the new sessions of a route be enforced, or only observed, until the next reload.

Those that are open go on in their mode until they end; nothing is closed, and nothing is lost."""


@ctl.command("mode", help=_CTL_MODE, short_help="Enforce or observe the new sessions of a route.")
def ctl_mode(
    route: _RouteName,
    mode: Annotated[
        str, typer.Argument(metavar="enforce|observe", help="Which mode.", autocompletion=_one_of("enforce", "observe"))
    ],
    socket: _Socket = CONTROL,
    *,
    as_json: _AsJson = False,
) -> int:
    """Have it changed."""
    return _asked(socket, {"do": "mode", "route": route, "mode": mode}, as_json=as_json)


_CTL_DRAIN: Final = """Stop to listen on a route, and end its sessions as a stop of the guard does: open NOTIFYs get their ACKs.

It returns when the last of them has ended. Until `resume` HAProxy is refused there, as if nobody listened; a reload changes
nothing about it."""
_DRAIN_S: Final = 3600.0  # the guard's own settings bound it


@ctl.command("drain", help=_CTL_DRAIN, short_help="Stop to listen on a route, and end its sessions in order.")
def ctl_drain(route: _RouteName, socket: _Socket = CONTROL, *, as_json: _AsJson = False) -> int:
    """Have it drained, however long that takes."""
    return _asked(socket, {"do": "drain", "route": route}, as_json=as_json, patience_s=_DRAIN_S)


@ctl.command("resume", help="Listen again on a route that was drained.")
def ctl_resume(route: _RouteName, socket: _Socket = CONTROL, *, as_json: _AsJson = False) -> int:
    """Have it listen."""
    return _asked(socket, {"do": "resume", "route": route}, as_json=as_json)


@ctl.command("close", help="End one session as a stop of the guard does: open NOTIFYs get their ACKs, then HAProxy is told.")
def ctl_close(
    session: Annotated[str, typer.Argument(metavar="SESSION", help="As `ctl sessions` calls it.")],
    socket: _Socket = CONTROL,
    *,
    as_json: _AsJson = False,
) -> int:
    """Have it ended."""
    return _asked(socket, {"do": "close", "session": session}, as_json=as_json)


@ctl.command("log-level", help="Log at another level until the next reload.")
def ctl_log_level(
    level: Annotated[
        str,
        typer.Argument(
            metavar="LEVEL",
            help="debug, info, warning or error.",
            autocompletion=_one_of("debug", "info", "warning", "error"),
        ),
    ],
    socket: _Socket = CONTROL,
    *,
    as_json: _AsJson = False,
) -> int:
    """Have it changed."""
    return _asked(socket, {"do": "log-level", "log_level": level}, as_json=as_json)


@ctl.command("reload", help="Read the settings again, as SIGHUP does, and say what has changed or why nothing has.")
def ctl_reload(socket: _Socket = CONTROL, *, as_json: _AsJson = False) -> int:
    """Have them read."""
    return _asked(socket, {"do": "reload"}, as_json=as_json, patience_s=30.0)


_CTL_CAPTURE: Final = """Write captures of a route's sessions, as the flight recorder keeps them, for `spoe-guard decode`.

Of each process up to 8 sessions: those whose NOTIFYs wait longest, then the oldest. It needs `capture.dir`."""


@ctl.command("capture", help=_CTL_CAPTURE, short_help="Write captures of a route's sessions.")
def ctl_capture(
    route: _RouteName,
    seconds: Annotated[
        int, typer.Option(metavar="N", min=0, max=300, help="Go on recording for so long before they are written.")
    ] = 0,
    socket: _Socket = CONTROL,
    *,
    as_json: _AsJson = False,
) -> int:
    """Have them written."""
    return _asked(socket, {"do": "capture", "route": route, "seconds": seconds}, as_json=as_json)


_CTL_TAP: Final = """Print the frames of a route as they come, decoded, and each anomaly with what is done about it.

It shows names and types, no values; --values shows them where `admin.payload` is full. At most 100 a second: what is left out is
counted. With --json each is an object on a line of its own."""


@ctl.command("tap", help=_CTL_TAP, short_help="Print the frames of a route as they come.")
def ctl_tap(
    route: _RouteName,
    *,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=10_000, help="End after so many.", show_default=True)] = 100,
    seconds: Annotated[int, typer.Option(metavar="N", min=1, max=600, help="End after so long.", show_default=True)] = 60,
    values: Annotated[bool, typer.Option("--values", help="Show values, too.")] = False,
    socket: _Socket = CONTROL,
    as_json: _AsJson = False,
) -> int:
    """Listen."""
    asked = {"do": "tap", "route": route, "limit": limit, "seconds": seconds, "values": values}
    return _asked(socket, asked, as_json=as_json)


_GENERATIONS: Final = ("up-to-3.0", "from-3.1")
_SHELLS: Final = ("bash", "zsh", "fish")
# zsh loads the file when it is first asked for a completion, and runs it in place of the function that it defines.
_ZSH_AT_ONCE: Final = '[ "$funcstack[1]" = "_spoe-guard" ] && _spoe_guard_completion'
_COMPLETION: Final = """Print what makes a shell complete the commands, options and values of spoe-guard: bash, zsh or fish.

For this user and bash: spoe-guard completion bash > ~/.local/share/bash-completion/completions/spoe-guard. zsh wants a file
_spoe-guard in a folder of its fpath, fish ~/.config/fish/completions/spoe-guard.fish."""


@app.command(help=_COMPLETION, short_help="Print the completion for bash, zsh or fish.")
def completion(
    shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh or fish.", autocompletion=_one_of(*_SHELLS))],
) -> int:
    """Print a script that the shell sources."""
    if shell not in _SHELLS:
        _say(f"completion: {shell!a}: allowed: {', '.join(_SHELLS)}")
        return WRONG_USE
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # noqa: PLC0415

    typer.echo(get_completion_script(prog_name=NAME, complete_var=_COMPLETE, shell=shell))
    if shell == "zsh":
        typer.echo(_ZSH_AT_ONCE)
    return CLEAN


lab = typer.Typer(
    help="The other two ends by hand, to try your alerts and your HAProxy: an agent that goes wrong, and HAProxy's side.",
    short_help="An agent that goes wrong, and HAProxy's side, by hand.",
    invoke_without_command=True,
    rich_markup_mode=None,
)
app.add_typer(lab, name="lab")


@lab.callback()
def _lab(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        _help(context)


def _faults(incomplete: str) -> list[str]:
    from spoe_guard.lab.faults import FAULTS  # noqa: PLC0415

    return _one_of(*FAULTS)(incomplete)


class _WithFaults(typer.core.TyperCommand):
    """A command whose help ends with the list of faults, which is loaded only then."""

    @staticmethod
    def rows() -> dict[str, list[tuple[str, str]]]:
        """Return the list, below its title."""
        from spoe_guard.lab.faults import FAULTS  # noqa: PLC0415

        return {"Faults": [(fault.name, fault.told()) for fault in FAULTS.values()]}

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401  click's, which typer does not export
        """Write the list."""
        for title, rows in self.rows().items():
            with formatter.section(title):
                formatter.write_dl(rows)
        super().format_epilog(ctx, formatter)


_LAB_AGENT: Final = """Be an SPOE agent, and go wrong where --fault says what, on every NOTIFY or HELLO it concerns, or on some.

It answers each NOTIFY with the variables of --set, or with txn.verdict: the NOTIFY's own first argument. Once a second it says
what it has done, until SIGINT or SIGTERM. Without the guard in between some faults end your HAProxy."""


@lab.command("agent", help=_LAB_AGENT, short_help="Be an agent that goes wrong.", cls=_WithFaults)
def lab_agent(  # noqa: PLR0913 one per option
    *,
    listen: Annotated[str, typer.Option(metavar="ADDR", help="Where HAProxy, or the guard, finds it.")] = "127.0.0.1:9000",
    fault: Annotated[str | None, typer.Option(metavar="NAME", help="What it does wrong.", autocompletion=_faults)] = None,
    every: Annotated[int | None, typer.Option(metavar="N", min=1, help="It goes wrong on every N-th; 1 if not given.")] = None,
    probability: Annotated[
        float | None, typer.Option(metavar="P", min=0, max=1, help="Or on each with this probability.")
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Of that chance: the same N, the same faults.")] = None,
    count: Annotated[int | None, typer.Option(metavar="N", min=1, help="At most N faults in all.")] = None,
    rate: Annotated[int, typer.Option(metavar="N", min=1, max=1000, help="At most N faults a second.", show_default=True)] = 100,
    connections: Annotated[
        int, typer.Option(metavar="N", min=1, max=4096, help="At most N connections; more are closed at once.", show_default=True)
    ] = 256,
    delay: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, max=60, help="How long each answer takes.", show_default=True)
    ] = 0,
    late: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.001, max=60, help="How much later a late_ack comes.", show_default=True)
    ] = 1,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="[SCOPE.]NAME[:TYPE]=VALUE", help="A variable to answer with; may be given several times."),
    ] = None,
) -> int:
    """Serve until a signal."""
    import asyncio  # noqa: PLC0415

    from spoe_guard.lab import serve  # noqa: PLC0415
    from spoe_guard.net.bind import ListenError, bind  # noqa: PLC0415
    from spoe_guard.net.route import Route  # noqa: PLC0415

    turns = {"every": every, "probability": probability, "seed": seed, "count": count, "rate": rate}
    try:
        wishes = serve.wishes(fault, turns, set_ or [], delay_s=delay, late_s=late)
    except ValueError as error:
        raise _WrongUseError(error) from None
    where = _address("--listen", listen)

    async def listen_and_serve() -> None:
        bound = await bind(Route("lab", where, ()))
        try:
            await serve.serve(bound.sock, str(bound.address), wishes, connections, _tell)
        finally:
            bound.close()

    try:
        asyncio.run(listen_and_serve())
    except ListenError as error:
        _say(f"lab agent: {error.reason}")
        return CANNOT_RUN
    return CLEAN


_LAB_HAPROXY: Final = """Be HAProxy: send NOTIFYs to an agent, or to the guard in front of it.

It prints what came back and how long it took. The exit status is 1 where one of them got no answer."""


@lab.command("haproxy", help=_LAB_HAPROXY, short_help="Send NOTIFYs to an agent, as HAProxy does.")
def lab_haproxy(  # noqa: PLR0913 one per option
    address: Annotated[str, typer.Argument(metavar="ADDR", help="Where the guard, or the agent, listens.")] = "127.0.0.1:12345",
    *,
    count: Annotated[int, typer.Option(metavar="N", min=1, max=1_000_000, help="So many NOTIFYs.", show_default=True)] = 10,
    rate: Annotated[float, typer.Option(metavar="N", min=0.01, max=1000, help="So many a second.", show_default=True)] = 10,
    connections: Annotated[
        int, typer.Option(metavar="N", min=1, max=256, help="Over so many connections, by turns.", show_default=True)
    ] = 1,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.001, max=600, help="How long each may take.", show_default=True)
    ] = 1,
    message: Annotated[str, typer.Option(metavar="NAME", help="The message in the NOTIFY.", show_default=True)] = "check",
    arg: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:TYPE]=VALUE", help="An argument of it, path=/lab if none is given; may be given several times."
        ),
    ] = None,
    generation: Annotated[
        str,
        typer.Option(
            metavar="up-to-3.0|from-3.1", help="Which HAProxy to be.", show_default=True, autocompletion=_one_of(*_GENERATIONS)
        ),
    ] = "from-3.1",
    check: Annotated[bool, typer.Option("--check", help="Health checks, as of option spop-check, in place of NOTIFYs.")] = False,
) -> int:
    """Ask, and print each answer."""
    import asyncio  # noqa: PLC0415

    from spoe_guard.lab import ask  # noqa: PLC0415

    where = _address("ADDR", address)
    if generation not in _GENERATIONS:
        raise _WrongUseError(f"--generation: {generation!a}: allowed: {', '.join(_GENERATIONS)}")
    try:
        plan = ask.plan(
            message, arg or ["path=/lab"], count=count, rate=rate, connections=connections, timeout_s=timeout,
            up_to_3_0=generation == _GENERATIONS[0], check=check,
        )  # fmt: skip
        result = asyncio.run(ask.carry_out(where, plan, _tell))
    except ValueError as error:
        raise _WrongUseError(error) from None
    _tell(result.summary(plan))
    return CLEAN if result.seconds and not result.failed else CANNOT_RUN
