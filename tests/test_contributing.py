"""The pages for contributors and evaluators name files, commands and versions that exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from spoe_guard.observe.incidents import KINDS
from tests.agents.catalogue import CATALOGUE, LIBRARIES
from tests.integration.generations import RELEASES

ROOT = Path(__file__).parent.parent
DECISIONS = ROOT / "docs/decisions"
COMPATIBILITY = ROOT / "docs/compatibility.md"
PAGES = [ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", COMPATIBILITY, *sorted(DECISIONS.glob("*.md"))]

each_page = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])

FENCED = re.compile(r"^```.*?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# With a folder in front, or one of the few endings that files at the top have. HAProxy's own files are not ours to have.
PATH = re.compile(r"\.?\w[\w.*-]*/[\w./*-]*|[\w-]+\.(?:md|py|toml)|Makefile|Dockerfile")
MADE = re.compile(r"\bmake((?: [a-z][a-z-]*)+)")


def code(text: str) -> Iterator[str]:
    """Return what stands in backticks, and the lines of fenced blocks without their comments."""
    for block in FENCED.findall(text):
        yield from (line.partition("#")[0].strip() for line in block.splitlines())
    yield from (" ".join(inline.split()) for inline in re.findall(r"`([^`]+)`", FENCED.sub("", text)))


def paths(text: str) -> set[str]:
    """Return the words of it that look like a file or folder of this repository; what `make` makes is none."""
    return {word for message in code(text) for word in message.split() if PATH.fullmatch(word) and not word.startswith(".venv/")}


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def table(heading: str) -> list[list[str]]:
    """Return the cells of the first table below that heading of the page on compatibility, without its head."""
    below = COMPATIBILITY.read_text().split(f"\n## {heading}\n", 1)[1]
    first = re.search(r"(?:^\|.*\n)+", below, re.MULTILINE)[0]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in first.splitlines()[2:]]


@each_page
def test_every_path_that_a_page_names_exists(page):
    assert sorted(message for message in paths(page.read_text()) if not any(ROOT.glob(message))) == []


@each_page
def test_every_link_of_a_page_leads_somewhere(page):
    links = {link for link in re.findall(r"\]\(([^)#\s]+)", page.read_text()) if "://" not in link}
    assert sorted(link for link in links if not (page.parent / link).exists()) == []


@each_page
def test_every_make_target_that_a_page_names_exists(page):
    named = {name for message in code(page.read_text()) for words in MADE.findall(message) for name in words.split()}
    assert sorted(named - targets()) == []


def test_ci_plays_all_that_make_check_plays():
    check = re.search(r"^check: ([a-z -]+) ##", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    lines = re.findall(r"^make (.+)$", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    assert sorted(word for line in lines for word in line.split() if not word.startswith("-")) == sorted(check)
    page = " ".join((ROOT / "CONTRIBUTING.md").read_text().split())
    named = page.split("`make check` is ", 1)[1].split(".", 1)[0]
    assert named.replace("all branches of wire and core, and site", "coverage, site") == ", ".join(check)


def test_paths_and_commands_are_found_where_they_are_looked_for():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    assert {"spoe_guard/settings/model.py", "tests/agents/go", "CHANGELOG.md"} <= paths(text)
    assert {"make venv", "make hazards"} <= {message.partition("  ")[0] for message in code(text)}


def test_the_haproxys_of_the_page_on_compatibility_are_those_that_are_tested():
    assert {version: release for version, release, *_ in table("HAProxy")} == RELEASES


def test_the_agents_of_the_page_on_compatibility_are_those_that_are_tested():
    message = {name: (library, language, releases.split(", ")) for name, library, language, releases, _ in table("Agents")}
    assert message == {
        family: (library, language.value.title(), [kind.release for kind in CATALOGUE.values() if kind.family == family])
        for family, (library, language) in LIBRARIES.items()
    }


def test_the_compatibility_page_lists_exactly_the_log_events():
    guards = [path for path in (ROOT / "spoe_guard").rglob("*.py") if "demo" not in path.parts]  # which tells a story
    source = "\n".join(path.read_text() for path in guards)
    events = set(re.findall(r"\b_?say\(\s*(?:\"[a-z]+\"|\w+(?:\([^()]*\))?),\s*\"([a-z_]+)\"", source))
    listed = COMPATIBILITY.read_text().split("The log's events:", 1)[1].split("\n\n", 1)[0]
    assert {*re.findall(r"`([a-z_]+)`", listed)} == events | KINDS.keys()


def test_every_decision_has_its_number_and_stands_in_the_list():
    pages = [page for page in PAGES if page.parent == DECISIONS and page.name != "README.md"]
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    titles = [page.read_text().partition("\n")[0] for page in pages]
    listed = re.findall(r"^\| (\d+) \| \[(.+)\]\((.+)\) \|", (DECISIONS / "README.md").read_text(), re.MULTILINE)
    assert [(f"# {number}. {title}", name) for number, title, name in listed] == [
        (title, page.name) for title, page in zip(titles, pages, strict=True)
    ]
