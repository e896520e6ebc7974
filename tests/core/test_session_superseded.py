"""Where HAProxy sends one NOTIFY at a time, the next NOTIFY shows that HAProxy has given up the one before (C6)."""

import pytest

from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.core.terms.config import Unanswered
from tests.core.frames import agent_hello, haproxy_hello
from tests.core.script import Talk, running

pytestmark = pytest.mark.usefixtures("both_speeds")

ALONE = agent_hello(capabilities=b"")
GIVEN_UP = "pass notify_unanswered, unanswered superseded 1"


def alone(policy: dict[Anomaly, Action] | None = None, **how: object) -> Talk:
    return running(policy, answer=ALONE, **how)


def test_the_next_notify_supersedes_the_one_before() -> None:
    alone().play(
        f"""
        haproxy NOTIFY 1.1 -> ok
        guard   waits 0.1  -> nothing
        haproxy NOTIFY 3.1 -> {GIVEN_UP}, ok
        agent   ACK 1.1    -> drop late_ack
        agent   ACK 3.1    -> ok
        """
    )


def test_notifies_that_come_together_do_not_supersede_one_another() -> None:
    alone().play(
        f"""
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok
        guard   waits 0.0099            -> nothing
        haproxy NOTIFY 5.1              -> ok
        agent   ACK 1.1                 -> ok
        guard   waits 0.0001            -> nothing
        haproxy NOTIFY 7.1              -> {GIVEN_UP}, ok
        agent   ACK 3.1                 -> drop late_ack
        agent   ACK 5.1 + ACK 7.1       -> ok
        """
    )


def test_all_that_were_open_are_superseded() -> None:
    alone().play(
        f"""
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok
        guard   waits 1                 -> nothing
        haproxy NOTIFY 5.1              -> {GIVEN_UP}, {GIVEN_UP}, ok
        """
    )


@pytest.mark.parametrize("capability", [b"pipelining", b"async"])
def test_with_pipelining_or_async_haproxy_waits_for_all_of_them(capability: bytes) -> None:
    hello = haproxy_hello(capabilities=b"pipelining,async")
    answer = agent_hello(capabilities=capability)
    running(hello=hello, answer=answer, capabilities=frozenset(("pipelining", "async"))).play(
        """
        haproxy NOTIFY 1.1 -> ok
        guard   waits 1    -> nothing
        haproxy NOTIFY 3.1 -> ok
        agent   ACK 1.1    -> ok
        """
    )


def test_what_counts_is_what_haproxy_was_told() -> None:
    """Pipelining that the route has the agent offered, and HAProxy does not know of."""
    hello = haproxy_hello(capabilities=b"")
    running(hello=hello, answer=agent_hello(capabilities=b"pipelining"), always_offer=frozenset(("pipelining",))).play(
        f"""
        haproxy NOTIFY 1.1 -> ok
        guard   waits 1    -> nothing
        haproxy NOTIFY 3.1 -> {GIVEN_UP}, ok
        """
    )


def test_a_capability_that_a_policy_lets_pass_counts() -> None:
    hello = haproxy_hello(capabilities=b"async")
    running({Anomaly.HELLO_CAPABILITY: Action.PASS}, hello=hello, answer=agent_hello(capabilities=b"async")).play(
        """
        haproxy NOTIFY 1.1 -> ok
        guard   waits 1    -> nothing
        haproxy NOTIFY 3.1 -> ok
        agent   ACK 1.1    -> ok
        """
    )


def test_haproxy_is_not_answered_what_it_waits_for_no_more() -> None:
    alone(unanswered=Unanswered.EMPTY_ACK).play(
        f"""
        haproxy NOTIFY 1.1 -> ok
        guard   waits 1    -> nothing
        haproxy NOTIFY 3.1 -> {GIVEN_UP}, ok
        """
    )


def test_a_superseded_notify_does_not_change_a_disconnect_of_status_0() -> None:
    alone().play(
        f"""
        haproxy NOTIFY 1.1 -> ok
        guard   waits 1    -> nothing
        haproxy NOTIFY 3.1 -> {GIVEN_UP}, ok
        agent   ACK 3.1    -> ok
        agent   AGENT_DISCONNECT 0 -> to_agent HAPROXY_DISCONNECT 0, ok
        """
    )


def test_a_repeated_notify_supersedes_nothing() -> None:
    alone().play(
        """
        haproxy NOTIFY 1.1 -> ok
        guard   waits 1    -> nothing
        haproxy NOTIFY 1.1 -> pass notify_duplicate, ok
        agent   ACK 1.1    -> ok
        """
    )
