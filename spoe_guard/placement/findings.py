"""What HAProxy's files say of an SPOE engine: its agent, the agent's backend, and the servers there."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

from spoe_guard.address import Address, parse
from spoe_guard.haproxy_config import haproxy_cfg, spoe_conf
from spoe_guard.haproxy_config.haproxy_cfg import DEFAULT_BUFSIZE, Filter, HaproxyCfg, Proxy, Server
from spoe_guard.haproxy_config.source import SourceError, Sources, files_of
from spoe_guard.haproxy_config.spoe_conf import SpoeConf
from spoe_guard.haproxy_config.statements import Note, Section, Statement
from spoe_guard.settings import units
from spoe_guard.wire.frame import LENGTH_BYTES

SPOP_MODE_FROM: Final = (3, 1)  # from here on a backend of agents may be `mode spop`, and has its own timeouts

_TCP_PREFIXES: Final = ("ip@", "ipv4@", "ipv6@", "tcp@", "tcp4@", "tcp6@", "mptcp@", "mptcp4@", "mptcp6@")
_UNIX_PREFIXES: Final = ("unix@", "uxst@")
_FAMILY = re.compile(r"[a-z0-9+]+@", re.ASCII)
_ANY_HOST: Final = ("", "*", "0.0.0.0", "::", "[::]")  # noqa: S104 compared with, not bound

T = TypeVar("T")


class PlacementError(Exception):
    """The files do not say what is needed. One line for a person: what is wrong, and what to do."""


@dataclass(frozen=True)
class Request:
    """What the command line says of HAProxy. ``haproxy``: files or folders, as for its ``-f``. ``started_in``: where it starts.

    ``version``: HAProxy's, as ``--haproxy-version`` has it; None: not said.
    """

    haproxy: tuple[Path, ...]
    spoe: Path | None = None
    engine: str | None = None
    version: tuple[int, int] | None = None
    started_in: Path = Path()


@dataclass(frozen=True)
class Value(Generic[T]):
    """What a line says. ``value``: None where no line says it, or for the reason ``why``. ``statement``: the line."""

    value: T | None
    statement: Statement | None
    why: str = ""

    @property
    def place(self) -> str:
        """Where the line stands; empty without one."""
        return str(self.statement.place) if self.statement else ""


@dataclass(frozen=True)
class Engine:
    """One engine and all that belongs to it. ``version``: HAProxy's, or None."""

    name: str
    filters: Sequence[Filter]
    conf: SpoeConf
    agent: Section
    backend: Proxy
    servers: Sequence[Server]
    haproxy: HaproxyCfg
    version: tuple[int, int] | None

    @property
    def from_3_1(self) -> bool | None:
        """Whether it is HAProxy 3.1 or later; None: it cannot be told."""
        if self.version is not None:
            return self.version >= SPOP_MODE_FROM
        return True if self.mode().value == "spop" else None

    def mode(self) -> Value[str]:
        """Return the backend's mode."""
        return _value(self.backend.inherited("mode"), 1, str)

    def timeout(self, name: str) -> Value[float]:
        """Return a timeout of the agent, in seconds: `hello`, `idle` or `processing`. 0, which is without end, counts as none."""
        return _value(self.agent.last("timeout", name), 2, lambda text: units.duration(text) or None)

    def named_option(self, name: str) -> Value[str]:
        """Return what an option of the agent names, as in `option set-on-error NAME`."""
        return _value(self.agent.last("option", name), 2, str)

    def var_prefix(self) -> str:
        """Return the prefix of the agent's variables; empty if it cannot be known."""
        said = self.named_option("var-prefix")
        return said.value or ("" if said.statement else self.agent.name)

    def max_frame_size(self) -> Value[int]:
        """Return the longest frame that HAProxy offers, in bytes."""
        own = _value(self.agent.last("max-frame-size"), 1, units.size)
        if own.statement is not None:
            return own
        bufsize = self.bufsize()
        frame = None if bufsize.value is None else bufsize.value - LENGTH_BYTES
        return Value(frame if bufsize.statement else DEFAULT_BUFSIZE - LENGTH_BYTES, bufsize.statement, bufsize.why)

    def bufsize(self) -> Value[int]:
        """Return `tune.bufsize`."""
        return _value(self.haproxy.last_global("tune.bufsize"), 1, units.size)

    def chroot(self) -> Value[str]:
        """Return the folder in which HAProxy's paths of Unix sockets begin; empty: the root."""
        said = _value(self.haproxy.last_global("chroot"), 1, _folder)
        return said if said.statement else Value("", None)

    def address(self, server: Server) -> Address:
        """Return where that server is, as the guard would dial it.

        Raises:
            ValueError: it cannot be told, or the guard cannot dial it; the message says why.
        """
        if server.unset:
            names = ", ".join(dict.fromkeys(server.unset))
            raise ValueError(f"{names} is not set in this environment; set it as HAProxy's service has it")
        found = address_of(server.address)
        if found.path is None:
            return found
        chroot = self.chroot()
        if chroot.value is None:
            raise ValueError(f"its path begins in HAProxy's chroot ({chroot.place}): {chroot.why}")
        return parse(f"unix:{chroot.value}{found.path}")

    def in_haproxys_words(self, where: Address) -> str:
        """Return an address of the guard as HAProxy's server line takes it.

        Raises:
            ValueError: HAProxy cannot reach it in its chroot.
        """
        if where.path is None:
            return str(where)
        chroot = self.chroot()
        if chroot.value is None or not where.path.startswith(f"{chroot.value}/"):
            raise ValueError(f"HAProxy runs in a chroot ({chroot.place}) and reaches no Unix socket outside of it")
        return f"unix@{where.path.removeprefix(chroot.value)}"


