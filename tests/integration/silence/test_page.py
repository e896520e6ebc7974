"""The chapter of docs/hazards.md has every row, and nothing is written of a run that left one out."""

from collections import Counter

import pytest

from tests.integration.silence import seen
from tests.integration.silence.page import ORDER, PAGE, chapter
from tests.integration.silence.row import Result
from tests.integration.silence.table import TABLE


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setenv(seen.WANTED, str(tmp_path))
    for row in TABLE.values():
        for at in row.on:
            said = dict.fromkeys(ORDER, (0.8 if at == "3.2" else 0.5, "something"))
            result = Result([0.1, 0.3], Counter(answered=2), Counter({"st=0": 2}), {"connections": 7}, {"hung": said})
            seen.keep(row.id, at, {way.name: result for way in row.ways})
    return tmp_path


def test_what_a_run_saw_is_in_the_chapter(results):
    text, way = chapter(results), TABLE["S1"].ways[1].name
    assert text.count("| 2 | 200 ms | 300 ms | 2 answered | connections: 7 | 2 st=0 |") == sum(
        len(row.on) * len(row.ways) for row in TABLE.values()
    )
    assert f"| 2.2, 2.6, 3.0, 3.2 | {way} | hung | 0.5 to 0.8 s: something |" in text


def test_nothing_is_written_of_a_run_that_left_out_a_row(results):
    next(results.glob("W1-*")).unlink()
    with pytest.raises(OSError, match="W1"):
        chapter(results)


@pytest.mark.skipif(seen.folder() is not None, reason="what this run sees is what the page will be written from")
def test_the_page_has_every_row():
    page = PAGE.read_text()
    assert [id_ for id_ in TABLE if f"\n### {id_}: " not in page] == [], "run `make silence`"
