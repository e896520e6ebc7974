"""What `init` proposes: a route for each server line, and the lines of HAProxy's files that change for them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from spoe_guard.address import MAX_PORT, Address
from spoe_guard.haproxy_config.haproxy_cfg import HaproxyCfg, Server
from spoe_guard.haproxy_config.statements import Statement
from spoe_guard.placement.changes import Changes
from spoe_guard.placement.findings import Engine, PlacementError, Value
from spoe_guard.placement.recognise import processing_of, profile_settings
from spoe_guard.settings import Route, Settings, units
from spoe_guard.settings.model import Limits
from spoe_guard.wire.frame import LENGTH_BYTES

FIRST_LISTEN: Final = Address("127.0.0.1", 12345)
USUAL_HELLO: Final = "3s"  # where `timeout hello` has to change: as in config/haproxy
ERROR_NAME: Final = "error"  # the name in `option set-on-error` where there is none: as in config/haproxy

_ADMIN_PORT: Final = 9464  # admin.listen's default
_NAME_MOST: Final = 64  # characters of a route's name
_PORTS = re.compile(r":(\d{1,5})(?:-(\d{1,5}))?(?=,|$)", re.ASCII)

# Options of a server line with which HAProxy could not talk to the guard in the agent's place.
_IN_THE_WAY: Final = {
    "ssl": "HAProxy speaks TLS to this agent, and the guard speaks none",
    "check-ssl": "HAProxy's health checks speak TLS to this agent, and the guard speaks none",
    "socks4": "HAProxy reaches this agent through a SOCKS proxy, by which it would not reach the guard",
    "namespace": "HAProxy reaches this agent from another network namespace, in which the guard may not be",
    "check-send-proxy": "health checks alone begin with a PROXY header, and the guard takes it from all or none",
    "interface": "HAProxy reaches this agent by one network interface alone, by which it may not reach the guard",
    "proto": "HAProxy speaks another protocol to this agent",
}
PROXY_HEADERS: Final = ("send-proxy", "send-proxy-v2", "send-proxy-v2-ssl", "send-proxy-v2-ssl-cn")


@dataclass(frozen=True)
class PlannedRoute:
    """A route to come. ``settings``: its keys beside name, listen and agent, as the settings have them."""

    name: str
    listen: Address
    agent: Address
    server: Server
    settings: Mapping[str, object]


@dataclass(frozen=True)
class Refusal:
    """A part that is left as it is, and why. ``place``: a line of HAProxy's files."""

    place: str
    what: str
    why: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what}: {self.why}"


def servers_to_guard(engine: Engine) -> tuple[list[tuple[Server, Address]], list[Refusal]]:
    """Return the servers that can be guarded with the address of each, and why others cannot."""
    taken: list[tuple[Server, Address]] = []
    refused: list[Refusal] = []
    for server in engine.servers:
        what = f"{server.statement.text(0)} {server.name}"
        why = _in_the_way(server)
        if not why:
            try:
                taken.append((server, engine.address(server)))
                continue
            except ValueError as error:
                why = str(error)
        refused.append(Refusal(str(server.place), what, why))
    return taken, refused


def _in_the_way(server: Server) -> str:
    """Return why the guard cannot take this server's place whatever its address; empty if it can."""
    if server.statement.condition is not None:
        return f"it depends on the `.if` at {server.statement.condition}, which is not evaluated"
    if server.count:
        return "it makes several servers of one name, which no routes can follow; write a server line for each agent"
    if server.word.split:
        return "its address is one of several words of a variable; write it out"
    headers = [server.options[name] for name in PROXY_HEADERS if name in server.options]
    for name, why in _IN_THE_WAY.items():
        option = server.options.get(name)
        if option is not None and option.value != "spop" and not (headers and name == "check-send-proxy"):
            return f"`{option}` ({option.place}): {why}"
    unsure = next((option for option in headers if option.condition is not None), None)
    return f"`{unsure}` ({unsure.place}) depends on the `.if` at {unsure.condition}, which is not evaluated" if unsure else ""


def listen_addresses(first: Address | None, count: int, engine: Engine) -> list[Address]:
    """Return where the guard will listen: ``first``, and for each further route the next port that HAProxy does not name.

    Raises:
        PlacementError: ``first`` is given and taken, or out of HAProxy's reach; or no port is left.
    """
    start = first or FIRST_LISTEN
    if start.path is not None:
        try:
            engine.in_haproxys_words(start)
        except ValueError as error:
            raise PlacementError(f"--listen: {str(start)!a}: {error}") from None
        return [start, *(Address(path=f"{start.path}.{number}") for number in range(2, count + 1))]
    haproxy = engine.haproxy
    taken = {range(_ADMIN_PORT, _ADMIN_PORT + 1): "admin.listen of the guard", **_ports(haproxy)}
    if first is not None and (by := _taken_by(first.port, taken)):
        raise PlacementError(f"--listen: {str(first)!a}: the port is taken by {by}; choose another one")
    found: list[Address] = []
    for port in range(start.port, MAX_PORT + 1):
        if len(found) == count:
            return found
        if not _taken_by(port, taken):
            found.append(Address(start.host, port))
    if len(found) == count:
        return found
    raise PlacementError(f"--listen: {str(start)!a}: there are not {count} free ports from here on; choose a lower one")


def _ports(haproxy: HaproxyCfg) -> dict[range, str]:
    """Return the ports that HAProxy's files name, each with the place of the line."""
    found: dict[range, str] = {}
    for proxy in haproxy.proxies:
        for statement in proxy.body:
            at = {"bind": 1, "server": 2, "server-template": 3}.get(statement.text(0))
            for low, high in _PORTS.findall(statement.text(at)) if at else ():
                found.setdefault(range(int(low), int(high or low) + 1), str(statement.place))
    return found


