"""The hazard table, row by row: the symptom without the guard, and what is seen with it.

Every row on every HAProxy is ``make hazards``; in an ordinary run it is every row on the newest HAProxy that shows its symptom,
and where chance has a part only a few times and with the guard alone.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.integration import generations
from tests.integration.hazards import results
from tests.integration.hazards.inputs import INPUTS
from tests.integration.hazards.page import PAGE
from tests.integration.hazards.row import Outcome, Row
from tests.integration.hazards.table import STAGED, TABLE

WHOLE = results.folder() is not None
FEW = 20


def scenes() -> list[tuple[str, str]]:
    """Return row and HAProxy of each scene to be played."""
    if WHOLE:
        return [(id_, generation) for id_ in STAGED for generation in generations.names()]
    return [(id_, newest(row)) for id_, row in STAGED.items()]


def newest(row: Row) -> str:
    """Return the newest HAProxy on which the symptom differs from what is seen with the guard."""
    harmed = [name for name in generations.RELEASES if row.expected_without(name) != row.expected_with(name)]
    return harmed[-1] if harmed else list(generations.RELEASES)[-1]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("id_", "name"), scenes())
def test_the_symptom_is_there_without_the_guard_and_gone_with_it(id_, name, company):
    row, generation = TABLE[id_], generations.find(name)
    if row.counted and not WHOLE:  # too few repetitions to say anything of the half without the guard
        judge_guarded(replace(row, requests=FEW), name, company.play(replace(row, requests=FEW), generation, guarded=True))
        return
    with ThreadPoolExecutor(2) as both:  # most of the time they wait for HAProxy's timeouts
        halves = [both.submit(company.play, row, generation, guarded=guarded) for guarded in (False, True)]
    without, guarded = (half.result() for half in halves)
    for seen in (without, guarded):
        results.keep(
            "haproxy",
            id=id_,
            generation=name,
            guarded=seen is guarded,
            symptom=seen.symptom,
            figures=seen.figures,
            anomalies=" ".join(sorted(seen.anomalies)),
        )
    assert row.may_show(name, without.symptom), f"{without.symptom} for {row.expected_without(name)}"
    judge_guarded(row, name, guarded)


def judge_guarded(row: Row, name: str, seen: Outcome) -> None:
    """Whether the guard kept its promise, or ``not_yet`` still says the truth."""
    cured = seen.symptom == row.expected_with(name) and row.counts(set(seen.anomalies))
    about = f"{seen.symptom} and {set(seen.anomalies)} for {row.expected_with(name)} and {row.anomalies}"
    harmless = row.expected_without(name) == row.expected_with(name) and not row.anomalies
    assert cured or row.not_yet, about
    assert not (cured and row.not_yet) or harmless, f"{row.id} is cured on HAProxy {name}: take its not_yet away"


def test_each_row_says_what_is_to_be_seen_on_each_haproxy():
    for row in STAGED.values():
        assert {name for names in row.without for name in names.split()} == set(generations.RELEASES), row.id


def test_with_the_guard_no_haproxy_dies_and_none_reconnects_without_pause():
    for row in STAGED.values():
        for text in (row.guarded, *row.guarded_on.values()):
            assert "dies" not in text
            assert "storm" not in text


@pytest.mark.skipif(WHOLE, reason="what this run sees is what the page will be written from")
def test_the_page_has_every_row():
    page = PAGE.read_text()
    assert [id_ for id_ in [*TABLE, *INPUTS] if f"\n| {id_} |" not in page] == [], "run `make hazards`"
