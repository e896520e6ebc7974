"""The version and build that is running."""

import platform

from spoe_guard import __version__
from spoe_guard.core import lane
from spoe_guard.net.loop import loop_name


def about() -> dict[str, str]:
    """Return version, python, loop, and whether the hot lane was compiled: the labels of ``spoe_guard_build_info``."""
    return {
        "version": __version__,
        "python": platform.python_version(),
        "loop": loop_name(),
        "compiled": "false" if lane.__file__.endswith(".py") else "true",
    }
