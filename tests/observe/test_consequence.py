"""What came of an anomaly: mended, saved, spared, lost, in danger."""

import pytest

from spoe_guard.core.terms.anomalies import CATALOGUE, Action, Anomaly, Side
from spoe_guard.core.terms.family import Family
from spoe_guard.observe.consequence import Consequence, consequence

BOTH = frozenset((Family.APPLET, Family.MUX))
MENDING = (Action.DROP, Action.REORDER, Action.REPAIR, Action.ANSWER, Action.CLOSE)


def came_of(anomaly: Anomaly, action: Action, *, applied: bool = True, side: Side = Side.AGENT, families=frozenset()) -> str:
    return consequence(side, anomaly, action, applied=applied, families=families).value


@pytest.mark.parametrize("anomaly", [each for each, row in CATALOGUE.items() if row.ends])
def test_what_ends_haproxy_is_kept_away_or_is_a_danger(anomaly):
    for action in MENDING:
        assert came_of(anomaly, action) == "haproxy_spared"
        assert came_of(anomaly, action, applied=False) == "haproxy_in_danger"
        assert came_of(anomaly, action, side=Side.HAPROXY) == "mended"  # to an agent it goes
    assert came_of(anomaly, Action.PASS) == "haproxy_in_danger"


@pytest.mark.parametrize(
    ("anomaly", "families", "ends"),
    [
        (Anomaly.RUNT_FRAME, {Family.APPLET}, True),
        (Anomaly.RUNT_FRAME, {Family.MUX}, False),
        (Anomaly.RUNT_FRAME, BOTH, True),
        (Anomaly.DISCONNECT_BAD_IDS, {Family.MUX}, True),
        (Anomaly.DISCONNECT_BAD_IDS, {Family.APPLET}, False),
        (Anomaly.BAD_VARINT, {Family.APPLET}, True),
    ],
)
def test_only_the_haproxys_that_connect_are_in_danger(anomaly, families, ends):
    assert came_of(anomaly, Action.DROP, applied=False, families=families) == ("haproxy_in_danger" if ends else "none")
    assert came_of(anomaly, Action.DROP, families=families) == ("haproxy_spared" if ends else "mended")


@pytest.mark.parametrize(
    ("anomaly", "action"),
    [(Anomaly.ACK_AFTER_DISCONNECT, Action.REORDER), (Anomaly.MISSING_FIN, Action.REPAIR), (Anomaly.EMPTY_ACK, Action.REPAIR)],
)
def test_an_answer_put_right_is_saved_and_unmended_lost(anomaly, action):
    assert CATALOGUE[anomaly].costs_answer
    assert came_of(anomaly, action) == "answer_saved"
    assert came_of(anomaly, action, applied=False) == "answer_lost"
    assert came_of(anomaly, Action.DROP) == "mended"  # dropped: the NOTIFY counts as unanswered
    assert came_of(anomaly, Action.PASS) == "none"  # whoever chose that knows


@pytest.mark.parametrize("anomaly", [Anomaly.NOTIFY_UNANSWERED, Anomaly.NOTIFY_OVERSIZE, Anomaly.AGENT_UNREACHABLE])
def test_what_the_unanswered_notifys_tell_is_not_told_twice(anomaly):
    assert {came_of(anomaly, action) for action in Action} == {"none"}


def test_an_answer_that_is_saved_was_at_stake():
    """The table and this module agree: what is one answer here costs an answer there."""
    for anomaly, row in CATALOGUE.items():
        saved = consequence(Side.AGENT, anomaly, Action.REPAIR, applied=True, families=BOTH) is Consequence.ANSWER_SAVED
        assert not saved or row.costs_answer, anomaly
