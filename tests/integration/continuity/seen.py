"""The observations of a run as files for the page; a run writes them only when asked to."""

import json
import os
from pathlib import Path
from typing import Any, Final

from tests.integration.continuity.stay import Result

WANTED: Final = "SPOE_GUARD_CONTINUITY"  # the folder of the results; with it the scenes are played at full length


def folder() -> Path | None:
    """Return where the results go, or None where none are wanted."""
    asked = os.environ.get(WANTED)
    return Path(asked) if asked else None


def keep(name: str, agent: str, way: str, at: str, result: Result) -> None:
    """Write one result."""
    keep_words(name, f"{agent} {way}", at, failed=result.failed, **vars(result))


def keep_words(name: str, which: str, at: str, **told: Any) -> None:
    """Write another kind of result."""
    if (where := folder()) is not None:
        where.mkdir(parents=True, exist_ok=True)
        _file(where, name, which, at).write_text(json.dumps(told))


def read(where: Path, name: str, which: str, at: str) -> dict[str, Any]:
    """Return one result; of scenes, ``which`` is agent and way.

    Raises:
        OSError: there is none.
    """
    found: dict[str, Any] = json.loads(_file(where, name, which, at).read_text())
    return found


def _file(where: Path, *names: str) -> Path:
    return where / ("-".join(names).replace("/", "_") + ".json")