def _taken_by(port: int, taken: Mapping[range, str]) -> str:
    return next((by for ports, by in taken.items() if port in ports), "")


def routes(
    engine: Engine, servers: Sequence[tuple[Server, Address]], listen: Sequence[Address], profile: str
) -> list[PlannedRoute]:
    """Return a route for each server. What spoe.conf says of timeouts is taken as it is."""
    told = _told(engine)
    planned: list[PlannedRoute] = []
    for (server, agent), where in zip(servers, listen, strict=True):
        settings: dict[str, object] = profile_settings(profile)
        if told:
            settings["haproxy"] = told
        if any(name in server.options for name in PROXY_HEADERS):
            settings["proxy_protocol"] = "accept"
        if needed := _held_bytes(engine):
            settings["limits"] = {"held_bytes": needed}
        if "check" in server.options and engine.backend.check_option() is None and where.path is None:
            settings["health"] = "listen"
        wanted = engine.name if len(servers) == 1 else f"{engine.name}-{server.name}"
        name = _route_name(wanted, [each.name for each in planned])
        planned.append(PlannedRoute(name, where, agent, server, settings))
    return planned


def _held_bytes(engine: Engine) -> int:
    """Return the `limits.held_bytes` with room for two of HAProxy's frames; 0 where the default has it."""
    frame = (engine.max_frame_size().value or 0) + LENGTH_BYTES
    return 2 * frame if frame > Limits().held_bytes else 0


def _told(engine: Engine) -> dict[str, object]:
    """Return what the guard is told of spoe.conf."""
    told: dict[str, object] = {}
    processing, hello, name = engine.timeout("processing"), engine.timeout("hello"), engine.named_option("set-on-error")
    if processing.value is not None:
        told["timeout_processing"] = units.duration_text(processing.value)
    if hello.value is not None and not engine.from_3_1:
        told["timeout_hello"] = units.duration_text(hello.value)
    if name.value is not None:
        told["set_on_error"] = name.value
    return told


def _route_name(wanted: str, taken: Sequence[str]) -> str:
    """Return a name that the settings take, and that no route has yet."""
    name = re.sub(r"[^A-Za-z0-9_.:-]", "-", wanted)[:_NAME_MOST]
    return name if name not in taken else f"{name[: _NAME_MOST - 6]}-{len(taken) + 1}"


def changes(engine: Engine, planned: Sequence[PlannedRoute], settings: Settings, profile: str) -> tuple[Changes, list[Refusal]]:
    """Return the lines that change, and what is not changed although it should. ``settings``: what the planned routes mean."""
    made, refused = Changes(), []
    for each in planned:
        made.replace(each.server.statement, each.server.word, engine.in_haproxys_words(each.listen))
    route = settings.routes[0]  # they differ in nothing that concerns spoe.conf
    for change in (_processing(engine, route, profile), _hello(engine, route), _set_on_error(engine), _mode(engine)):
        if isinstance(change, Refusal):
            refused.append(change)
        elif isinstance(change, _Replaced):
            made.replace(change.statement, change.statement.words[change.at], change.text)
        elif isinstance(change, _Added):
            made.add_behind(change.behind, change.text)
    return made, refused


@dataclass(frozen=True)
class _Replaced:
    statement: Statement
    at: int
    text: str


@dataclass(frozen=True)
class _Added:
    behind: Statement
    text: str


def _processing(engine: Engine, route: Route, profile: str) -> "_Replaced | _Added | Refusal | None":
    """HAProxy must wait for longer than the guard holds answers back."""
    said = engine.timeout("processing")
    if said.why:
        return _unknown("timeout processing", said)
    if said.value is not None and said.value > route.disconnect_hold:
        return None
    text = processing_of(profile)
    if said.statement is not None:
        return _Replaced(said.statement, 2, text)
    return _Added(_anchor(engine, "timeout"), f"timeout processing {text}")


def _hello(engine: Engine, route: Route) -> "_Replaced | Refusal | None":
    """Up to 3.0 HAProxy must wait for HELLO for longer than the guard may dial."""
    said = engine.timeout("hello")
    if engine.from_3_1 or said.statement is None:
        return None
    if said.why:
        return _unknown("timeout hello", said)
    return _Replaced(said.statement, 2, USUAL_HELLO) if said.value is not None and said.value <= route.timeouts.connect else None


def _set_on_error(engine: Engine) -> "_Added | Refusal | None":
    """HAProxy takes the variable that says why there is no answer only if it knows its name."""
    said = engine.named_option("set-on-error")
    if said.why:
        return _unknown("option set-on-error", said)
    return None if said.statement else _Added(_anchor(engine, "option"), f"option set-on-error {ERROR_NAME}")


def _mode(engine: Engine) -> "_Replaced | _Added | Refusal | None":
    """From 3.1 on SPOP is a mode of its own; HAProxy takes `mode tcp`, too, so it is changed only where its version is said."""
    said = engine.mode()
    if not engine.from_3_1 or said.value == "spop":
        return None
    if said.why:
        return _unknown("mode", said)
    if said.statement is not None and said.statement in engine.backend.body:
        return _Replaced(said.statement, 1, "spop")
    return _Added(engine.backend.heading, "mode spop")


def _unknown(what: str, said: Value[float] | Value[str]) -> Refusal:
    return Refusal(said.place, f"`{what}`", f"left as it is: {said.why}")


def _anchor(engine: Engine, keyword: str) -> Statement:
    """Return the line of the agent's section to add one behind: the last with that keyword which no `.if` decides about."""
    agent = engine.agent
    return next((each for each in reversed(agent.body) if each.text(0) == keyword and each.condition is None), agent.heading)
