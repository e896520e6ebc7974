"""What is running."""

import platform

from spoe_guard import __version__
from spoe_guard.net.loop import loop_name
from spoe_guard.wire import varint


def about() -> dict[str, str]:
    """Return version, python, loop, and whether wire and core were compiled: the labels of ``spoe_guard_build_info``."""
    return {
        "version": __version__,
        "python": platform.python_version(),
        "loop": loop_name(),
        "compiled": "false" if varint.__file__.endswith(".py") else "true",
    }
