"""Merges settings from file, environment and flags, and notes the origin of each value."""

import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from spoe_guard.settings.problems import ConfigError, Key, Problem, dotted

ENVIRONMENT_PREFIX: Final = "SPOE_GUARD_"
MAX_FILE_BYTES: Final = 1024 * 1024
_MAX_DEPTH: Final = 16

# Variables that look like settings but are not: those of the tests and the demo, the choice of a loop, and those that Kubernetes
# sets in containers if there is a Service called spoe-guard (or spoe-guard-anything).
_NOT_SETTINGS: Final = re.compile(
    r"SPOE_GUARD_(HAPROXY.*|LOOP|(.+_)?SERVICE_(HOST|PORT(_.+)?)|(.+_)?PORT(_[0-9]+_(TCP|UDP|SCTP)(_.+)?)?)",
)

Tree = dict[str, object]


@dataclass
class Given:
    """The values set so far. ``tree``: plain values, routes keyed by their index. ``origins``: where each value was set."""

    tree: Tree = field(default_factory=dict)
    origins: dict[Key, str] = field(default_factory=dict)

    def put(self, key: Key, value: object, origin: str) -> None:
        """Set one value, replacing an earlier one, and create the sections above it.

        Raises:
            ConfigError: a key above it holds a plain value.
        """
        node = self.tree
        for depth, name in enumerate(key[:-1], 1):
            below = node.get(name)
            if below is None:  # missing, or an empty section
                below = node[name] = {}
            if not isinstance(below, dict):
                where = self.origins[key[:depth]]
                raise ConfigError(Problem(dotted(key[:depth]), below, where, f"expected keys below it, since there is {origin}"))
            node = below
        node[key[-1]] = value
        self.origins[key] = origin

    def routes(self) -> list[tuple[str, Tree]]:
        """Return index and keys of each route; the checks report one that has no keys."""
        routes = self.tree.get("routes")
        found = routes.items() if isinstance(routes, dict) else ()
        return [(index, route) for index, route in found if isinstance(route, dict)]

    def fill(self, index: str, key: Key, value: object, origin: str) -> None:
        """Set a key of the route with that index, unless it is set already: what a person wrote comes first, null included.

        Nothing is set in a section that is none, which the checks report.
        """
        *above, name = key
        section: object = self.tree["routes"]
        for part in (index, *above):
            section = section.get(part, {}) if isinstance(section, dict) else section
        if section is None or (isinstance(section, dict) and name not in section):
            self.put(("routes", index, *key), value, origin)


FLAGS: Final[dict[str, Key]] = {
    "--listen": ("routes", "0", "listen"),
    "--agent": ("routes", "0", "agent"),
    "--admin": ("admin", "listen"),
    "--mode": ("mode",),
    "--workers": ("workers",),
    "--log-format": ("log", "format"),
    "--log-level": ("log", "level"),
}


def add_flags(given: Given, flags: Mapping[str, object]) -> None:
    """Add the given flags; None: the flag was not given. ``flags`` has the keys of FLAGS.

    Raises:
        ConfigError: a flag could mean any of several routes.
    """
    routes = given.tree.get("routes")
    count = len(routes) if isinstance(routes, dict) else 0
    for flag, value in flags.items():
        key = FLAGS[flag]
        if value is not None and key[0] == "routes" and count > 1:
            raise ConfigError(Problem(flag, value, "", f"there are {count} routes; set theirs in the file"))
        if value is not None:
            given.put(key, value, f"flag {flag}")


