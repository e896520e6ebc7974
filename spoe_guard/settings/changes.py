"""The differences between the settings of a running guard and new ones, and which of them need a restart."""

from collections.abc import Iterator
from typing import Final

from spoe_guard.address import Address
from spoe_guard.settings.load import Loaded
from spoe_guard.settings.model import Route
from spoe_guard.settings.problems import Key, Problem, dotted

_FIXED: Final[tuple[Key, ...]] = (("workers",), ("share_listen",), ("handover_dir",), ("admin", "listen"), ("admin", "control"))


def changes(running: Loaded, new: Loaded) -> list[str]:
    """Return the keys whose values differ, each as ``check`` writes it, in their order."""
    before, after = ({key: value for key, value, _ in loaded.rows()} for loaded in (running, new))
    return [key for key in after | before if before.get(key) != after.get(key)]


def fixed(running: Loaded, new: Loaded) -> list[Problem]:
    """Return the changes that need a restart: the number of processes, where they listen and when, and the set of routes.

    Routes are identified by their names; their order does not matter.
    """
    # For the same address a hand-over is enough; for a new one HAProxy needs new settings anyway.
    shared = running.settings.share_listen and new.settings.share_listen
    remedy = "needs a restart, or with share_listen a second guard that takes over" if shared else "needs a restart"
    return [
        Problem(dotted(key), value, new.origin(key), f"cannot change while the guard runs{was}: {remedy}")
        for key, value, was in _differing(running, new)
    ]


def _differing(running: Loaded, new: Loaded) -> Iterator[tuple[Key, object, str]]:
    for key in _FIXED:
        before, after = (_plain(_at(loaded, key)) for loaded in (running, new))
        if before != after:
            yield key, after, f" (it is {_word(before)})"
    routes = {route.name: route for route in running.settings.routes}
    for index, route in enumerate(new.settings.routes):
        there = routes.pop(route.name, None)
        if there is None:
            yield ("routes", str(index), "name"), route.name, ", a route cannot be added"
            continue
        before, after = _how_it_listens(there), _how_it_listens(route)
        for key in after:
            if before.get(key) != after[key]:
                yield ("routes", str(index), *key), after[key], f" (it is {_word(before.get(key))})"
    for name in routes:
        yield ("routes",), name, ", a route cannot be taken away"


def _how_it_listens(route: Route) -> dict[Key, object]:
    """Return what was done when the route began to listen, by key below the route."""
    done: dict[Key, object] = {("listen",): str(route.listen), ("health",): route.health}
    if route.listen.path is not None:
        done |= {("socket", name): getattr(route.socket, name) for name in type(route.socket).model_fields}
    return done


def _at(loaded: Loaded, key: Key) -> object:
    value: object = loaded.settings
    for part in key:
        value = getattr(value, part)
    return value


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Address) else value


def _word(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