@dataclass(frozen=True)
class Found:
    """All that was read. ``engines``: those asked for. ``failed``: why others could not be followed.

    ``notes``: what was not understood, each once.
    """

    engines: Sequence[Engine]
    haproxy: HaproxyCfg
    notes: Sequence[Note]
    failed: Sequence[str] = ()


def find_one(request: Request, sources: Sources, environ: Mapping[str, str]) -> Found:
    """Return the one engine that ``request`` is about.

    Raises:
        PlacementError: there is none, there are several, or something of it cannot be read or is missing.
    """
    haproxy, candidates = _read(request, sources, environ)
    if len(candidates) > 1:
        listed = ", ".join(f"{each.name} ({each.filters[0].statement.place})" for each in candidates)
        how = "--engine NAME" if len({each.name for each in candidates}) > 1 else "--spoe FILE"
        raise PlacementError(f"there are {len(candidates)} engines, {listed}: choose one with {how}")
    return Found([candidates[0].load(haproxy, request.version)], haproxy, _notes(haproxy, candidates))


def find_all(request: Request, sources: Sources, environ: Mapping[str, str]) -> Found:
    """Return every engine that ``request`` may be about.

    Raises:
        PlacementError: a file cannot be read, or there is no engine.
    """
    haproxy, candidates = _read(request, sources, environ)
    engines, failed = [], []
    for candidate in candidates:
        try:
            engines.append(candidate.load(haproxy, request.version))
        except PlacementError as error:
            failed.append(str(error))
    return Found(engines, haproxy, _notes(haproxy, candidates), failed)


@dataclass(frozen=True)
class _Candidate:
    """Filters that name the same engine in the same file."""

    name: str
    path: Path
    conf: SpoeConf
    filters: list[Filter]

    def load(self, haproxy: HaproxyCfg, version: tuple[int, int] | None) -> Engine:
        """Follow the engine to its servers."""
        agent = self.conf.agent
        if agent is None:
            scope = f"[{self.filters[0].engine}]" if self.filters[0].engine else "no scope"
            there = ", ".join("no scope" if each is None else f"[{each}]" for each in self.conf.scopes) or "nothing"
            raise PlacementError(f"{self.path}: engine {self.name} has no spoe-agent in {scope}; the file has {there}")
        heading = agent.heading
        if heading.condition:
            raise PlacementError(f"{heading.place}: spoe-agent {agent.name} depends on the `.if` at {heading.condition}")
        chosen = _value(agent.last("use-backend"), 1, str)
        if chosen.value is None:
            why = chosen.why or "no `use-backend`"
            raise PlacementError(f"{chosen.place or heading.place}: spoe-agent {agent.name}: {why}")
        backends = haproxy.backends(chosen.value)
        if len(backends) != 1 or backends[0].heading.condition:
            raise PlacementError(f"{chosen.place}: use-backend {chosen.value}: {_missing(backends, haproxy)}")
        [backend] = backends
        servers = list(backend.servers(haproxy.variables))
        return Engine(self.name, self.filters, self.conf, agent, backend, servers, haproxy, version)


def _missing(backends: Sequence[Proxy], haproxy: HaproxyCfg) -> str:
    """Return why it is not one backend."""
    if not backends:
        files = ", ".join(map(str, haproxy.files))
        return f"there is no such backend in {files}; name the file that has it with --haproxy, too"
    places = ", ".join(str(each.heading.place) for each in backends)
    return (
        f"it depends on an `.if` which backend that is: {places}"
        if backends[0].heading.condition
        else f"it is there twice: {places}"
    )


