"""What makes a row red: the guard is slower, opens what was closed, or does what the row does not allow."""

from collections import Counter
from dataclasses import replace

import pytest

from tests.integration.haproxy import Options
from tests.integration.silence import scenes
from tests.integration.silence.played import SLOWER_S, unsaid, worse
from tests.integration.silence.row import WITHOUT, Result, Row, Way
from tests.integration.silence.surfaces import Says

DEAD = Says("down", ready=False, within=1.0)
ROW = Row("X", "title", "does", scenes.hung, Options(), (Way(WITHOUT), Way("guard", {})), most={"dials": 5.0})
CLOSED = {"failed closed (1)": 3}


def result(got=None, seconds=(0.1, 0.2, 0.5), **figures):
    return Result(list(seconds), Counter(got or CLOSED), figures={"dials": 5.0, **figures})


def judged(with_guard, *, row=ROW, way=ROW.ways[1], without=None):
    row = replace(row, ways=(Way(WITHOUT), way))
    return list(worse(row, {WITHOUT: without or result(), "guard": with_guard}))


def test_what_is_as_without_the_guard_is_no_worse():
    assert judged(result()) == []
    assert judged(result({"answered": 3})) == []


@pytest.mark.parametrize("got", ["unchecked", "no HTTP response", "another's answer"])
def test_one_request_that_ends_worse_is_seen(got):
    assert judged(result(CLOSED | {got: 1}))
    assert not judged(result(CLOSED | {got: 1}), way=Way("guard", {}, opens=True)) or got != "unchecked"


def test_unchecked_is_no_worse_where_it_was_so_without_the_guard():
    assert judged(result({"unchecked": 3}), without=result({"unchecked": 3})) == []


def test_slower_is_seen_by_the_median_and_by_the_slowest():
    median, slowest = SLOWER_S
    as_slow = result(seconds=(0.1, 0.2 + median, 0.5 + slowest))
    assert judged(as_slow) == []
    assert [line.split()[1] for line in judged(result(seconds=(0.1, 0.201 + median, 2.0)))] == ["median", "slowest"]
    assert judged(result(seconds=(0.1, 0.201 + median, 2.0)), way=Way("guard", {}, waits=2.0)) == []


def test_figures_have_bounds_and_unchecked_requests_are_counted():
    assert judged(result(dials=5.1)) == ["guard: dials 5.1, at most 5"]
    opens = Way("guard", {}, opens=True)
    three = CLOSED | {"unchecked": 3}
    assert judged(result(three, **{"counted as unchecked": 3.0}), way=opens) == []
    assert judged(result(three, **{"counted as unchecked": 2.0}), way=opens) == ["guard: 3 unchecked, 2 counted"]


def test_a_row_may_want_every_request_answered():
    row = replace(ROW, answered=True)
    assert judged(result({"answered": 3}), row=row) == []
    assert judged(result({"answered": 2, "failed closed (1)": 1}), row=row)


def test_what_was_not_said_in_time_is_reported():
    silent = result()
    silent.unsaid["hung"] = "why"
    row = replace(ROW, says={"hung": [DEAD]})
    assert list(unsaid(row, {WITHOUT: result(), "guard": silent})) == ["guard, hung: why"]
    assert list(unsaid(row, {WITHOUT: result(), "guard": result()})) == ["guard, hung: nobody listened"]
    heard = result()
    heard.said["hung"] = {"page": (0.1, "down")}
    assert list(unsaid(row, {WITHOUT: result(), "guard": heard})) == []
