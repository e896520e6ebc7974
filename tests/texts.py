"""Every file of the project that is text."""

from pathlib import Path
from typing import Final

from tests.peers import ROOT

_FOLDERS: Final = (".ci", ".github", "config", "docs", "spoe_guard", "tests")


def texts() -> dict[Path, str]:
    """Return the text of each file, by its path from the root."""
    inside = (path for folder in _FOLDERS for path in (ROOT / folder).rglob("*") if "__pycache__" not in path.parts)
    found = {}
    for path in sorted({*ROOT.glob("[!.]*"), *inside}):
        if path.is_file():
            try:
                found[path.relative_to(ROOT)] = path.read_text()
            except UnicodeDecodeError:
                continue
    return found
