"""Settings that follow from what HAProxy was told: each one that is not set elsewhere.

Like a profile, they override the defaults; file, environment and flags override them.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from spoe_guard.settings import units
from spoe_guard.settings.layers import Given
from spoe_guard.settings.problems import Key

# The guard's deadline must pass before HAProxy's, also on a busy machine, and should leave the agent nearly all of the time.
_SHARE: Final = 0.02
_LEAST_S: Final = 0.005
_MOST_S: Final = 0.1


def add_derived(given: Given) -> None:
    """Add to each route what follows from its ``haproxy`` section. The checks report values there that cannot be read."""
    routes = given.tree.get("routes")
    for index, route in list(routes.items()) if isinstance(routes, dict) else ():
        told = route.get("haproxy") if isinstance(route, dict) else None
        if isinstance(told, dict):
            for source, key, value in _that_follow(told):
                if not _is_set(route, key):
                    given.put(("routes", index, *key), value, f"haproxy.{source}")


def _that_follow(told: Mapping[str, object]) -> Iterator[tuple[str, Key, object]]:
    """Yield the key below ``haproxy``, the key of the route that follows from it, and its value."""
    processing, hello, name = (told.get(key) for key in ("timeout_processing", "timeout_hello", "set_on_error"))
    if processing is not None and (under := _a_little_under(processing)):
        yield "timeout_processing", ("answer_deadline",), under
        yield "timeout_processing", ("links", "park"), under
    if hello is not None and (under := _a_little_under(hello)):
        yield "timeout_hello", ("timeouts", "hello"), under
    if name is not None:
        yield "set_on_error", ("unanswered",), {"set": name}


def _a_little_under(timeout: object) -> str:
    """Return a duration that ends in time before ``timeout``, empty if that is no timeout."""
    try:
        seconds = units.timeout(timeout)
    except ValueError:
        return ""
    margin = min(max(_SHARE * seconds, _LEAST_S), _MOST_S, seconds / 2)
    return units.duration_text(seconds - margin)


def _is_set(route: Mapping[str, object], key: Key) -> bool:
    """Whether the route has that key; also if its section is no section, which the checks report."""
    *above, name = key
    section: object = route
    for part in above:
        section = section.get(part, {}) if isinstance(section, dict) else section
    return name in (section or {}) if isinstance(section, dict | None) else True
