"""Hypothesis tests are bounded by a number of examples, never by a clock."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule


def timeout_of(request):
    return request.node.get_closest_marker("timeout").args[0]


@pytest.mark.parametrize("profile", ["fast", "quick", "deep"])
def test_no_profile_has_a_deadline(profile):
    assert settings.get_profile(profile).deadline is None


@given(st.none())
def test_a_property_has_no_timeout(request, nothing):
    assert timeout_of(request) == 0


@pytest.mark.timeout(1)
@given(st.none())
def test_a_property_has_no_timeout_of_its_own_either(request, nothing):
    assert timeout_of(request) == 0


class Machine(RuleBasedStateMachine):
    @rule()
    def has_no_timeout(self):
        assert timeout_of(self.request) == 0


class TestAStateMachineHasNoTimeout(Machine.TestCase):
    settings = settings(max_examples=1, stateful_step_count=1)

    @pytest.fixture(autouse=True)
    def known(self, request):
        Machine.request = request
