"""Agents that are gone, and NOTIFYs that are lost: never slower or more open with the guard, and seen."""

import pytest

from tests.integration.silence.played import cases, unsaid, worse
from tests.integration.silence.table import TABLE

PLAY_S = 300

each_case = pytest.mark.parametrize(("id_", "at"), cases("F"))


@pytest.mark.timeout(PLAY_S)
@each_case
def test_a_request_is_no_slower_and_no_more_open_with_the_guard(id_, at, players):
    assert list(worse(TABLE[id_], players.play(id_, at))) == []


@pytest.mark.timeout(PLAY_S)
@each_case
def test_page_readyz_metrics_log_and_alert_agree_on_it(id_, at, players):
    assert list(unsaid(TABLE[id_], players.play(id_, at))) == []
