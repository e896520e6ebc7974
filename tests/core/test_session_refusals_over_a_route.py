"""Refusals of one route: the guard delays each longer than the one before, until the agent sends HELLO (B6)."""

from typing import Any

import pytest

from spoe_guard.core.conversation.route_state import RouteState
from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.states import SessionState
from tests.core import frames
from tests.core.script import UP, Talk

pytestmark = pytest.mark.usefixtures("both_speeds")

APPLET = """
    haproxy HAPROXY_HELLO applet -> held, dial
    agent   up                   -> to_agent HAPROXY_HELLO
"""
CHECK_REFUSED = "agent AGENT_DISCONNECT 5 -> answer hello_refused\n"
REFUSED = CHECK_REFUSED.replace("\n", ", unreachable hello_refused\n")


def both_told(status: int) -> str:
    return f"to_agent HAPROXY_DISCONNECT {status}, to_haproxy AGENT_DISCONNECT {status}"


def held_s(route_state: RouteState, now: float, hello: str = "applet", **config: Any) -> float:
    """Refuse a session of that route to its end; return how long it was held back."""
    refused = CHECK_REFUSED if hello == "check" else REFUSED
    talk = Talk(now=now, route_state=route_state, **config).play(APPLET.replace("applet", hello) + refused)
    before = talk.session.deadline - 0.001 - now
    talk.play(f"guard waits {before} -> nothing\nguard waits 0.002 -> {both_told(5)}\nhaproxy rst -> close haproxy")
    return round(before + 0.001, 3)


def test_an_applet_that_is_refused_again_waits_twice_as_long() -> None:
    """HAProxy up to 3.0 connects again at once; it is known by the capability async."""
    route_state = RouteState()
    assert [held_s(route_state, 100.0 + 10 * number) for number in range(6)] == [0.25, 0.5, 1, 2, 4, 5]
    assert route_state.refusals.waiting == 0


@pytest.mark.parametrize("hello", ["", "check"])
def test_the_mux_and_a_health_check_are_told_after_the_shortest_time(hello: str) -> None:
    """They ask once; HAProxy from 3.1 on fails the stream then, so its time is all that holding back would cost."""
    route_state = RouteState()
    assert [held_s(route_state, 100.0 + 10 * number) for number in range(3)] == [0.25, 0.5, 1]
    assert held_s(route_state, 200.0, hello) == 0.25


def test_an_agents_hello_resets_the_hold_of_refusals_on_its_route() -> None:
    route_state = RouteState()
    assert [held_s(route_state, 100.0), held_s(route_state, 110.0)] == [0.25, 0.5]
    Talk(route_state=route_state).play(
        UP.replace("HELLO ", "HELLO check ", 1) + "agent AGENT_HELLO check -> to_haproxy AGENT_HELLO"
    )
    assert held_s(route_state, 120.0) == 0.25


def test_what_an_observed_session_would_refuse_counts_for_nobody() -> None:
    route_state = RouteState()
    for now in (100.0, 110.0):
        talk = Talk(now=now, route_state=route_state, observe=True)
        assert talk.session.start(now).dial
        talk.session.agent_connected(now)
        talk.session.receive(Side.HAPROXY, frames.haproxy_hello(capabilities=b"pipelining,async"), now)
        talk.session.receive(Side.AGENT, frames.agent_disconnect(5), now)
        assert talk.session.state is SessionState.REFUSING
    assert route_state.refusals.waiting == 0
    assert held_s(route_state, 120.0) == 0.25


@pytest.mark.parametrize(
    "end",
    [
        "haproxy rst -> to_agent HAPROXY_DISCONNECT 0, close haproxy",
        "haproxy HAPROXY_DISCONNECT 0 -> ok, to_haproxy AGENT_DISCONNECT 0, close haproxy",
        f"haproxy NOTIFY 1.1[:9] -> held\nguard waits 2 -> drop truncated_frame, {both_told(2)}",
    ],
)
def test_a_refusal_is_held_back_no_longer_where_haproxy_ends_it(end: str) -> None:
    route_state = RouteState()
    for now in (100.0, 110.0, 120.0, 130.0):
        held_s(route_state, now)
    talk = Talk(now=140.0, route_state=route_state).play(APPLET + REFUSED)
    assert route_state.refusals.waiting == 1
    talk.play(end)
    assert route_state.refusals.waiting == 0


def test_a_session_that_is_broken_by_a_bug_holds_no_refusal_back() -> None:
    route_state = RouteState()
    talk = Talk(route_state=route_state).play(APPLET + REFUSED)
    assert route_state.refusals.waiting == 1
    talk.session.release()
    assert route_state.refusals.waiting == 0


@pytest.mark.parametrize(("waited", "left"), [(0.0, 0.25), (1.9, 0.1)])
def test_a_draining_guard_holds_no_refusal_beyond_the_shortest_time(waited: float, left: float) -> None:
    route_state = RouteState()
    for now in (100.0, 110.0, 120.0):
        held_s(route_state, now)
    Talk(now=130.0, route_state=route_state).play(
        APPLET
        + REFUSED
        + f"""
        guard waits {waited}       -> nothing
        guard drains               -> nothing
        guard waits {left - 0.001} -> nothing
        guard waits 0.002          -> {both_told(5)}
        """
    )
