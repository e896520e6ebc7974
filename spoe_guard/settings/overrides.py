"""Settings with one key changed while the guard runs (`spoe-guard ctl`). The next reload reads all of them again."""

from typing import Final

from spoe_guard.options import LogLevel
from spoe_guard.settings.load import Loaded
from spoe_guard.settings.model import Mode, Settings
from spoe_guard.settings.problems import Key

ORIGIN: Final = "ctl"


def with_mode(loaded: Loaded, route: str, mode: Mode) -> Loaded:
    """Return ``loaded`` with another mode of ``route``, the name of one."""
    settings = loaded.settings
    at = next(index for index, each in enumerate(settings.routes) if each.name == route)
    routes = list(settings.routes)
    routes[at] = routes[at].model_copy(update={"mode": mode})
    return _changed(loaded, settings.model_copy(update={"routes": routes}), ("routes", str(at), "mode"))


def with_log_level(loaded: Loaded, level: LogLevel) -> Loaded:
    """Return ``loaded`` with another level of the log."""
    settings = loaded.settings
    log = settings.log.model_copy(update={"level": level})
    return _changed(loaded, settings.model_copy(update={"log": log}), ("log", "level"))


def _changed(loaded: Loaded, settings: Settings, key: Key) -> Loaded:
    return Loaded(settings, {**loaded.origins, key: ORIGIN})
