import pytest

from spoe_guard.core.terms.anomalies import CATALOGUE, Action, Anomaly, Side
from spoe_guard.core.terms.policy import Policy


@pytest.mark.parametrize("anomaly", Anomaly)
def test_without_choices_the_catalogue_decides(anomaly: Anomaly) -> None:
    assert Policy().action(Side.AGENT, anomaly) is CATALOGUE[anomaly].default
    assert Policy().action(Side.AGENT, anomaly, applet=True) is CATALOGUE[anomaly].applet_default
    assert Policy().action(Side.HAPROXY, anomaly) is CATALOGUE[anomaly].haproxy_default


@pytest.mark.parametrize("anomaly", Anomaly)
@pytest.mark.parametrize("action", Action)
def test_an_action_is_taken_or_refused_as_the_catalogue_says(anomaly: Anomaly, action: Action) -> None:
    row = CATALOGUE[anomaly]
    if action not in row.allowed:
        with pytest.raises(
            ValueError, match=f"{anomaly.value} does not allow {action.value}: choose one of .*{row.default.value}"
        ):
            Policy({anomaly: action})
        return
    policy = Policy({anomaly: action})
    assert policy.action(Side.AGENT, anomaly) is policy.action(Side.AGENT, anomaly, applet=True) is action
    assert policy.action(Side.HAPROXY, anomaly) is (action if action in row.haproxy_allowed else row.haproxy_default)


def test_a_choice_leaves_the_others_alone() -> None:
    policy = Policy({Anomaly.UNMATCHED_ACK: Action.PASS})
    assert policy.action(Side.AGENT, Anomaly.RUNT_FRAME) is Action.DROP


def test_a_type_nobody_knows_never_passes_to_the_agent() -> None:
    policy = Policy({Anomaly.UNKNOWN_FRAME_TYPE: Action.PASS})
    assert policy.action(Side.AGENT, Anomaly.UNKNOWN_FRAME_TYPE) is Action.PASS
    assert policy.action(Side.HAPROXY, Anomaly.UNKNOWN_FRAME_TYPE) is Action.DROP


def test_a_garbled_haproxy_never_has_a_choice() -> None:
    policy = Policy({Anomaly.GARBLED_STREAM: Action.REPAIR})
    assert policy.action(Side.HAPROXY, Anomaly.GARBLED_STREAM) is Action.CLOSE
