"""The settings: defaults < YAML file < environment < flags, checked, with the origin of each value."""

from spoe_guard.settings.changes import Changes, changes, fixed
from spoe_guard.settings.checks import FAILS_OPEN, exposed, hello_changes, warnings
from spoe_guard.settings.cores import usable_cores
from spoe_guard.settings.layers import FLAGS
from spoe_guard.settings.load import Loaded, load
from spoe_guard.settings.memory import memory_limit, total_bytes
from spoe_guard.settings.model import LOG_LEVELS, Mode, Route, Settings
from spoe_guard.settings.overrides import with_log_level, with_mode
from spoe_guard.settings.problems import ConfigError, Problem, named
from spoe_guard.settings.sessions import session_config

__all__ = [
    "FAILS_OPEN",
    "FLAGS",
    "LOG_LEVELS",
    "Changes",
    "ConfigError",
    "Loaded",
    "Mode",
    "Problem",
    "Route",
    "Settings",
    "changes",
    "exposed",
    "fixed",
    "hello_changes",
    "load",
    "memory_limit",
    "named",
    "session_config",
    "total_bytes",
    "usable_cores",
    "warnings",
    "with_log_level",
    "with_mode",
]
