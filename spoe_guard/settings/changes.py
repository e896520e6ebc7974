"""The differences between the settings of a running guard and new ones, and which of them need a restart.

Routes are told apart by their names; their order does not matter.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from spoe_guard.address import Address
from spoe_guard.settings.load import Loaded, leaves_below
from spoe_guard.settings.model import Route, Settings
from spoe_guard.settings.problems import Key, Problem, dotted

_FIXED: Final[tuple[Key, ...]] = (("workers",), ("share_listen",), ("handover_dir",), ("admin", "listen"), ("admin", "control"))


@dataclass(frozen=True)
class Changes:
    """``keys`` whose values differ, each as ``check`` writes it, in their order: of routes those that were there and stay.

    ``added``, ``removed``: the names of routes that come and go. One with another name is one of each.
    """

    keys: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.keys or self.added or self.removed)


def changes(running: Loaded, new: Loaded) -> Changes:
    """Return what differs. Routes that are as they were cost a comparison: there may be a thousand."""
    before = {route.name: route for route in running.settings.routes}
    after = {route.name: route for route in new.settings.routes}
    keys = [*_keys(_beside_routes(running), _beside_routes(new))]
    for index, route in enumerate(new.settings.routes):
        there = before.get(route.name)
        if there is not None and there != route:
            keys += _keys(_of_route(there, index), _of_route(route, index))
    sections = list(Settings.model_fields)
    keys.sort(key=lambda key: sections.index(key[0]))
    added, removed = (tuple(name for name in some if name not in others) for some, others in ((after, before), (before, after)))
    return Changes(tuple(map(dotted, keys)), added, removed)


def _beside_routes(loaded: Loaded) -> dict[Key, object]:
    return dict(leaves_below((), loaded.settings.model_dump(mode="json", exclude={"routes"})))


def _of_route(route: Route, index: int) -> dict[Key, object]:
    return dict(leaves_below(("routes", str(index)), route.model_dump(mode="json")))


def _keys(before: dict[Key, object], after: dict[Key, object]) -> Iterator[Key]:
    for key in after | before:
        if before.get(key) != after.get(key):
            yield key


def fixed(running: Loaded, new: Loaded) -> list[Problem]:
    """Return the changes that need a restart: the number of processes, and how what goes on to listen does."""
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
    files = {route.listen: route for route in running.settings.routes if route.listen.path is not None}
    for index, route in enumerate(new.settings.routes):
        there = routes.get(route.name)
        if there is not None and there.listen == route.listen and there.health != route.health:
            yield ("routes", str(index), "health"), route.health, f" (it is {there.health})"
        there = files.get(route.listen)  # whatever its name: the file is the same
        if there is not None and there.socket != route.socket:
            for name in type(route.socket).model_fields:
                before, after = getattr(there.socket, name), getattr(route.socket, name)
                if before != after:
                    yield ("routes", str(index), "socket", name), after, f" (it is {_word(before)})"


def _at(loaded: Loaded, key: Key) -> object:
    value: object = loaded.settings
    for part in key:
        value = getattr(value, part)
    return value


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Address) else value


def _word(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
