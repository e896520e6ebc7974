"""The hazard table, row by row: the symptom without the guard, and what is seen with it.

Every row on every HAProxy is ``make hazards``; here, in an ordinary run, it is the first row of each letter and number, on the
newest HAProxy that shows its symptom.
"""

import pytest

from tests.integration import generations
from tests.integration.hazards import results
from tests.integration.hazards.inputs import INPUTS
from tests.integration.hazards.page import PAGE
from tests.integration.hazards.row import Row
from tests.integration.hazards.table import STAGED, TABLE

WHOLE = results.folder() is not None


def scenes() -> list[tuple[str, str]]:
    """Return row and HAProxy of each scene to be played."""
    if WHOLE:
        return [(id_, generation) for id_ in STAGED for generation in generations.names()]
    first = {id_.split()[0]: id_ for id_ in reversed(STAGED)}
    return [(id_, newest(STAGED[id_])) for id_ in reversed(first.values())]


def newest(row: Row) -> str:
    """Return the newest HAProxy on which the symptom differs from what is seen with the guard."""
    harmed = [name for name in generations.RELEASES if row.expected_without(name) != row.expected_with(name)]
    return harmed[-1] if harmed else list(generations.RELEASES)[-1]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("id_", "name"), scenes())
def test_the_symptom_is_there_without_the_guard_and_gone_with_it(id_, name, company):
    row, generation = TABLE[id_], generations.find(name)
    for guarded in (False, True):
        seen = company.play(row, generation, guarded=guarded)
        anomalies = " ".join(sorted(seen.anomalies))
        results.keep(
            "haproxy", id=id_, generation=name, guarded=guarded, symptom=seen.symptom, figures=seen.figures, anomalies=anomalies
        )
        if not guarded:
            assert row.may_show(name, seen.symptom), f"{seen.symptom} for {row.expected_without(name)}"
        else:
            cured = seen.symptom == row.expected_with(name) and row.counts(set(seen.anomalies))
            about = f"{seen.symptom} and {anomalies} for {row.expected_with(name)} and {row.anomalies}"
            harmless = row.expected_without(name) == row.expected_with(name) and not row.anomalies
            assert cured or row.not_yet, about
            assert not (cured and row.not_yet) or harmless, f"{id_} is cured on HAProxy {name}: take its not_yet away"


def test_each_row_is_staged_or_says_why_not():
    for row in TABLE.values():
        if row.not_staged:
            assert not row.without
            assert not row.guarded
        else:
            assert {name for names in row.without for name in names.split()} == set(generations.RELEASES), row.id
            assert row.guarded, row.id


def test_every_hazard_of_the_catalogue_has_a_row():
    numbers = {"A": 9, "B": 10, "C": 10, "D": 7, "E": 9, "F": 7, "G": 7, "H": 8}
    wanted = {f"{letter}{number}" for letter, last in numbers.items() for number in range(1, last + 1)}
    assert wanted <= {id_.split()[0] for id_ in TABLE}


def test_with_the_guard_no_haproxy_dies_and_none_reconnects_without_pause():
    for row in STAGED.values():
        for said in (row.guarded, *row.guarded_on.values()):
            assert "dies" not in said
            assert "storm" not in said


def test_the_page_has_every_row():
    page = PAGE.read_text()
    assert [id_ for id_ in [*TABLE, *INPUTS] if f"\n| {id_} |" not in page] == [], "run `make hazards`"
