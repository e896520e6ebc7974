"""Async: an ACK on the link of another session of the engine leaves once, on the connection of its NOTIFY (C7)."""

from typing import Any

import pytest

from spoe_guard.core.conversation.conversation import Conversation
from spoe_guard.core.conversation.engines import Engines
from spoe_guard.core.conversation.route_state import RouteState
from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.states import SessionState
from spoe_guard.core.terms.tally import Tally
from spoe_guard.wire import frame
from tests.core import frames
from tests.core.frames import SET_VAR, UNSET_VAR, ack, agent_hello, haproxy_hello
from tests.core.scenes import ASYNC, SHARED
from tests.core.script import Talk

pytestmark = pytest.mark.usefixtures("both_speeds")

BARE = frame.encode(
    frame.HAPROXY_HELLO,
    payload=frames.pairs(supported_versions=b"2.0", max_frame_size=frames.SIZE, capabilities=b"pipelining,async"),
)
OBSERVED = """
    guard   starts               -> dial
    agent   up                   -> nothing
    haproxy HAPROXY_HELLO applet -> ok
    agent   AGENT_HELLO async    -> ok
"""


class Route:
    """Sessions of one route, numbered from 1, behind their handshake; what one hands over the other takes."""

    def __init__(self, count: int = 2, policy: dict[Anomaly, Action] | None = None, **config: Any) -> None:
        shared = RouteState()
        self.engines = shared.engines
        self.talks = {
            number: Talk(
                policy, route_state=RouteState(number, shared.refusals, shared.engines), **{"capabilities": ASYNC, **config}
            )
            for number in range(1, count + 1)
        }
        for talk in self.talks.values():
            talk.play(OBSERVED if config.get("observe") else SHARED)

    def __getitem__(self, number: int) -> Talk:
        return self.talks[number]

    def deliver(self, of: int) -> list[str]:
        """Hand over what session ``of`` has for others; return what comes of each."""
        foreign, self[of].foreign = self[of].foreign, []
        return [self[number].take(raw) for number, raw in foreign]


def test_an_ack_on_another_sessions_link_reaches_the_haproxy_that_waits() -> None:
    route = Route()
    route[1].play("haproxy NOTIFY 7.1 -> ok")
    route[2].play("haproxy NOTIFY 9.1 -> ok\nagent ACK 7.1 + ACK 9.1 -> reorder foreign_ack, to_haproxy ACK 9.1, for 1")
    assert route.deliver(of=2) == ["ok"]
    assert route[1].written["to_haproxy"].endswith(ack("7.1"))
    assert (route[1].session.open_notifies, route[1].tally.ack_count) == (0, 1)
    assert not route[1].anomalies
    assert route[2].anomalies[0].detail == "its NOTIFY is open in session 1"
    route[1].play("agent ACK 7.1 -> drop duplicate_ack")


def test_the_same_ack_twice_in_one_read_is_delivered_once() -> None:
    route = Route()
    route[1].play("haproxy NOTIFY 7.1 -> ok")
    route[2].play("agent ACK 7.1 + ACK 7.1 -> reorder foreign_ack, reorder foreign_ack, for 1, for 1")
    assert route.deliver(of=2) == ["ok", "drop duplicate_ack"]
    route[2].play("agent ACK 7.1 -> drop unmatched_ack")


def test_it_is_mended_as_one_of_the_sessions_own_agent() -> None:
    route = Route()
    route[1].play("haproxy NOTIFY 7.1 -> ok")
    route[2].play("agent <odd> -> reorder foreign_ack, for 1", odd=ack("7.1", payload=UNSET_VAR + b"\0" + SET_VAR))
    assert route.deliver(of=2) == ["repair ack_stray_null, to_haproxy ACK 7.1"]
    assert route[1].written["to_haproxy"].endswith(ack("7.1", payload=UNSET_VAR + SET_VAR))