def add_environment(given: Given, environ: Mapping[str, str]) -> None:
    """Add all ``SPOE_GUARD_...`` variables, ``__`` between levels. An empty value counts as not set; ``null`` is null.

    Raises:
        ConfigError: a variable sets a key below a plain value.
    """
    for name in sorted(environ):
        if not name.startswith(ENVIRONMENT_PREFIX) or _NOT_SETTINGS.fullmatch(name) or not environ[name].strip():
            continue
        value = environ[name].strip()
        key = tuple(name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"))
        given.put(key, None if value == "null" else value, f"environment {name}")


def add_file(given: Given, path: Path) -> None:
    """Add the values of a YAML file.

    Raises:
        ConfigError: the file cannot be read, is no YAML, has a key twice, or is no mapping.
    """
    root = _compose(path, _read(path))
    if root is None:
        return
    if not isinstance(root, yaml.MappingNode):
        raise _broken(path, root.start_mark, "expected keys and values, as in `mode: enforce`")
    _Walk(path, given).mapping(root, ())


def _read(path: Path) -> str:
    try:
        if kind := _no_file(path.stat().st_mode):  # before it is opened: a FIFO would wait there, and a device may do anything
            raise ConfigError(Problem("--config", str(path), "", f"cannot be read: it is {kind}, not a regular file"))
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(Problem("--config", str(path), "", f"cannot be read: {error.strerror}")) from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(Problem("--config", str(path), "", f"cannot be read: it is larger than {MAX_FILE_BYTES} bytes"))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(Problem("--config", str(path), "", f"cannot be read: not UTF-8 at byte {error.start}")) from None


def _no_file(mode: int) -> str:
    """Return what a file is that cannot hold settings; empty for a regular file, and for a folder, which the system names."""
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return ""
    return "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"


def _compose(path: Path, text: str) -> yaml.Node | None:
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _broken(path, mark, f"not YAML: {' '.join(filter(None, (error.context, error.problem)))}") from None
    except _AliasError as error:
        raise _broken(path, error.mark, f"*{error.name} is an alias; write the value out") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise _broken(path, None, f"not YAML: {' '.join(str(error).split())}") from None
    return node


class _AliasError(Exception):
    def __init__(self, name: str, mark: yaml.Mark) -> None:
        super().__init__(name)
        self.name = name
        self.mark = mark


class _Loader(yaml.SafeLoader):
    """Takes no aliases: ten lines of them, each naming the one before ten times, are ten billion values."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:  # noqa: ANN401  as the library has it
        """Return the next node."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise _AliasError(event.anchor, event.start_mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        return node


class _Walk:
    """Turns YAML nodes into values, and notes the line of each."""

    def __init__(self, path: Path, given: Given) -> None:
        self._path = path
        self._given = given

    def mapping(self, node: yaml.MappingNode, key: Key) -> None:
        seen: set[str] = set()
        for name_node, value_node in node.value:
            if not isinstance(name_node, yaml.ScalarNode):
                raise _broken(self._path, name_node.start_mark, "expected a plain word as key")
            name = name_node.value
            if name in seen:
                raise _broken(self._path, name_node.start_mark, f"{dotted((*key, name))} stands here twice")
            seen.add(name)
            self._value(value_node, (*key, name), name_node.start_mark)

    def _value(self, node: yaml.Node, key: Key, mark: yaml.Mark) -> None:
        if len(key) > _MAX_DEPTH:
            raise _broken(self._path, mark, "nested too deeply")
        origin = f"{self._path}:{mark.line + 1}"
        if isinstance(node, yaml.MappingNode):
            self._given.put(key, {}, origin)
            self.mapping(node, key)
        elif isinstance(node, yaml.SequenceNode) and key == ("routes",):
            self._given.put(key, {}, origin)
            for index, child in enumerate(node.value):
                self._value(child, (*key, str(index)), child.start_mark)
        elif isinstance(node, yaml.SequenceNode):
            self._given.put(key, [_scalar(child) for child in node.value], origin)
        else:
            self._given.put(key, _scalar(node), origin)


def _scalar(node: yaml.Node) -> object:
    """Return None, a bool, an integer or text. `off`, `1:30` and `0660` stay text: YAML 1.1 and 1.2 read them differently."""
    if not isinstance(node, yaml.ScalarNode):
        return node.value
    kind = node.tag.rpartition(":")[2]
    if kind == "null":
        return None
    if kind == "bool" and node.value in ("true", "false"):
        return bool(node.value == "true")
    if kind == "int" and re.fullmatch(r"0|[1-9][0-9]{0,17}", node.value):
        return int(node.value)
    return str(node.value)


def _broken(path: Path, mark: yaml.Mark | None, message: str) -> ConfigError:
    where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
    return ConfigError(Problem("--config", where, "", message))
