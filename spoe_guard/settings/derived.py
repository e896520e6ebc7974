"""Settings that follow from others: from what HAProxy was told, and from the one `payload`.

Like a profile, they override the defaults; file, environment and flags override them.
"""

from collections.abc import Iterator, Mapping
from typing import Final, get_args

from spoe_guard.options import DEFAULT_PAYLOAD, Payload
from spoe_guard.settings import units
from spoe_guard.settings.layers import Given
from spoe_guard.settings.problems import Key

# The guard's deadline must pass before HAProxy's, also on a busy machine, and should leave the agent nearly all of the time.
_SHARE: Final = 0.02
_LEAST_S: Final = 0.005
_MOST_S: Final = 0.1

_WITH_PAYLOAD: Final = ("admin", "log", "capture")  # the sections that may differ from the one `payload`


def add_payload(given: Given) -> None:
    """Give each section that has no `payload`, or null, the one at the top. The checks report one there that is none."""
    top = given.tree.get("payload")
    for name in _WITH_PAYLOAD:
        section, key = given.tree.get(name, {}), (name, "payload")
        if not isinstance(section, dict | None) or (section or {}).get("payload") is not None:
            continue
        if top in get_args(Payload):
            given.put(key, top, "payload")
        elif key in given.origins:  # null
            given.put(key, DEFAULT_PAYLOAD, given.origins[key])


def add_derived(given: Given) -> None:
    """Add to each route what follows from its ``haproxy`` section. The checks report values there that cannot be read."""
    for index, route in given.routes():
        told = route.get("haproxy")
        if isinstance(told, dict):
            for source, key, value in _that_follow(told):
                given.fill(index, key, value, f"haproxy.{source}")


def _that_follow(told: Mapping[str, object]) -> Iterator[tuple[str, Key, object]]:
    """Yield the key below ``haproxy``, the key of the route that follows from it, and its value."""
    processing, hello, name = (told.get(key) for key in ("timeout_processing", "timeout_hello", "set_on_error"))
    if processing is not None and (under := _a_little_under(processing)):
        yield "timeout_processing", ("answer_deadline",), under
        yield "timeout_processing", ("links", "park"), under
    if hello is not None and (under := _a_little_under(hello)):
        yield "timeout_hello", ("timeouts", "hello"), under
    if name is not None and _is_variable(name):
        yield "set_on_error", ("unanswered",), {"set": name}


def _a_little_under(timeout: object) -> str:
    """Return a duration that ends in time before ``timeout``, empty if that is no timeout."""
    try:
        seconds = units.timeout(timeout)
    except ValueError:
        return ""
    margin = min(max(_SHARE * seconds, _LEAST_S), _MOST_S, seconds / 2)
    return units.duration_text(seconds - margin)


def _is_variable(name: object) -> bool:
    try:
        units.variable(name)
    except ValueError:
        return False
    return True