def test_one_longer_than_the_session_negotiated_does_not_pass() -> None:
    small = Talk(route_state=(route_state := RouteState(1)), capabilities=ASYNC).play(
        """
        haproxy HAPROXY_HELLO applet -> held, dial
        agent   up                   -> to_agent HAPROXY_HELLO
        agent   <hello>              -> to_haproxy AGENT_HELLO
        haproxy NOTIFY 1.1           -> ok
        haproxy NOTIFY 3.1           -> ok
        """,
        hello=agent_hello(max_frame_size=1000, capabilities=b"pipelining,async"),
    )
    large = Talk(route_state=RouteState(2, engines=route_state.engines), capabilities=ASYNC).play(SHARED)
    large.play("agent <fits> -> reorder foreign_ack, for 1", fits=frames.sized(103, 1000))
    assert small.take(large.foreign.pop()[1]) == "ok"
    small.play("haproxy NOTIFY 1.1 -> ok")
    large.play("agent <long> -> reorder foreign_ack, for 1", long=frames.sized(103, 1001))
    lost = "drop oversize_frame, pass notify_unanswered, unanswered ack_dropped 1"
    assert small.take(large.foreign.pop()[1]) == lost


def test_a_foreign_ack_releases_the_held_disconnect_of_its_session() -> None:
    route = Route()
    route[1].play("haproxy NOTIFY 7.1 -> ok\nagent AGENT_DISCONNECT 0 -> held, reorder disconnect_before_ack")
    route[2].play("agent ACK 7.1 -> reorder foreign_ack, for 1")
    assert route.deliver(of=2) == ["to_agent HAPROXY_DISCONNECT 0, to_haproxy ACK 7.1, to_haproxy AGENT_DISCONNECT 0"]
    assert [seen.anomaly for seen in route[1].anomalies] == [Anomaly.DISCONNECT_BEFORE_ACK]


def test_a_foreign_ack_behind_a_disconnect_still_finds_its_session() -> None:
    route = Route()
    route[1].play("haproxy NOTIFY 7.1 -> ok")
    route[2].play(
        """
        agent AGENT_DISCONNECT 0 + ACK 7.1 -> reorder foreign_ack, to_agent HAPROXY_DISCONNECT 0, \
                                              to_haproxy AGENT_DISCONNECT 0, for 1
        """
    )
    assert route.deliver(of=2) == ["ok"]


def test_a_foreign_ack_is_dropped_where_two_sessions_wait_for_it() -> None:
    route = Route(3)
    for number in (1, 2):
        route[number].play("haproxy NOTIFY 7.1 -> ok")
    route[3].play("agent ACK 7.1 -> drop foreign_ack")
    assert route[3].anomalies[0].detail == "its NOTIFY is open in 2 sessions"
    route[1].play("agent ACK 7.1 -> ok")
    route[3].play("agent ACK 7.1 -> reorder foreign_ack, for 2")


def test_what_its_own_session_knows_of_the_ids_comes_first() -> None:
    route = Route()
    for number in (1, 2):
        route[number].play("haproxy NOTIFY 7.1 -> ok")
    route[2].play("agent ACK 7.1 -> ok\nagent ACK 7.1 -> drop duplicate_ack")


def test_a_session_that_is_over_waits_for_nothing() -> None:
    route = Route(3)
    for number in (1, 2):
        route[number].play(f"haproxy NOTIFY {number}.1 -> ok")
    route[1].play("haproxy rst -> unanswered haproxy_gone 1, to_agent HAPROXY_DISCONNECT 0, close haproxy")
    route[2].session.release()
    route[3].play("agent ACK 1.1 -> drop unmatched_ack\nagent ACK 2.1 -> drop unmatched_ack")
    assert {engine: list(found) for engine, found in route.engines._sessions.items()} == {b"e1": [3]}


def test_it_is_a_sign_of_life() -> None:
    route = Route(idle_s=10.0)
    route[1].play("haproxy NOTIFY 7.1 -> ok\nguard waits 9 -> nothing")
    route[1].take(ack("7.1"))
    route[1].play("guard waits 9.9 -> nothing\nguard waits 0.1 -> to_agent HAPROXY_DISCONNECT 2, to_haproxy AGENT_DISCONNECT 2")


@pytest.mark.parametrize("over", [SessionState.CLOSING, SessionState.CLOSED])
def test_one_that_comes_too_late_is_dropped_whatever_the_policy(over: SessionState) -> None:
    route = Route(policy={Anomaly.LATE_ACK: Action.PASS})
    gone = "haproxy rst -> unanswered haproxy_gone 1, to_agent HAPROXY_DISCONNECT 0, close haproxy"
    route[1].play(f"haproxy NOTIFY 7.1 -> ok\n{gone}")
    if over is SessionState.CLOSED:
        route[1].play("agent fin -> close agent, end haproxy reset")
    late = route[1].session.take_foreign(ack("7.1"), route[1].now)
    seen = [(event.anomaly, event.action) for event in late.events]
    assert seen == ([(Anomaly.LATE_ACK, Action.DROP)] if over is SessionState.CLOSING else [])
    assert not late.to_haproxy


