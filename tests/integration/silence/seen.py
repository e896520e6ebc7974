"""What was seen, as JSON lines for the page: a file for each row and HAProxy, a line for each way; only when asked to."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.integration.silence.row import Result

WANTED: Final = "SPOE_GUARD_SILENCE"  # the folder of the results; with it the rows are played at full length


def folder() -> Path | None:
    """Return where the results go, or None where none are wanted."""
    asked = os.environ.get(WANTED)
    return Path(asked) if asked else None


def keep(id_: str, at: str, results: Mapping[str, Result]) -> None:
    """Write what came of one row at one HAProxy, by way."""
    if (where := folder()) is not None:
        where.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps({"way": way} | vars(result)) for way, result in results.items()]
        _file(where, id_, at).write_text("\n".join(lines) + "\n")


def read(where: Path, id_: str, at: str) -> dict[str, dict[str, Any]]:
    """Return it.

    Raises:
        OSError: it was not played.
    """
    lines = [json.loads(line) for line in _file(where, id_, at).read_text().splitlines()]
    return {line["way"]: line for line in lines}


def _file(where: Path, id_: str, at: str) -> Path:
    return where / f"{id_.replace(' ', '_')}-{at}.jsonl"
