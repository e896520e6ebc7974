"""Who is on call knows within seconds what is wrong, from whatever he reads first, and sees within seconds that it is over."""

import pytest

from tests.integration.oncall.incident import OVER_S, SEEN_S
from tests.integration.oncall.played import Played, Seen
from tests.integration.oncall.table import TABLE

pytestmark = pytest.mark.timeout(180)  # the first of them plays all

ALL = pytest.mark.parametrize("name", TABLE)


def seen(played: Played, name: str) -> Seen:
    if name in played.left_out:
        pytest.skip(played.left_out[name])
    return played.seen[name]


@ALL
def test_within_ten_seconds_the_page_names_route_cause_share_and_time(played, name):
    of_it = seen(played, name)
    assert "headline" in of_it.said, str(of_it)
    assert of_it.said["headline"][0] < SEEN_S, str(of_it)


@ALL
def test_page_top_status_metrics_log_and_alert_agree(played, name):
    of_it = seen(played, name)
    assert of_it.agreed is not None, of_it.unsaid


@ALL
def test_it_is_over_within_thirty_seconds_of_the_cure(played, name):
    of_it = seen(played, name)
    assert of_it.over.keys() == {"page", "status", "metrics"}, str(of_it)
    assert max(of_it.over.values()) < OVER_S, str(of_it)
    assert of_it.closed is not None
