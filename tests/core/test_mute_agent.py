"""An agent that takes the connection and never says HELLO: each HELLO it leaves without an answer is counted once.

HAProxy 3.1 and later alone keeps such a connection for good, gives it every next request, and shows it nowhere.
"""

from collections.abc import Callable
from typing import Any

import pytest

from spoe_guard.core.conversation.agent_state import Agreed
from spoe_guard.core.conversation.route_state import RouteState
from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.core.terms.config import Unanswered
from tests.core.script import Talk

pytestmark = pytest.mark.usefixtures("all_speeds")

TELL: dict[str, Any] = {"give_up_s": 5.0, "unanswered": Unanswered.TELL}
SET: dict[str, Any] = {"give_up_s": 5.0, "unanswered": Unanswered.SET, "error_name": b"error"}
STANDS_IN = "to_agent HAPROXY_DISCONNECT 0, to_haproxy AGENT_HELLO"


def known() -> RouteState:
    """Return a route whose agent was there before, and what it agreed to."""
    route_state = RouteState()
    route_state.agent.answered(Agreed(16380, ("pipelining",)))
    return route_state


def counted(talk: Talk) -> list[tuple[Action, str]]:
    """Return what was counted as an agent that cannot be reached."""
    return [(seen.action, seen.detail) for seen in talk.anomalies if seen.anomaly is Anomaly.AGENT_UNREACHABLE]


@pytest.mark.parametrize(("config", "route"), [({}, RouteState), (TELL, RouteState), (TELL, known)])
def test_a_mute_agent_is_counted_at_its_first_hello(config: dict[str, Any], route: Callable[[], RouteState]) -> None:
    talk = Talk(**config, route_state=route()).play(f"""
        haproxy HAPROXY_HELLO   -> held, dial
        agent   up              -> to_agent HAPROXY_HELLO
        guard   waits 1.999     -> nothing
        guard   waits 0.001     -> unreachable hello_timeout, answer agent_unreachable, {STANDS_IN}
    """)
    assert [action for action, _ in counted(talk)] == [Action.ANSWER]


def test_a_health_check_of_a_mute_agent_is_counted_once() -> None:
    talk = Talk(**TELL).play("""
        haproxy HAPROXY_HELLO check -> held, dial
        agent   up              -> to_agent HAPROXY_HELLO
        guard   waits 29.999    -> nothing
        guard   waits 0.001     -> unreachable hello_timeout, answer agent_unreachable
        guard   waits 0.25      -> to_agent HAPROXY_DISCONNECT 0, to_haproxy AGENT_DISCONNECT 13
    """)
    assert counted(talk) == [(Action.ANSWER, "no AGENT-HELLO within 30 s")]


def test_an_agent_that_is_mute_behind_the_guards_hello_is_counted() -> None:
    talk = Talk(**TELL, route_state=known(), hello_s=0.5).play(f"""
        haproxy HAPROXY_HELLO   -> held, dial
        agent   up              -> to_agent HAPROXY_HELLO
        guard   waits 0.5       -> unreachable hello_timeout, answer agent_unreachable, {STANDS_IN}
        agent   fin             -> close agent
        haproxy NOTIFY 1.1      -> held
        guard   waits 0.04      -> dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        guard   waits 0.99      -> nothing
        guard   waits 0.01      -> unreachable hello_timeout, answer agent_unreachable, to_agent1 HAPROXY_DISCONNECT 0
    """)
    assert counted(talk) == [(Action.ANSWER, f"no AGENT-HELLO within {seconds} s") for seconds in ("0.5", "1")]


def test_where_each_notify_is_answered_a_mute_agent_is_counted_too() -> None:
    talk = Talk(**SET).play(f"""
        haproxy HAPROXY_HELLO   -> held, dial
        agent   up              -> to_agent HAPROXY_HELLO
        guard   waits 2         -> unreachable hello_timeout, answer agent_unreachable, {STANDS_IN}
        agent   fin             -> close agent
        guard   waits 0.25      -> nothing
        haproxy NOTIFY 1.1      -> held, dial 1
        agent1  up              -> to_agent1 HAPROXY_HELLO
        guard   waits 0.02      -> answer notify_unanswered, unanswered agent_away 1, to_haproxy ACK 1.1
        guard   waits 3.97      -> nothing
        guard   waits 0.01      -> unreachable hello_timeout, answer agent_unreachable, to_agent1 HAPROXY_DISCONNECT 0
    """)
    assert counted(talk)[1:] == [(Action.ANSWER, "no AGENT-HELLO within 4 s")]
