"""The chapter goes into the page, and the rest of the page stays as it is."""

import pytest

from tests.integration.continuity.page import HEADING, NEXT, chapter, of, put

BEFORE = "# Page\n\n## A\n\na\n"
BEHIND = f"{NEXT}\nb\n"
WRITTEN = f"{HEADING}\nwritten\n"


def test_a_chapter_goes_before_the_last_and_replaces_its_predecessor():
    once = put(f"{BEFORE}\n{BEHIND}", WRITTEN)
    assert once == f"{BEFORE}\n{WRITTEN}\n{BEHIND}"
    assert put(once, WRITTEN) == once
    assert put(once, f"{HEADING}\nother\n") == f"{BEFORE}\n{HEADING}\nother\n\n{BEHIND}"


def test_the_chapter_of_a_page_is_found():
    assert of(put(f"{BEFORE}\n{BEHIND}", WRITTEN)).strip() == WRITTEN.strip()
    assert of(BEFORE + BEHIND) == ""


def test_nothing_is_written_of_a_run_that_left_out_a_scene(tmp_path):
    with pytest.raises(OSError, match="killed"):
        chapter(tmp_path)
