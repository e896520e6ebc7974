"""The results of the hazard table as files for the page; a run writes them only when asked to."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WANTED = "SPOE_GUARD_HAZARDS"  # the folder of the results; with it the whole table is played, else a part of it


class MissingError(Exception):
    """The run did not play a row."""


def folder() -> Path | None:
    """Return where the results go, or None where none are wanted."""
    asked = os.environ.get(WANTED)
    return Path(asked) if asked else None


def keep(kind: str, **seen: Any) -> None:
    """Write one result; ``kind`` is the table it belongs to."""
    if (where := folder()) is not None:
        where.mkdir(parents=True, exist_ok=True)
        name = "-".join(str(seen[key]) for key in ("id", "generation", "agent", "guarded") if key in seen)
        (where / f"{kind}-{name.replace('/', '_')}.json").write_text(json.dumps(seen))


def read(kind: str, where: Path) -> Iterator[dict[str, Any]]:
    """Return the results of that table."""
    for path in sorted(where.glob(f"{kind}-*.json")):
        yield json.loads(path.read_text())


def line(*cells: str) -> str:
    """Return a row of a table of the page."""
    return "| " + " | ".join(cell.replace("|", "\\|") or "-" for cell in cells) + " |\n"
