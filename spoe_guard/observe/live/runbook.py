"""The runbook's entries as pages of the guard's own: who is on call may have no way to anything else."""

import re
from pathlib import Path
from typing import Final

from jinja2 import DictLoader, Environment, StrictUndefined
from markdown_it import MarkdownIt

# Where the other pages are that an entry leads to.
PAGES: Final = "https://github.com/your_org/spoe-guard/blob/main/docs"

_HEADING: Final = re.compile(r"^(#{1,3}) (.+)$", re.MULTILINE)
_TEMPLATE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ heading }}, spoe-guard's runbook</title>
<link rel="stylesheet" href="/live.css">
<link rel="icon" href="/icon.svg" type="image/svg+xml">
</head>
<body class="entry">
<header><p class="brand"><a href="/">spoe-guard</a> <span class="quiet">runbook</span></p></header>
<main>
{{ text|safe }}
</main>
</body>
</html>
"""


def _file() -> Path:
    """Return docs/runbook.md: in the package, as it is installed; in a checkout, the one that it is copied from."""
    package = Path(__file__).parents[2]
    installed = package / "runbook.md"
    return installed if installed.is_file() else package.parent / "docs/runbook.md"


def anchor(heading: str) -> str:
    """Return how a link names a heading, as every Markdown page does."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


class Runbook:
    """Cuts the page into its entries, once; ``entries``: their headings, by the name in /runbook/NAME."""

    def __init__(self) -> None:
        text = _file().read_text("utf-8")
        found = list(_HEADING.finditer(text))
        ends = [match.start() for match in found[1:]] + [len(text)]
        self.entries = {anchor(match[2]): match[2] for match in found}
        # Each is a page of its own, so its heading is the first, whatever it is on the page of all.
        self._texts = {anchor(match[2]): f"# {match[2]}{text[match.end() : end]}" for match, end in zip(found, ends, strict=True)}
        self._pages: dict[str, bytes] = {}
        self._markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
        environment = Environment(autoescape=True, loader=DictLoader({"entry.html": _TEMPLATE}), undefined=StrictUndefined)
        self._template = environment.get_template("entry.html")

    def page(self, name: str) -> bytes | None:
        """Return an entry in HTML, None if there is none of that name."""
        if name in self._pages or name not in self.entries:
            return self._pages.get(name)
        text = self._markdown.render(re.sub(r"\]\(([^)]+)\)", lambda link: f"]({_target(link[1])})", self._texts[name]))
        self._pages[name] = self._template.render(heading=self.entries[name], text=text).encode()
        return self._pages[name]


def _target(link: str) -> str:
    """Return where a link of the runbook leads from a page of the guard's own."""
    if link.startswith("#"):
        return f"/runbook/{link[1:]}"
    return link if ":" in link else f"{PAGES}/{link}"
