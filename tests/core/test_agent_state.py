"""What the sessions of a route know of its agent: when it counts as away, and when it may be dialled."""

import math

from spoe_guard.core.conversation.agent_state import MOST_MISSED, SILENT_AFTER, AgentState, Agreed
from spoe_guard.core.conversation.backoff import LONGEST_S, SHORTEST_S

AGREED = Agreed(16380, ("pipelining",))


def there() -> AgentState:
    agent = AgentState()
    agent.was_there()
    return agent


def test_one_that_never_answered_is_away_with_the_first_failure() -> None:
    agent = AgentState()
    agent.failed(100.0, 0.0, 99.0)
    assert agent.is_away(100.0, 5.0)


def test_it_is_away_when_nothing_but_failures_was_seen_for_give_up() -> None:
    agent = there()
    assert agent.away_at(5.0) == math.inf
    agent.failed(100.0, 0.0, 99.0)
    assert (agent.is_away(103.999, 5.0), agent.is_away(104.0, 5.0)) == (False, True)
    agent.answered(AGREED)
    assert agent.away_at(5.0) == math.inf


def test_a_lost_link_is_a_sign_and_a_failed_dial_the_proof() -> None:
    agent = there()
    agent.link_lost(50.0)
    agent.link_lost(60.0)
    assert agent.away_at(5.0) == math.inf
    agent.failed(100.0, 0.0, 100.0)
    assert agent.away_at(5.0) == 55.0


def test_a_failure_from_before_a_lost_link_proves_nothing() -> None:
    agent = there()
    agent.failed(100.0, 0.0, math.inf)  # another link ran
    agent.link_lost(200.0)
    assert agent.away_at(5.0) == math.inf
    agent.failed(200.1, 0.0, 200.0)
    assert agent.away_at(5.0) == 205.0


def test_while_dials_fail_one_session_dials_and_the_others_wait() -> None:
    agent = there()
    agent.dialled(100.0, 0.0)
    assert agent.retry_at == -math.inf
    agent.failed(100.0, 0.0, 100.0)
    assert agent.retry_at == 100.0 + SHORTEST_S
    agent.dialled(108.0, 1.0)
    assert agent.retry_at == 108.0 + 0.75 * LONGEST_S
    agent.answered(AGREED)
    assert agent.retry_at == -math.inf


def test_what_it_agreed_to_is_kept_until_the_route_has_another_agent() -> None:
    agent = there()
    agent.answered(AGREED)
    agent.failed(100.0, 0.0, 100.0)
    agent.answered(None)  # a health check
    assert agent.agreed == AGREED
    agent.failed(100.0, 0.0, 100.0)
    agent.forget()
    assert (agent.agreed, agent.retry_at, agent.away_at(0.0)) == (None, -math.inf, math.inf)
    agent.failed(100.0, 0.0, 100.0)
    assert agent.is_away(100.0, 5.0)


def test_silence_on_its_links_puts_it_in_doubt_until_it_answers() -> None:
    agent = there()
    agent.left_unanswered(SILENT_AFTER - 1)
    assert not agent.in_doubt
    agent.left_unanswered(1)
    assert (agent.in_doubt, agent.failing) == (True, False)
    agent.left_unanswered(1)
    assert agent.unanswered == SILENT_AFTER
    agent.answered(None)  # a health check
    assert (agent.in_doubt, agent.unanswered) == (False, 0)
    agent.failed(100.0, 0.0, 100.0)
    assert agent.in_doubt


def test_an_agent_that_refuses_is_in_doubt_and_not_away() -> None:
    agent = there()
    for over in (lambda: agent.answered(None), agent.another_is_well):
        agent.refused()
        assert (agent.in_doubt, agent.failing, agent.is_away(100.0, 0.0)) == (True, False, False)
        over()
        assert not agent.in_doubt


def test_hellos_missed_in_a_row_are_counted_up_to_a_bound() -> None:
    agent = AgentState()
    for _ in range(MOST_MISSED + 1):
        agent.hello_missed()
    assert agent.hellos_missed == MOST_MISSED
    agent.answered(AGREED)
    assert agent.hellos_missed == 0


def test_where_another_agent_is_well_nobody_waits_and_it_is_not_away() -> None:
    agent = AgentState()
    agent.failed(100.0, 0.0, 100.0)
    agent.hello_missed()
    assert agent.is_away(100.0, 5.0)
    agent.another_is_well()
    assert not agent.is_away(100.0 + 100.0, 5.0)
    assert (agent.retry_at, agent.in_doubt, agent.hellos_missed) == (-math.inf, False, 1)
