"""haproxy.cfg: its proxies with the defaults that they inherit, their servers, and the SPOE filters.

Source: HAProxy, configuration.txt sections 4 and 5.2; cfgparse.c (``parse_cfg``, ``cfg_apply_default_path``).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from spoe_guard.haproxy_config.source import Place, Sources
from spoe_guard.haproxy_config.statements import Note, Reader, Section, Statement, Variables, read_sections
from spoe_guard.haproxy_config.words import Word, expand_address

DEFAULT_BUFSIZE: Final = 16384

# Every section of HAProxy 2.2 to 3.5: a line that begins with one of these words begins a section.
_KINDS: Final = frozenset(
    (
        "acme", "backend", "cache", "crt-store", "defaults", "fcgi-app", "frontend", "global", "healthcheck", "http-errors",
        "listen", "log-forward", "log-profile", "mailers", "namespace_list", "peers", "program", "resolvers", "ring", "traces",
        "userlist",
    )
)  # fmt: skip
_PROXIES: Final = ("frontend", "backend", "listen")

# `option` lines of which the last one says how health checks are made.
_CHECKS: Final = frozenset(
    (
        "external-check", "httpchk", "ldap-check", "mysql-check", "pgsql-check", "redis-check", "smtpchk", "spop-check",
        "ssl-hello-chk", "tcp-check",
    )
)  # fmt: skip

# The words of a server line with a value behind them, so that no value is taken for an option.
_WITH_VALUE: Final = frozenset(
    (
        "addr", "agent-addr", "agent-inter", "agent-port", "agent-send", "alpn", "ca-file", "cc", "check-alpn",
        "check-pool-conn-name", "check-proto", "check-sni", "ciphers", "ciphersuites", "client-sigalgs", "cookie", "crl-file",
        "crt", "curves", "downinter", "error-limit", "fall", "fastinter", "guid", "hash-key", "healthcheck", "id",
        "idle-ping", "init-addr", "init-state", "inter", "interface", "ktls", "log-bufsize", "log-proto", "max-reuse",
        "maxconn", "maxqueue", "minconn", "namespace", "npn", "observe", "on-error", "on-marked-down", "on-marked-up",
        "pool-conn-name", "pool-low-conn", "pool-max-conn", "pool-purge-delay", "port", "proto", "proxy-v2-options",
        "quic-cc-algo", "redir", "resolve-net", "resolve-opts", "resolve-prefer", "resolvers", "rise", "shard", "sigalgs",
        "slowstart", "sni", "socks4", "source", "ssl-max-ver", "ssl-min-ver", "tcp-md5sig", "tcp-ut", "track", "usesrc",
        "verify", "verifyhost", "weight", "ws",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Option:
    """One word of a server line, such as `check` or `maxconn 100`. ``place``: where it stands, maybe in `default-server`."""

    name: str
    value: str
    place: Place
    condition: Place | None = None

    def __str__(self) -> str:
        return f"{self.name} {self.value}".rstrip()


@dataclass(frozen=True)
class Server:
    """A `server` or `server-template` line.

    ``address``: as HAProxy reads it, without variables; ``word``: as it is written. ``options``: in effect, with those of
    `default-server`, by name. ``count``: how many servers a template makes, as it is written; empty for `server`.
    """

    statement: Statement
    name: str
    word: Word
    address: str
    unset: tuple[str, ...]
    used: tuple[str, ...]
    options: Mapping[str, Option]
    count: str = ""

    @property
    def place(self) -> Place:
        """Where it stands."""
        return self.statement.place


@dataclass
class Proxy(Section):
    """A frontend, backend or listen section, or a defaults section. ``parent``: the defaults that it begins with."""

    parent: "Proxy | None" = None

    def _lineage(self) -> list["Proxy"]:
        """Return what it inherits from, the farthest first, and itself."""
        line: list[Proxy] = []
        at: Proxy | None = self
        while at is not None:
            line.append(at)
            at = at.parent
        return line[::-1]

    def inherited(self, *words: str) -> Statement | None:
        """Return the statement with these first words that HAProxy goes by, its own or one of the defaults."""
        return next((found for each in reversed(self._lineage()) if (found := each.last(*words))), None)

    def check_option(self) -> Statement | None:
        """Return the `option` line that says how servers are checked; None: by a plain connection."""
        found = None
        for each in self._lineage():
            for statement in each.body:
                if statement.text(0) == "option" and statement.text(1) in _CHECKS:
                    found = None if statement.modifier else statement
        return found

    def servers(self, variables: Variables) -> Iterator[Server]:
        """Yield its servers in order."""
        defaults: dict[str, Option] = {}
        for each in self._lineage():
            for statement in each.body:
                match statement.text(0):
                    case "default-server":
                        _add_options(defaults, statement, 1)
                    case "server" if each is self:
                        yield _server(statement, 2, defaults, variables)
                    case "server-template" if each is self:
                        yield _server(statement, 3, defaults, variables)


@dataclass(frozen=True)
class Filter:
    """A `filter spoe` line. ``engine``: None where it names none. ``proxy``: the section it stands in.

    ``config``: the file as it is written; ``path``: where HAProxy finds it.
    """

    engine: str | None
    config: str
    path: Path
    statement: Statement
    proxy: Proxy


@dataclass
class HaproxyCfg:
    """All files of one HAProxy, read in order. ``variables``: as its last line sees them."""

    files: list[Path]
    variables: Variables
    notes: list[Note]
    proxies: list[Proxy] = field(default_factory=list)
    filters: list[Filter] = field(default_factory=list)
    globals: list[Section] = field(default_factory=list)

    def last_global(self, *words: str) -> Statement | None:
        """Return the last statement of the global sections that begins with these words."""
        return next((found for each in reversed(self.globals) if (found := each.last(*words))), None)

    def backends(self, name: str) -> list[Proxy]:
        """Return the sections with servers of that name; HAProxy takes one alone."""
        return [each for each in self.proxies if each.kind in ("backend", "listen") and each.name == name]

    def looks_at(self, variable: str) -> bool:
        """Whether any proxy names that variable, as in `var(txn.coraza.error)`."""
        words = (word.text for proxy in self.proxies for statement in proxy.body for word in statement.words)
        return any(variable in word for word in words)


def read(files: Sequence[Path], sources: Sources, environ: Mapping[str, str], started_in: Path) -> HaproxyCfg:
    """Return what stands in ``files``. ``started_in``: the folder HAProxy is started in, where relative paths begin.

    Raises:
        SourceError: one of them cannot be read.
    """
    variables = Variables.of(environ)
    reader = Reader(variables)
    config = HaproxyCfg(list(files), variables, reader.notes)
    defaults: list[Proxy] = []
    folder = _Folder(started_in)

    def made(heading: Statement) -> Section:
        return _made(heading, defaults, reader)

    for path in files:
        folder.enter(str(path))
        for section, statement in read_sections(reader, sources.get(path), _KINDS, made):
            if statement is section.heading:
                _join(section, config, defaults)
            elif section.kind == "global":
                _take_global(statement, variables, folder, reader)
            elif isinstance(section, Proxy) and statement.begins("filter", "spoe"):
                _add_filter(statement, section, folder, config)
    return config


def _made(heading: Statement, defaults: Sequence[Proxy], reader: Reader) -> Section:
    """Return the section that ``heading`` begins."""
    if heading.text(0) not in (*_PROXIES, "defaults"):
        return Section(heading)
    names = [word.text for word in heading.words[1:]]
    if "from" in names:
        name = names[names.index("from") + 1] if names[-1] != "from" else ""
        parent = next((each for each in reversed(defaults) if each.name == name), None)
        if parent is None:
            reader.notes.append(Note(heading.place, f"`from {name}`: there is no `defaults {name}` above"))
        return Proxy(heading, parent=parent)
    return Proxy(heading, parent=None if heading.text(0) == "defaults" or not defaults else defaults[-1])


def _join(section: Section, config: HaproxyCfg, defaults: list[Proxy]) -> None:
    if section.kind == "global":
        config.globals.append(section)
    elif isinstance(section, Proxy):
        (defaults if section.kind == "defaults" else config.proxies).append(section)


def _take_global(statement: Statement, variables: Variables, folder: "_Folder", reader: Reader) -> None:
    if statement.condition is None:
        variables.take(statement)
        if statement.text(0) == "default-path":
            folder.policy(statement.text(1), statement.text(2), str(statement.place.path))
    elif statement.text(0) in ("default-path", "setenv", "presetenv", "unsetenv", "resetenv"):
        text = f"`{statement.text(0)}` depends on the `.if` at {statement.condition}; it is not used"
        reader.notes.append(Note(statement.place, text))


def _add_filter(statement: Statement, proxy: Proxy, folder: "_Folder", config: HaproxyCfg) -> None:
    words = [word.text for word in statement.words[2:]]
    said = dict(zip(words[::2], words[1::2], strict=False))
    file = said.get("config")
    if not file:
        config.notes.append(Note(statement.place, "`filter spoe` without a file: expected `config FILE`"))
        return
    config.filters.append(Filter(said.get("engine"), file, folder.resolve(file), statement, proxy))
    folder.enter(file)


class _Folder:
    """Where relative paths begin, as `default-path` of the global section says."""

    def __init__(self, started_in: Path) -> None:
        self._started_in = started_in
        self._policy = "current"
        self._origin = ""
        self._now = started_in

    def policy(self, name: str, origin: str, file: str) -> None:
        self._policy, self._origin = name, origin
        self.enter(file)

    def enter(self, file: str) -> None:
        """Do what HAProxy does as it begins to read ``file``. It does so for spoe.conf, too, and stays there afterwards."""
        inside = file.rpartition("/")[0]
        match self._policy:
            case "origin":
                self._now = self._started_in / self._origin
            case "config":
                self._now = self._started_in / inside
            case "parent":
                self._now = self._started_in / inside / ".."
            case _:
                self._now = self._started_in

    def resolve(self, file: str) -> Path:
        return self._now / file


def _server(statement: Statement, at: int, defaults: Mapping[str, Option], variables: Variables) -> Server:
    """Return the server of a line whose address is its word number ``at``."""
    word = statement.words[at] if len(statement.words) > at else Word("", 0, 0)
    expanded = expand_address(word.text, variables.values.get)
    options = dict(defaults)
    _add_options(options, statement, at + 1)
    return Server(
        statement,
        statement.text(1),
        word,
        expanded.words[0].text,
        (*statement.unset, *expanded.unset),
        (*statement.used, *expanded.used),
        options,
        statement.text(2) if at == 3 else "",  # noqa: PLR2004  a template's: prefix, count, address
    )


def _add_options(options: dict[str, Option], statement: Statement, at: int) -> None:
    """Add the options of a line to ``options``; `no-check` and the like take one away."""
    words = [word.text for word in statement.words]
    while at < len(words):
        name = words[at]
        value = words[at + 1] if name in _WITH_VALUE and at + 1 < len(words) else ""
        at += 2 if name in _WITH_VALUE else 1
        if name.startswith("no-") and statement.condition is None:
            options.pop(name.removeprefix("no-"), None)
        options[name] = Option(name, value, statement.place, statement.condition)