def test_a_route_may_have_it_dropped() -> None:
    route = Route(policy={Anomaly.FOREIGN_ACK: Action.DROP})
    route[1].play("haproxy NOTIFY 7.1 -> ok")
    route[2].play("agent ACK 7.1 -> drop foreign_ack")
    route[1].play("agent ACK 7.1 -> ok")


@pytest.mark.parametrize(
    ("capabilities", "offer", "answer"),
    [
        (frozenset(("pipelining",)), b"pipelining,async", b"pipelining"),
        (ASYNC, b"pipelining", b"pipelining"),
        (ASYNC, b"pipelining,async", b"pipelining"),
    ],
    ids=["not by the route", "not by HAProxy", "not by the agent"],
)
def test_without_async_an_ack_on_another_link_is_a_stray_one(capabilities: frozenset[str], offer: bytes, answer: bytes) -> None:
    route_state = RouteState(1)
    one, other = (Talk(route_state=RouteState(n, engines=route_state.engines), capabilities=capabilities) for n in (1, 2))
    for talk in (one, other):
        talk.play(
            """
            haproxy <offer>  -> held, dial
            agent   up       -> to_agent HAPROXY_HELLO
            agent   <answer> -> to_haproxy AGENT_HELLO
            """,
            offer=haproxy_hello(capabilities=offer),
            answer=agent_hello(capabilities=answer),
        )
    one.play("haproxy NOTIFY 7.1 -> ok")
    other.play("agent ACK 7.1 -> drop unmatched_ack")


def test_another_engine_is_none_of_its_business() -> None:
    route_state = RouteState(1)
    talks = [Talk(route_state=RouteState(n, engines=route_state.engines), capabilities=ASYNC) for n in (1, 2)]
    for talk, engine in zip(talks, (b"one", b"two"), strict=True):
        talk.play(
            SHARED.replace("HAPROXY_HELLO applet", "<hello>"),
            hello=haproxy_hello(capabilities=b"pipelining,async", engine_id=engine),
        )
    talks[0].play("haproxy NOTIFY 7.1 -> ok")
    talks[1].play("agent ACK 7.1 -> drop unmatched_ack")


def test_an_observed_foreign_ack_passes_unchanged_and_counts_as_the_answer() -> None:
    route = Route(observe=True)
    route[1].play("haproxy NOTIFY 7.1 -> ok")
    route[2].play("agent ACK 7.1 -> reorder foreign_ack, ok, for 1")
    assert route.deliver(of=2) == ["nothing"]
    assert (route[1].session.open_notifies, route[1].tally.ack_count) == (0, 1)
    assert not route[2].anomalies[0].applied
    route[1].play("haproxy rst -> abort haproxy, abort agent, end haproxy reset")
    assert route[1].take(ack("7.1")) == "nothing"


def test_the_registry_keeps_nothing_of_those_that_left() -> None:
    engines, session = Engines(), Conversation(SessionConfig(), Tally(), RouteState(), 0.0).notifies
    session.link.ledger.add(b"\7\1", 0.0)
    engines.leave(b"e", 1)
    engines.join(b"e", 1, session)
    engines.join(b"e", 2, session)
    assert engines.waiting(b"e", b"\7\1") == [1, 2]
    engines.leave(b"e", 1)
    engines.leave(b"e", 1)
    assert (engines.waiting(b"e", b"\7\1"), engines.waiting(b"e", b"\7\2"), engines.waiting(b"f", b"\7\1")) == ([2], [], [])
    engines.leave(b"e", 2)
    assert not engines._sessions


@pytest.mark.parametrize(("named", "found"), [("guard", "reorder foreign_ack, for 1"), (None, "drop unmatched_ack")])
def test_where_haproxy_names_no_engine_the_one_the_agent_is_shown_counts(named: str | None, found: str) -> None:
    route_state = RouteState(1)
    one, other = (
        Talk(route_state=RouteState(n, engines=route_state.engines), capabilities=ASYNC, engine_id=named) for n in (1, 2)
    )
    for talk in (one, other):
        talk.play(SHARED.replace("HAPROXY_HELLO applet", "<bare>"), bare=BARE)
    one.play("haproxy NOTIFY 7.1 -> ok")
    other.play(f"agent ACK 7.1 -> {found}")
