"""Agent links come and go; HAProxy's connection stays open."""

# ruff: noqa: E501 - a move and its outcome read best in one line

from typing import Any

import pytest

from spoe_guard.core.terms.config import Redispatch
from tests.core.script import Talk, running

pytestmark = pytest.mark.usefixtures("all_speeds")

LASTS: dict[str, Any] = {"give_up_s": 5.0}
AGAIN: dict[str, Any] = {"give_up_s": 5.0, "redispatch": Redispatch.UNANSWERED}


def talk(**config: Any) -> Talk:
    return running(**{**LASTS, **config})


def test_a_link_closed_while_idle_is_replaced_with_the_next_notify() -> None:
    talk().play("""
        agent   fin             -> answer disconnect_missing, lost closed 0/0, to_agent HAPROXY_DISCONNECT 0, close agent
        guard   waits 60        -> nothing
        haproxy NOTIFY 1.1      -> held, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up, redispatched unsent 1, to_agent1 NOTIFY 1.1
        agent1  ACK 1.1         -> ok
        haproxy NOTIFY 3.1      -> to_agent1 NOTIFY 3.1
        agent1  ACK 3.1         -> ok
    """)


def test_with_unsent_what_the_lost_agent_had_counts_as_unanswered() -> None:
    talk().play("""
        haproxy NOTIFY 1.1      -> ok
        agent   rst             -> answer disconnect_missing, pass notify_unanswered, unanswered agent_gone 1, lost reset 1/0, close agent
        haproxy NOTIFY 3.1      -> held
        guard   waits 0.005     -> dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up, redispatched unsent 1, to_agent1 NOTIFY 3.1
        agent1  ACK 1.1         -> drop late_ack
        agent1  ACK 3.1         -> ok
    """)


def test_with_unanswered_the_lost_agents_notifies_go_to_the_next_one_first() -> None:
    talk(**AGAIN).play("""
        haproxy NOTIFY 1.1 + NOTIFY 3.1 -> ok
        agent   ACK 1.1         -> ok
        agent   fin             -> answer disconnect_missing, lost closed 1/1, to_agent HAPROXY_DISCONNECT 0, dial 1, close agent
        haproxy NOTIFY 5.1      -> held
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up, redispatched unsent 1, redispatched unanswered 1, to_agent1 NOTIFY 3.1, to_agent1 NOTIFY 5.1
        agent1  ACK 5.1 + ACK 3.1 -> ok
    """)


def test_a_notify_is_redispatched_once() -> None:
    talk(**AGAIN).play("""
        haproxy NOTIFY 1.1      -> ok
        agent   rst             -> answer disconnect_missing, lost reset 1/1, close agent
        guard   waits 0.005     -> dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO     -> replacement up, redispatched unanswered 1, to_agent1 NOTIFY 1.1
        agent1  rst             -> answer disconnect_missing, pass notify_unanswered, unanswered agent_gone 1, lost reset 1/0, close agent1
    """)


PARALLEL: dict[str, Any] = {**AGAIN, "max_links": 2, "in_flight": 1}
TWO_LINKS = """
    haproxy NOTIFY 1.1 + NOTIFY 3.1 -> held, to_agent NOTIFY 1.1, dial 1
    agent1  up              -> to_agent1 HAPROXY_HELLO
    agent1  AGENT_HELLO     -> parallel up, redispatched unsent 1, to_agent1 NOTIFY 3.1
    agent1  ACK 3.1         -> ok
"""


def test_a_notify_is_not_redispatched_to_another_link_that_dies_too() -> None:
    play = talk(**PARALLEL).play(TWO_LINKS)
    play.play("""
        guard   waits 0.001     -> nothing
        agent   rst             -> answer disconnect_missing, lost reset 1/1, close agent
        guard   waits 0.001     -> nothing
        agent1  rst             -> answer disconnect_missing, lost reset 0/0, dial 2, close agent1
        agent2  up              -> to_agent2 HAPROXY_HELLO
        agent2  AGENT_HELLO     -> replacement up, redispatched unanswered 1, to_agent2 NOTIFY 1.1
        agent2  ACK 1.1         -> ok
    """)


def test_an_old_link_is_given_it_if_no_new_one_comes() -> None:
    """Whatever the agent says on the old link in between: it may have written that before it died."""
    talk(**PARALLEL, connect_s=60.0).play(TWO_LINKS).play("""
        guard   waits 0.001     -> nothing
        agent   rst             -> answer disconnect_missing, lost reset 1/1, close agent
        guard   waits 0.005     -> dial 2
        agent1  ACK 5.1         -> drop unmatched_ack
        guard   waits 0.9949    -> nothing
        guard   waits 0.0001    -> redispatched unanswered 1, to_agent1 NOTIFY 1.1
    """)


def test_an_agents_old_link_is_not_given_it_while_dials_fail() -> None:
    """An agent that is short of CPU dies slowly: it takes no more connections, and has not closed all those it had."""
    talk(**PARALLEL).play(TWO_LINKS).play("""
        guard   waits 0.001     -> nothing
        agent   rst             -> answer disconnect_missing, lost reset 1/1, close agent
        guard   waits 0.005     -> dial 2
        agent2  fail            -> unreachable refused, abort agent2
        guard   waits 0.450     -> dial 3
        agent1  rst             -> answer disconnect_missing, lost reset 0/0, close agent1
        agent3  up              -> to_agent3 HAPROXY_HELLO
        agent3  AGENT_HELLO     -> replacement up, redispatched unanswered 1, to_agent3 NOTIFY 1.1
    """)


def test_notifies_that_wait_for_an_absent_agent_end_with_the_session() -> None:
    """HAProxy sent it before the agent went: were it given up alone, nothing would wait, and HAProxy would hear nothing."""
    talk(**AGAIN, connect_s=60.0).play("""
        haproxy NOTIFY 1.1      -> ok
        guard   waits 1         -> nothing
        agent   rst             -> answer disconnect_missing, lost reset 1/1, close agent
        guard   waits 0.005     -> dial 1
        guard   waits 4.994     -> nothing
        guard   waits 0.001     -> answer agent_unreachable, unreachable timeout, pass notify_unanswered, unanswered agent_away 1, to_haproxy AGENT_DISCONNECT 13, abort agent1
    """)
