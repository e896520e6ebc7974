"""The commands: `init`, and what `check` has to say of HAProxy's files."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from spoe_guard import address
from spoe_guard.haproxy_config.source import Source, Sources
from spoe_guard.haproxy_config.statements import Statement
from spoe_guard.placement import changes, guard_yaml, plan, table
from spoe_guard.placement.compare import contradictions, leads_to
from spoe_guard.placement.findings import Engine, PlacementError, Request, find_all, find_one
from spoe_guard.placement.recognise import Recognised, profile, profile_names, recognise
from spoe_guard.placement.write import CannotWriteError, expect_free, write
from spoe_guard.settings import ConfigError, Settings, load, named, warnings

__all__ = ["CannotWriteError", "Options", "PlacementError", "haproxy_warnings", "init", "request_of"]

USUAL_HAPROXY: Final = Path("/etc/haproxy/haproxy.cfg")
USUAL_OUTPUT: Final = Path("/etc/spoe-guard/spoe-guard.yaml")  # where there is that folder, as with the Debian package

_VERSION = re.compile(r"([0-9]{1,2})\.([0-9]{1,2})(?:[.-].*)?", re.ASCII)

Ask = Callable[[str, Sequence[str]], str]  # asks a person, with a default and what is allowed


@dataclass(frozen=True)
class Options:
    """What `init` is told beside HAProxy's files; None: not said. ``output``: the guard's file."""

    profile: str | None = None
    listen: str | None = None
    output: Path | None = None
    write: bool = False


def request_of(haproxy: Sequence[Path], spoe: Path | None, engine: str | None, version: str | None) -> Request:
    """Return what the command line says of HAProxy. ``haproxy``: empty where it says nothing.

    Raises:
        PlacementError: it makes no sense.
    """
    for name, value in (("--spoe", spoe), ("--engine", engine), ("--haproxy-version", version)):
        if value is not None and not haproxy:
            raise PlacementError(f"{name}: {str(value)!a}: it needs --haproxy FILE, too")
    found = _VERSION.fullmatch(version) if version is not None else None
    if version is not None and found is None:
        raise PlacementError(f"--haproxy-version: {version!a}: expected two numbers, as in 3.2")
    return Request(tuple(haproxy), spoe, engine, (int(found[1]), int(found[2])) if found else None)


def init(request: Request, environ: Mapping[str, str], options: Options, ask: Ask | None) -> Iterator[str]:
    """Yield what to print, and write it where that is asked for. ``ask``: None where nobody can be asked.

    Raises:
        PlacementError: nothing can be proposed; nothing was written.
        CannotWriteError: what was proposed cannot be written; nothing was changed.
    """
    output = options.output or (USUAL_OUTPUT if USUAL_OUTPUT.parent.is_dir() else Path(USUAL_OUTPUT.name))
    if options.write:
        expect_free(output)
    listen = _listen(options.listen)
    proposal = propose(request, environ, output, listen, lambda recognised: _profile(options.profile, recognised, ask))
    yield from proposal.lines
    files = [str(path) for path in proposal.changed]
    if not options.write:
        yield f"Nothing was written. --write writes {output}, and changes {' and '.join(files)}, of which it keeps a copy."
        return
    backups = write(output, proposal.written, proposal.changed, proposal.before)
    yield f"Written: {output}"
    for path, backup in backups.items():
        yield f"Changed: {path}, which is kept as {backup}"
    yield f"Start the guard (spoe-guard run --config {output}) before you reload HAProxy."


def _listen(text: str | None) -> address.Address | None:
    if text is None:
        return None
    try:
        found = address.parse(text)
    except ValueError as error:
        raise PlacementError(f"--listen: {text!a}: {error}") from None
    if found.path is None and not found.port:
        raise PlacementError(f"--listen: {text!a}: HAProxy needs to know the port; 0 is none")
    return found


def _profile(given: str | None, recognised: Recognised, ask: Ask | None) -> str:
    """Return the profile: as given, as a person says, or as recognised."""
    chosen = given if given is not None else recognised.profile or "none"
    if given is None and ask is not None:
        chosen = ask(chosen, profile_names())
    try:
        return profile(chosen)
    except ValueError as error:
        raise PlacementError(f"--profile: {chosen!a}: {error}") from None


@dataclass(frozen=True)
class Proposal:
    """What `init` proposes. ``lines``: all of it for a person. ``written``: the guard's file. ``changed``: HAProxy's files.

    ``before``: HAProxy's files as they are.
    """

    lines: Sequence[str]
    written: str
    changed: Mapping[Path, Source]
    before: Sources


def propose(
    request: Request,
    environ: Mapping[str, str],
    output: Path,
    listen: address.Address | None,
    choose: Callable[[Recognised], str],
) -> Proposal:
    """Return what `init` proposes. ``choose``: returns the profile, given what was recognised.

    Raises:
        PlacementError: nothing can be proposed.
    """
    before = Sources()
    found = find_one(request, before, environ)
    [engine] = found.engines
    _expect_no_guard(engine, output)
    taken, refused = plan.servers_to_guard(engine)
    if not taken:
        why = "; ".join(map(str, refused)) or f"{engine.backend.heading.place}: it has no server"
        raise PlacementError(f"no server of backend {engine.backend.name} can be guarded: {why}")
    recognised = recognise(engine)
    chosen = choose(recognised)
    addresses = plan.listen_addresses(listen, len(taken), engine)
    planned = plan.routes(engine, taken, addresses, chosen)
    settings = _read_back(guard_yaml.text(planned, found.haproxy.files))
    made, left = plan.changes(engine, planned, settings, chosen)
    changed = made.changed(before)
    # The files as they will be are read again, so that the guard is told, and warns of, what they will say.
    [after] = find_one(request, Sources(changed), environ).engines
    written = guard_yaml.text(plan.routes(after, taken, addresses, chosen), found.haproxy.files)
    settings = _read_back(written)
    worth_knowing = [
        *warnings(settings),
        *contradictions(settings, [after]),
        *_hints(engine, after, environ),
        *_of_others(request, engine, environ),
    ]
    lines = [
        *_chapter("found", table.lines(engine, recognised)),
        *_chapter("left alone", [*refused, *left]),
        *_chapter("not understood", named(list(map(str, found.notes)), len(found.notes))),
        *_chapter("worth knowing of the files as they will be", worth_knowing),
        *(str(output), *written.splitlines(), ""),
        *("changes of HAProxy's files", *changes.unified(before, changed), ""),
    ]
    return Proposal(lines, written, changed, before)


def _read_back(written: str) -> Settings:
    """Return the settings that the text means."""
    try:
        return guard_yaml.read_back(written).settings
    except ConfigError as error:
        problem = error.problems[0]
        raise PlacementError(f"the guard cannot be set up so: {problem.key}: {problem.value!a}: {problem.message}") from None


def _chapter(heading: str, rows: Sequence[object]) -> list[str]:
    """Return the rows below their heading; nothing where there are none."""
    return [heading, *(f"  {row}" for row in rows), ""] if rows else []


def _expect_no_guard(engine: Engine, output: Path) -> None:
    """Refuse to put a guard in front of the guard, where the file with the settings of the first is still there."""
    try:
        routes = load(output).settings.routes if output.exists() else []
    except ConfigError:
        return
    for server in engine.servers:
        name = next((route.name for route in routes if leads_to(engine, server, route)), None)
        if name is not None:
            raise PlacementError(f"{server.place}: server {server.name} leads to the guard already: route {name} of {output}")


def _hints(engine: Engine, after: Engine, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield what an operator should know beside contradictions. ``after``: the engine with the changes made."""
    name, prefix = after.named_option("set-on-error").value, after.var_prefix()
    if name and prefix and not after.haproxy.looks_at(f"txn.{prefix}.{name}"):
        rule = f"`http-request deny if {{ var(txn.{prefix}.{name}) -m found }}`"
        yield f"no rule looks at txn.{prefix}.{name}: a request without an answer goes on unless another one denies it, or {rule}"
    for place, used in _variables(engine).items():
        for variable in used:
            value = environ.get(variable)
            if value is not None and engine.haproxy.variables.values.get(variable) == value:
                yield f"{place}: {variable} is {value!a} in this environment; HAProxy's service has to have the same"
    for server in engine.servers:
        if "resolvers" in server.options:
            option = server.options["resolvers"]
            yield f"{option.place}: `{option}`: the guard looks names up itself, as this machine does, at every dial"
        if server.address.startswith(("/", "unix@", "uxst@")):
            yield f"{server.place}: the guard's user has to be allowed to connect to the Unix socket of server {server.name}"
        if header := next((server.options[name] for name in plan.PROXY_HEADERS if name in server.options), None):
            yield f"{header.place}: `{header}`: the guard takes the PROXY header off, so the agent gets none any more"


