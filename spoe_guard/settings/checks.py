"""What the keys must hold together, and what an operator should know of settings that are allowed."""

from collections.abc import Iterator
from typing import Final

from spoe_guard.core.address import Address
from spoe_guard.core.anomalies import CATALOGUE
from spoe_guard.core.hello import SPARE_BYTES
from spoe_guard.settings.model import MAX_UINT32, Links, Route, Settings
from spoe_guard.wire.frame import DEFAULT_MAX_FRAME_SIZE, LENGTH_BYTES, MIN_MAX_FRAME_SIZE

_WILDCARDS: Final = frozenset(("0.0.0.0", "::", "*"))  # noqa: S104 compared with, not bound
_LOOPBACKS: Final = frozenset(("127.0.0.1", "::1", "localhost"))

Fault = tuple[str, object, str]  # dotted key, value, what is allowed


def faults(settings: Settings) -> Iterator[Fault]:
    """Yield what is wrong between keys, and what this version cannot do, in the order of the keys."""
    yield from _not_yet(settings)
    names: dict[str, int] = {}
    listeners: dict[Address, str] = {}
    for index, route in enumerate(settings.routes):
        first = names.setdefault(route.name, index)
        if first != index:
            yield f"routes[{index}].name", route.name, f"expected a name of its own: routes[{first}] has this one"
        yield from _taken(listeners, f"routes[{index}].listen", route.listen)
        if _would_dial_itself(route):
            yield f"routes[{index}].agent", str(route.agent), f"expected the agent's address: {route.listen} is the guard's own"
        frame = (route.hello.max_frame_size or DEFAULT_MAX_FRAME_SIZE) + LENGTH_BYTES
        if route.limits.held_bytes < frame:
            yield f"routes[{index}].limits.held_bytes", route.limits.held_bytes, f"expected room for one frame: at least {frame}"
    if settings.admin.listen is not None:
        yield from _taken(listeners, "admin.listen", settings.admin.listen)


def _not_yet(settings: Settings) -> Iterator[Fault]:
    """Yield what later versions will do and this one cannot: said plainly rather than ignored."""
    if settings.workers != 1:
        yield "workers", settings.workers, "this version runs one process only; allowed: 1"
    for index, route in enumerate(settings.routes):
        for key, default in Links().model_dump().items():
            value = route.links.model_dump()[key]
            if value != default:
                allowed = "null" if default is None else default
                yield f"routes[{index}].links.{key}", value, f"this version keeps one agent link per session; allowed: {allowed}"
        if route.redispatch == "unanswered":
            yield f"routes[{index}].redispatch", route.redispatch, "this version sends no NOTIFY twice; allowed: off, unsent"


def _taken(listeners: dict[Address, str], key: str, address: Address) -> Iterator[Fault]:
    if address.path is None and address.port == 0:  # the kernel chooses; it never chooses one twice
        return
    first = listeners.setdefault(address, key)
    if first != key:
        yield key, str(address), f"expected an address of its own: {first} has this one"


def _would_dial_itself(route: Route) -> bool:
    if route.agent == route.listen:
        return True
    same_port = route.agent.path is None and route.listen.path is None and route.agent.port == route.listen.port
    return same_port and route.listen.host in _WILDCARDS and route.agent.host in _LOOPBACKS


def hello_changes(settings: Settings, route: Route) -> list[str]:
    """Return, in words, how this route's settings change the HELLOs of a healthy pair (promise O4)."""
    if settings.mode == "observe":
        return ["none: in observe mode not a byte is changed"]
    hello = route.hello
    kept = f"all but {', '.join(hello.capabilities)}" if hello.capabilities else "all"
    limit = min(hello.max_frame_size or MAX_UINT32, route.limits.held_bytes - LENGTH_BYTES)
    changes = [
        f"capabilities: {kept} removed from both HELLOs",
        f"max-frame-size: {limit} in HAPROXY-HELLO where HAProxy offers more",
        f"max-frame-size: {SPARE_BYTES - LENGTH_BYTES} less than HAProxy offers in both HELLOs, unless it offers async",
    ]
    if hello.always_offer:
        changes.append(f"capabilities: {', '.join(hello.always_offer)} added to HAPROXY-HELLO where HAProxy does not offer it")
    if hello.engine_id is not None:
        changes.append(f"engine-id: {hello.engine_id} in HAPROXY-HELLO where HAProxy names none")
    if hello.keys == "exact":
        changes.append("keys: unknown ones removed from HAPROXY-HELLO, mistyped ones retyped")
    changes.append(f"max-frame-size: {MIN_MAX_FRAME_SIZE} in the AGENT-HELLO of a health check")
    return changes


def warnings(settings: Settings) -> list[str]:
    """Return what is allowed but has no effect in this version, or not the one that may be hoped for."""
    found = []
    for index, route in enumerate(settings.routes):
        found += [
            f"routes[{index}].policy.{anomaly.value}: no effect, this version does not look for it"
            for anomaly in route.choices()
            if not CATALOGUE[anomaly].detected
        ]
        if "async" in route.hello.capabilities:
            found.append(f"routes[{index}].hello.capabilities: async: an ACK on another connection than its NOTIFY's is dropped")
        if route.redispatch == "unsent":
            found.append(f"routes[{index}].redispatch: no effect, this version has one agent link per session")
    return found
