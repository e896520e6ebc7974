"""The settings: defaults < YAML file < environment < flags, checked, with the origin of each value."""

from spoe_guard.settings.changes import changes, fixed
from spoe_guard.settings.checks import FAILS_OPEN, hello_changes, warnings
from spoe_guard.settings.cores import usable_cores
from spoe_guard.settings.layers import FLAGS
from spoe_guard.settings.load import Loaded, load
from spoe_guard.settings.model import LOG_LEVELS, Route, Settings
from spoe_guard.settings.problems import ConfigError, Problem
from spoe_guard.settings.sessions import session_config

__all__ = [
    "FAILS_OPEN",
    "FLAGS",
    "LOG_LEVELS",
    "ConfigError",
    "Loaded",
    "Problem",
    "Route",
    "Settings",
    "changes",
    "fixed",
    "hello_changes",
    "load",
    "session_config",
    "usable_cores",
    "warnings",
]
