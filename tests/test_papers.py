"""Every page that a file of the project names exists, and so does every link target within a page."""

import os.path
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import ROOT
from tests.texts import texts

NAMED = re.compile(r"(?<![\w./-])[\w./-]*\w\.md\b")
LINK = re.compile(r"\]\(([^()\s]+)\)|^\[[^\]]+\]: (\S+)", re.MULTILINE)
ENTRY = re.compile(r"(docs/evidence/\w+\.md) ([A-H]\d+|\d(?:\.\d)?)\b")
HAZARD = re.compile(r"\bhazards? ([A-H]\d+)\b")

TEXTS = texts()
PAGES = {path: text for path, text in TEXTS.items() if path.suffix == ".md"}
# What stands here is put into docs/benchmarks.md, and its links are those of that page.
PUT_INTO = {Path("tests/bench/notes.md"): Path("docs/benchmarks.md")}


def anchors(page: str) -> set[str]:
    """Return the places of a page: those it names itself, and those that a heading makes."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {*re.findall(r'<a id="([^"]+)"></a>', page), *(slug(heading) for heading in headings)}


def slug(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def links() -> Iterator[tuple[Path, str]]:
    """Every link of a page to a file of the project."""
    for path, text in PAGES.items():
        for inline, defined in LINK.findall(re.sub(r"```.*?```|`[^`\n]+`", "", text, flags=re.DOTALL)):
            target = inline or defined
            if not re.match(r"[a-z]+:", target):
                yield PUT_INTO.get(path, path), target


def below(folder: Path, name: str) -> Path:
    """Return what ``name`` means in ``folder``, by its path from the root."""
    return Path(os.path.normpath(folder / name))


@pytest.mark.parametrize("path", [path for path, text in TEXTS.items() if NAMED.search(text)], ids=str)
def test_every_page_that_is_named_is_there(path):
    named = {name.lstrip("/") for name in NAMED.findall(TEXTS[path]) if not name.startswith("//")}
    folders = (path.parent, Path("docs"), Path("docs/agents"), Path())
    assert {name for name in named if not any(below(folder, name) in PAGES for folder in folders)} == set()


def test_every_link_leads_to_a_file_and_to_a_place_in_it():
    dead = []
    for path, target in links():
        name, _, place = target.partition("#")
        file = below(path.parent, name) if name else path
        if not (ROOT / file).exists() or (place and place not in anchors(PAGES.get(file, ""))):
            dead.append(f"{path}: {target}")
    assert dead == []


def test_the_hazards_link_to_their_evidence():
    cited = {target for path, target in links() if path == Path("docs/hazards.md")}
    for page, last in (("agents", "6"), ("haproxy", "h8")):
        assert f"evidence/{page}.md#{last}" in cited


def test_every_entry_of_the_evidence_that_is_cited_is_there():
    cited = {(page, entry) for text in TEXTS.values() for page, entry in ENTRY.findall(text)}
    cited |= {("docs/evidence/haproxy.md", entry) for text in TEXTS.values() for entry in HAZARD.findall(text)}
    places = {page: anchors(PAGES[Path(page)]) for page, _ in cited}
    assert cited
    assert {(page, entry) for page, entry in cited if entry.lower().replace(".", "-") not in places[page]} == set()
