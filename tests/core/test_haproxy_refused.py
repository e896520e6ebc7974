"""HAProxy's DISCONNECT with status 3 or 10: up to 3.0 it comes again at once, so the answer to it waits a moment."""

import pytest

from spoe_guard.core.conversation.refusal import SHORTEST_S
from spoe_guard.core.terms.anomalies import Anomaly
from tests.core import frames
from tests.core.observed import RUNNING, everything_passed, observe
from tests.core.script import UP, Talk, running

pytestmark = pytest.mark.usefixtures("both_speeds")

APPLET = {"hello": frames.haproxy_hello(capabilities=b"pipelining,async"), "answer": frames.agent_hello()}
CURES = {10: "no option send-frag-payload", 3: "max-frame-size"}


@pytest.mark.parametrize("status", CURES)
def test_the_answer_waits_and_the_agent_is_told_at_once(status: int) -> None:
    talk = running(**APPLET, give_up_s=5.0).play(
        f"""
        haproxy NOTIFY 2.1                     -> ok
        haproxy HAPROXY_DISCONNECT {status}    -> pass haproxy_refused, unanswered haproxy_gone 1, ok
        agent   AGENT_DISCONNECT 0             -> nothing
        haproxy NOTIFY 4.1                     -> drop frame_after_disconnect
        agent   fin                            -> close agent
        haproxy NOTIFY 6.1                     -> nothing
        guard   waits {SHORTEST_S - 0.001}     -> nothing
        guard   waits 0.001                    -> to_haproxy AGENT_DISCONNECT {status}, close haproxy, \
                end haproxy disconnect
        """
    )
    assert CURES[status] in talk.anomalies[0].detail
    assert talk.session._conv.route.refusals.waiting == 0


def test_every_link_is_told_at_once() -> None:
    running(give_up_s=5.0, max_links=2, in_flight=1).play(
        """
        haproxy NOTIFY 2.1 + NOTIFY 4.1 -> held, to_agent NOTIFY 2.1, dial 1
        agent1  up                      -> to_agent1 HAPROXY_HELLO
        agent1  AGENT_HELLO             -> parallel up, redispatched unsent 1, to_agent1 NOTIFY 4.1
        haproxy HAPROXY_DISCONNECT 10   -> pass haproxy_refused, unanswered haproxy_gone 2, ok, to_agent1 HAPROXY_DISCONNECT 10
        haproxy fin                     -> close haproxy
        """
    )


@pytest.mark.parametrize("status", [0, 2, 4, 9, 11, 99])
def test_any_other_status_is_answered_at_once(status: int) -> None:
    talk = running(**APPLET).play(
        f"haproxy HAPROXY_DISCONNECT {status} -> ok, to_haproxy AGENT_DISCONNECT {status}, close haproxy"
    )
    assert not talk.anomalies


def test_haproxy_from_3_1_on_is_answered_at_once() -> None:
    running().play(
        """
        haproxy NOTIFY 1.1 -> ok
        haproxy NOTIFY 3.1 -> ok
        haproxy NOTIFY 5.1 -> ok
        haproxy HAPROXY_DISCONNECT 3 -> pass haproxy_refused, unanswered haproxy_gone 3, ok, to_haproxy AGENT_DISCONNECT 3, \
                close haproxy
        """
    )


def test_in_a_drain_it_is_answered_at_once() -> None:
    running(**APPLET, give_up_s=5.0).play(
        """
        haproxy NOTIFY 2.1 -> ok
        guard drains       -> nothing
        haproxy HAPROXY_DISCONNECT 10 -> pass haproxy_refused, unanswered haproxy_gone 1, ok, to_haproxy AGENT_DISCONNECT 10, \
                close haproxy
        """
    )


def test_before_agent_hello_it_is_answered_at_once() -> None:
    Talk().play(
        UP
        + """
        haproxy HAPROXY_DISCONNECT 3 -> pass haproxy_refused, unreachable haproxy_gave_up, ok, \
                to_haproxy AGENT_DISCONNECT 3, close haproxy
        """
    )


def test_an_observer_only_reports_it() -> None:
    talk = observe(
        RUNNING
        + """
        haproxy HAPROXY_DISCONNECT 10 -> pass haproxy_refused, ok
        agent   AGENT_DISCONNECT 0    -> ok
        agent   fin                   -> half haproxy
        haproxy fin                   -> close haproxy, close agent, end agent closed
        """
    )
    assert [seen.anomaly for seen in talk.anomalies] == [Anomaly.HAPROXY_REFUSED]
    assert everything_passed(talk)
