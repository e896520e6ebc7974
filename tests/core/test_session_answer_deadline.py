"""NOTIFYs without an answer in time: given up at ``answer_deadline``, by a timer that is neither late nor spinning."""

import pytest

from spoe_guard.core.conversation.ledger import LOSS_MATTERS_S
from spoe_guard.core.conversation.route_state import RouteState
from spoe_guard.core.terms.config import Unanswered
from tests.core.script import Talk, play, running

pytestmark = pytest.mark.usefixtures("both_speeds")


def test_a_notify_is_given_up_at_its_deadline_and_not_before() -> None:
    play(
        """
        haproxy NOTIFY 1.1   -> ok
        guard   waits 2      -> nothing
        haproxy NOTIFY 3.1   -> ok
        guard   waits 2.999  -> nothing
        guard   waits 0.001  -> pass notify_unanswered, unanswered deadline 1
        agent   ACK 1.1      -> drop late_ack
        agent   ACK 3.1      -> ok
        """,
        answer_deadline_s=5.0,
    )


def test_all_notifies_past_their_deadline_are_given_up_in_one_go() -> None:
    play(
        """
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok
        guard   waits 5  -> answer notify_unanswered, unanswered deadline 1, answer notify_unanswered, \
                            unanswered deadline 1, to_haproxy ACK 1.1, to_haproxy ACK 3.1
        agent   ACK 3.1  -> drop late_ack
        """,
        answer_deadline_s=5.0,
        unanswered=Unanswered.EMPTY_ACK,
    )


def test_an_answered_notifys_deadline_does_not_make_the_timer_spin() -> None:
    play(
        """
        haproxy NOTIFY 1.1   -> ok
        guard   waits 1      -> nothing
        agent   ACK 1.1      -> ok
        guard   waits 3.9    -> nothing
        haproxy NOTIFY 3.1   -> ok
        guard   waits 4.999  -> nothing
        guard   waits 0.001  -> pass notify_unanswered, unanswered deadline 1
        """,
        answer_deadline_s=5.0,
    )


def test_without_a_deadline_a_notify_stays_open() -> None:
    talk = play(
        """
        haproxy NOTIFY 1.1 -> ok
        guard   waits 599  -> nothing
        agent   ACK 1.1    -> ok
        """
    )
    assert talk.tally.ack_count == 1
    assert talk.tally.ack_seconds == 599.0


@pytest.mark.parametrize(("since", "told"), [(29, "repair disconnect_status, {}"), (30, "{}")])
def test_a_notify_given_up_long_ago_leaves_the_agents_disconnect_status_alone(since: int, told: str) -> None:
    """HAProxy's own wait for that ACK is over long since: nobody is left waiting by a status of 0 (hazard E1)."""
    status = 13 if since < LOSS_MATTERS_S else 0
    passes = "to_agent HAPROXY_DISCONNECT 0, " + (f"to_haproxy AGENT_DISCONNECT {status}" if status else "ok")
    running(answer_deadline_s=5.0).play(
        f"""
        haproxy NOTIFY 1.1         -> ok
        guard   waits 5            -> pass notify_unanswered, unanswered deadline 1
        guard   waits {since}      -> nothing
        agent   AGENT_DISCONNECT 0 -> {told.format(passes)}
        """
    )


def test_since_when_the_oldest_notify_waits_is_known() -> None:
    talk = running(give_up_s=5.0)
    assert talk.session.oldest_since == float("inf")
    talk.play("haproxy NOTIFY 1.1 -> ok\nguard waits 2 -> nothing\nhaproxy NOTIFY 3.1 -> ok")
    assert talk.session.oldest_since == talk.now - 2
    talk.play("agent ACK 1.1 -> ok")
    assert talk.session.oldest_since == talk.now
    talk.play("agent ACK 3.1 -> ok\nagent AGENT_DISCONNECT 0 -> lost disconnect 0/0, to_agent HAPROXY_DISCONNECT 0")
    talk.play("haproxy NOTIFY 5.1 -> held, dial 1\nguard waits 1 -> close agent, unreachable timeout, abort agent1")
    assert talk.session.oldest_since == talk.now - 1


def test_an_observed_session_knows_it_too() -> None:
    talk = Talk(observe=True)
    for who, what in (("guard", "starts"), ("agent", "up"), ("haproxy", "HAPROXY_HELLO"), ("agent", "AGENT_HELLO")):
        talk._line(who, what)
    assert talk.session.oldest_since == float("inf")
    talk.play("haproxy NOTIFY 1.1 -> ok\nguard waits 2 -> nothing")
    assert talk.session.oldest_since == talk.now - 2


@pytest.mark.parametrize(("answers", "counted"), [("", 1), ("agent ACK 3.1 -> ok", 0)])
def test_a_notify_missed_in_silence_counts_for_the_agent(answers: str, counted: int) -> None:
    route_state = RouteState()
    play(
        f"""
        guard   waits 1      -> nothing
        haproxy NOTIFY 1.1   -> ok
        guard   waits 2      -> nothing
        haproxy NOTIFY 3.1   -> ok
        {answers}
        guard   waits 3      -> pass notify_unanswered, unanswered deadline 1
        """,
        answer_deadline_s=5.0,
        route_state=route_state,
    )
    assert route_state.agent.unanswered == counted


def test_a_notify_that_blocked_its_link_in_silence_counts_too() -> None:
    route_state = RouteState()
    play(
        """
        guard   waits 1      -> nothing
        haproxy NOTIFY 1.1   -> ok
        guard   waits 5      -> pass notify_unanswered, unanswered deadline 1, lost deadline 0/0, to_agent HAPROXY_DISCONNECT 0
        """,
        answer_deadline_s=5.0,
        route_state=route_state,
        in_flight=1,
        give_up_s=5.0,
    )
    assert route_state.agent.unanswered == 1