def _of_others(request: Request, engine: Engine, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield which other engines use the same backend, and so the guard, too."""
    try:
        others = find_all(replace(request, engine=None, spoe=None), Sources(), environ).engines
    except PlacementError:  # of an engine that nobody asked about
        return
    for other in others:
        if other.backend.name == engine.backend.name and other.name != engine.name:
            place = other.agent.heading.place
            yield f"{place}: engine {other.name} uses backend {other.backend.name}, too; its own timeouts were not looked at"


def _variables(engine: Engine) -> dict[str, list[str]]:
    """Return the variables in lines that were used, by the place of the line."""
    statements: list[Statement] = [*engine.agent.body, *(each.statement for each in engine.filters)]
    found = {str(each.place): list(each.used) for each in statements}
    found |= {str(server.place): list(server.used) for server in engine.servers}
    return {place: list(dict.fromkeys(used)) for place, used in found.items() if used}


def haproxy_warnings(request: Request, settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """Return where ``settings`` and HAProxy's files contradict each other, and what kept them from being compared.

    Without files there is nothing to compare.

    Raises:
        PlacementError: the files cannot be read, or have no engine.
    """
    if not request.haproxy:
        return []
    found = find_all(request, Sources(), environ)
    unread = [str(note) for note in found.notes if not note.everyday]
    return [*found.failed, *named(unread, len(unread)), *contradictions(settings, found.engines)]
