"""The promises of docs/architecture.md as properties, judged by tests/properties/checker.py from the bytes on the wire."""

from hypothesis import given
from hypothesis import strategies as st

from tests.properties.checker import broken_promises
from tests.properties.configs import answering_policy, configs, promising_policy
from tests.properties.conversations import against_agents, against_both, against_haproxy, segmentations
from tests.properties.driver import Dial, Play, terms_of
from tests.properties.effort import marks, thoroughly

pytestmark = marks

dials = st.sampled_from([Dial.AT_ONCE] * 4 + [Dial.LATER, Dial.FAILS, Dial.NEVER])


def broken(moves, config, sizes, dial, *, answers=True):
    played = Play(config, dial=dial, sizes=sizes).play(moves).finish()
    return broken_promises(played.transcript, terms_of(config), answers=answers)


@thoroughly
@given(against_agents, configs(answering_policy, floods=False), segmentations, dials)
def test_whatever_the_agent_does_every_promise_is_kept(moves, config, sizes, dial):
    assert broken(moves, config, sizes, dial) == []


@thoroughly
@given(against_haproxy, configs(answering_policy, floods=False), segmentations, dials)
def test_whoever_connects_every_promise_is_kept(moves, config, sizes, dial):
    assert broken(moves, config, sizes, dial) == []


@thoroughly
@given(against_both, configs(promising_policy), segmentations, dials)
def test_a_policy_that_passes_nothing_keeps_every_promise_but_late_answers(moves, config, sizes, dial):
    assert broken(moves, config, sizes, dial, answers=False) == []
