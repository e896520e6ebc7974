"""The guard's settings as a file: written for planned routes, and read back before anybody else does."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import yaml

from spoe_guard.placement.plan import PlannedRoute
from spoe_guard.settings import Loaded, load

_ENDLESS: Final = 2**31  # no line is folded

_HEADING: Final = """\
# The guard's settings, written by `spoe-guard init` from {files}
# Every other setting and its default: `spoe-guard check`, or config/spoe-guard.yaml
routes:
"""


def text(planned: Sequence[PlannedRoute], files: Sequence[Path]) -> str:
    """Return the file. ``files``: HAProxy's, which it was made from."""
    named = " ".join(ascii(str(file))[1:-1] for file in files)
    return _HEADING.format(files=named) + "".join(line for each in planned for line in _route(each))


def read_back(written: str) -> Loaded:
    """Return the settings that a text means, as the guard will read it.

    Raises:
        ConfigError: the guard would not take it.
    """
    with tempfile.NamedTemporaryFile("w", prefix="spoe-guard-", suffix=".yaml") as file:
        file.write(written)
        file.flush()
        return load(Path(file.name))


def _route(planned: PlannedRoute) -> Iterator[str]:
    yield f"  - name: {_scalar(planned.name)}\n"
    yield f"    listen: {_scalar(str(planned.listen))}  # for the line of server {ascii(planned.server.name)[1:-1]}\n"
    agent = _scalar(str(planned.agent))
    yield (
        f"    agent:\n      - {agent}\n" if "," in agent else f"    agent: {agent}\n"
    )  # as one text a comma would part two agents
    for key, value in planned.settings.items():
        if isinstance(value, Mapping):
            yield f"    {key}:\n"
            yield from (f"      {name}: {_scalar(below)}\n" for name, below in value.items())
        else:
            yield f"    {key}: {_scalar(value)}\n"


def _scalar(value: object) -> str:
    """Return a text or a number as YAML, on one line; in quotes where a text might mean something else without them."""
    plain = yaml.safe_dump(value, width=_ENDLESS).removesuffix("...\n").rstrip("\n")
    return yaml.safe_dump(value, width=_ENDLESS, default_style='"').rstrip("\n") if "\n" in plain else plain