def _read(request: Request, sources: Sources, environ: Mapping[str, str]) -> tuple[HaproxyCfg, list[_Candidate]]:
    """Return HAProxy's files and the engines in them, one at least."""
    try:
        files = [file for each in request.haproxy for file in files_of(each)]
        haproxy = haproxy_cfg.read(files, sources, environ, request.started_in)
    except SourceError as error:
        raise PlacementError(f"--haproxy: {str(error.path)!a}: {error.why}") from None
    if not haproxy.filters:
        raise PlacementError(f"--haproxy: no `filter spoe` in {', '.join(map(str, files))}; name the file that has it, too")
    candidates: list[_Candidate] = []
    for each in _wanted(request, haproxy):
        path = request.spoe or each.path
        same = next((one for one in candidates if one.path == path and one.filters[0].engine == each.engine), None)
        if same is not None:
            same.filters.append(each)
            continue
        try:
            conf = spoe_conf.read(sources.get(path), each.engine, haproxy.variables)
        except SourceError as error:
            raise _unread(error, each, request) from None
        name = each.engine or (conf.agent.name if conf.agent else "without a name")
        candidates.append(_Candidate(name, path, conf, [each]))
    there = [each for each in candidates if each.conf.agent is not None]
    return haproxy, there if request.spoe is not None and there else candidates


def _wanted(request: Request, haproxy: HaproxyCfg) -> list[Filter]:
    """Return the filters that ``request`` names, by the engine or by the file; all where it names none."""
    filters = haproxy.filters
    if request.engine is not None:
        filters = [each for each in filters if each.engine == request.engine]
        if not filters:
            names = ", ".join(dict.fromkeys(each.engine or "one without a name" for each in haproxy.filters))
            raise PlacementError(f"--engine: {request.engine!a}: the files have {names}")
    if request.spoe is not None:
        named = [each for each in filters if os.path.normpath(each.path) == os.path.normpath(request.spoe)]
        filters = named or filters
    return filters


def _unread(error: SourceError, named_by: Filter, request: Request) -> PlacementError:
    if request.spoe is not None:
        return PlacementError(f"--spoe: {str(error.path)!a}: {error.why}")
    hint = "" if Path(named_by.config).is_absolute() else "; HAProxy looks for it where it is started"
    return PlacementError(f"{named_by.statement.place}: config {str(error.path)!a}: {error.why}{hint}; name the file with --spoe")


def _notes(haproxy: HaproxyCfg, candidates: Sequence[_Candidate]) -> list[Note]:
    """Return what was not understood, each once: a file with several engines was read for each of them."""
    return list(dict.fromkeys((*haproxy.notes, *(note for each in candidates for note in each.conf.notes))))


def _value(statement: Statement | None, at: int, parse: Callable[[str], T | None]) -> Value[T]:
    """Return what stands at word ``at`` of a line, as ``parse`` reads it."""
    if statement is None:
        return Value(None, None)
    if statement.condition is not None:
        return Value(None, statement, f"depends on the `.if` at {statement.condition}")
    if statement.unset:
        return Value(None, statement, f"{', '.join(statement.unset)} is not set in this environment")
    try:
        return Value(parse(statement.text(at)), statement)
    except ValueError as error:
        return Value(None, statement, str(error))


def address_of(text: str) -> Address:
    """Return the address in HAProxy's words ``text`` as the guard's.

    Raises:
        ValueError: the guard cannot dial it; the message says why, for a person, without the value itself.
    """
    for prefix in _UNIX_PREFIXES:
        if text.removeprefix("stream+").startswith(prefix):
            return _unix(text.removeprefix("stream+").removeprefix(prefix))
    if text.startswith("/"):
        return _unix(text)
    bare = text.removeprefix("stream+")
    bare = next((bare.removeprefix(prefix) for prefix in _TCP_PREFIXES if bare.startswith(prefix)), bare)
    if _FAMILY.match(bare):
        raise ValueError("the guard dials TCP and Unix sockets alone")
    host, _, port = bare.rpartition(":")
    if ":" not in bare or not (port.isascii() and port.isdigit() and port.strip("0")):
        raise ValueError("it names no port of its own")
    host = host.removeprefix("[").removesuffix("]")
    if host in _ANY_HOST:
        raise ValueError("it names no host")
    return parse(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def _unix(path: str) -> Address:
    if not path.startswith("/"):
        raise ValueError("the path of its Unix socket is relative")
    return parse(f"unix:{path}")


def _folder(text: str) -> str:
    """Return a folder without a slash at its end."""
    if not text.startswith("/"):
        raise ValueError("no absolute path")  # `auto`, from HAProxy 3.5 on: a folder that has no name
    return text.rstrip("/")
