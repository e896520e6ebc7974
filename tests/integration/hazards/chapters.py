"""The chapters of docs/hazards.md that different runs write: each replaces its own, and leaves the others as they are."""

import re
from typing import Final

COME_AND_GO: Final = "## Agents come and go\n"
SILENCE: Final = "## What the agent does not say\n"
NOT_STAGED: Final = "## Hazards that are not staged\n"
ORDER: Final = (COME_AND_GO, SILENCE, NOT_STAGED)
APART: Final = (COME_AND_GO, SILENCE)  # written by runs of their own; what stands before the first and the last is `make hazards`


def of(page: str, heading: str) -> str:
    """Return the chapter that ``page`` has under that heading, "" where it has none."""
    found = re.search(rf"^{re.escape(heading)}.*?(?=^## |\Z)", page, flags=re.DOTALL | re.MULTILINE)
    return found[0] if found else ""


def put(page: str, chapter: str) -> str:
    """Return ``page`` with that chapter in place of the one it has, or else before what follows it in ``ORDER``."""
    heading = chapter.lstrip("\n").partition("\n")[0] + "\n"
    rest = page.replace(of(page, heading), "") if of(page, heading) else page
    behind = [at for later in ORDER[ORDER.index(heading) + 1 :] if (at := rest.find(f"\n{later}")) >= 0]
    at = min(behind)
    return f"{rest[:at].rstrip()}\n\n{chapter.strip()}\n{rest[at:]}"
