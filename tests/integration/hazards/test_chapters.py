"""A chapter goes into docs/hazards.md, and the rest of the page stays as it is."""

import pytest

from tests.integration.hazards.chapters import APART, COME_AND_GO, NOT_STAGED, SILENCE, of, put

BEFORE = "# Page\n\n## A\n\na\n"
BEHIND = f"{NOT_STAGED}\nb\n"
FIRST, SECOND = f"{COME_AND_GO}\nfirst\n\n### Part\n\np\n", f"{SILENCE}\nsecond\n"


@pytest.mark.parametrize("chapters", [(FIRST, SECOND), (SECOND, FIRST)], ids=["in order", "the later one first"])
def test_chapters_stand_in_their_order_whichever_was_written_first(chapters):
    page = f"{BEFORE}\n{BEHIND}"
    for chapter in chapters:
        page = put(page, chapter)
    assert page == f"{BEFORE}\n{FIRST}\n{SECOND}\n{BEHIND}"


@pytest.mark.parametrize("heading", APART)
def test_a_chapter_replaces_its_predecessor_and_nothing_else(heading):
    page = put(put(f"{BEFORE}\n{BEHIND}", FIRST), SECOND)
    old = of(page, heading)
    assert put(page, old) == page
    assert put(page, f"{heading}\nother\n") == page.replace(old.strip(), f"{heading}\nother")


def test_the_chapter_of_a_page_is_found():
    page = put(put(f"{BEFORE}\n{BEHIND}", FIRST), SECOND)
    assert of(page, COME_AND_GO).strip() == FIRST.strip()
    assert of(page, SILENCE).strip() == SECOND.strip()
    assert of(BEFORE + BEHIND, SILENCE) == ""
